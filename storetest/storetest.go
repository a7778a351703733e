// Package storetest proves that a [carewire.Store] keeps its contract: one
// subtest for each rule of the interface's comment, each with a store of its
// own. A failure quotes the rule that was broken.
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) carewire.Store { return open(t) }, nil)
//	}
//
// Optional interfaces (Pruner, Eraser, StateReader, Clock, Durable, Waker,
// io.Closer) are found by type assertion and tested too. [RunDurable] tests
// restarts and crashes, and [Bench] measures.
package storetest

import (
	"errors"
	"testing"

	"github.com/carewire/carewire"
)

// Options selects further tests.
type Options struct {
	// Reopen ends s as an ordinary restart of the program does, and opens the
	// same store again. nil: the store is not tested for survival.
	Reopen func(t *testing.T, s carewire.Store) carewire.Store
}

// Run tests every rule on a new and empty store from open, which may close it
// in t.Cleanup, also a second time. The rules run in parallel. Nil options are
// all defaults.
func Run(t *testing.T, open func(t *testing.T) carewire.Store, o *Options) {
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			p := &probe{ctx: t.Context(), store: open(t)}
			if o != nil && o.Reopen != nil {
				p.reopen = func() { p.store = o.Reopen(t, p.store) }
			}
			report(t, r.run(p))
		})
	}
}

// report says how a rule went.
func report(t *testing.T, err error) {
	t.Helper()
	if errors.As(err, new(skipped)) {
		t.Skip(err)
	}
	if err != nil {
		t.Error(err)
	}
}

// rules returns all rules.
func rules() []rule {
	var all []rule
	for _, some := range [][]rule{appendRules, revisionRules, readRules, stateRules, openRules, callRules, pruneRules, eraseRules, reopenRules} {
		all = append(all, some...)
	}
	return all
}

// rule is one rule of the contract.
type rule struct {
	name  string
	text  string // the rule, as the contract has it
	check func(p *probe)
}

// run returns how the probe's store breaks the rule, nil if it keeps it, or
// skipped if the rule does not concern it.
func (r rule) run(p *probe) (err error) {
	defer func() { err = r.verdict(recover()) }()
	r.check(p)
	return nil
}
