package carewire

import (
	"context"
	"hash/maphash"
	"slices"
	"sync/atomic"
	"time"
)

// An accessControl decides a principal's rights: by the Authorizer or the
// default rules, and by running emergencies. It always denies revoked access.
type accessControl struct {
	authorizer  Authorizer // nil: the default rules
	call        *hostCall
	now         func() time.Time
	groups      *groups
	revoked     *revocations
	emergencies *emergencies

	generations generations
	questions   atomic.Uint64 // numbers questions and grants, to tell which came first
}

// generations count the changes that may have ended access: of one principal, or of
// anybody. A right that was decided under an older generation is decided again before
// it counts. A change of one principal counts for a few others, too: there are not as
// many counts as principals.
type generations struct {
	seed maphash.Seed
	all  atomic.Uint64
	some [1024]atomic.Uint64
}

// of returns the generation of a principal's rights.
func (g *generations) of(principal string) uint64 { return g.all.Load() + g.count(principal).Load() }

// next begins a new generation of a principal's rights.
func (g *generations) next(principal string) { g.count(principal).Add(1) }

// nextOfAll begins a new generation of everybody's rights.
func (g *generations) nextOfAll() { g.all.Add(1) }

func (g *generations) count(principal string) *atomic.Uint64 {
	return &g.some[maphash.String(g.seed, principal)%uint64(len(g.some))]
}

// newAccessControl takes the rules of Options.Authorizer and Options.Directory.
// Break-glass grants stand in logs, and are audited by record.
func newAccessControl(o *Options, calls *hostCalls, l *logs, record func(Record, error)) *accessControl {
	return &accessControl{authorizer: o.Authorizer, call: calls.authorize, now: l.now, groups: newGroups(o.Directory, calls.directory),
		revoked: newRevocations(), emergencies: newEmergencies(l, record), generations: generations{seed: maphash.MakeSeed()}}
}

// decide returns for each patient the reason for which p may not do this; nil
// if p may.
func (c *accessControl) decide(ctx context.Context, p *Principal, action Action, patients []string) map[string]error {
	refused := make(map[string]error, len(patients))
	for patient, r := range c.rights(ctx, Access{Principal: *p, Action: action, Patients: patients}) {
		refused[patient] = r.err
	}
	return refused
}

// A right is the decision for one patient.
type right struct {
	err       error     // ErrForbidden or ErrUndecided; nil: granted
	until     time.Time // zero: until it is asked for again
	emergency bool      // granted because a was an emergency
}

// rights has an Access decided, with one call of the Authorizer for all
// patients, and one more for an emergency.
func (c *accessControl) rights(ctx context.Context, a Access) map[string]right {
	rights := make(map[string]right, len(a.Patients))
	switch {
	case len(a.Patients) == 0:
		return rights
	case a.Principal.Actions != nil && !slices.Contains(a.Principal.Actions, a.Action):
		for _, patient := range a.Patients {
			rights[patient] = right{err: ErrForbidden}
		}
		return rights
	case c.authorizer == nil:
		for _, patient := range a.Patients {
			rights[patient] = right{err: c.byRule(ctx, &a.Principal, a.Action, patient)}
		}
	default:
		ordinary := a
		ordinary.Emergency, ordinary.Reason = false, ""
		c.ask(ctx, ordinary, rights)
		c.askEmergency(ctx, a, rights)
	}
	now := c.now()
	for _, patient := range a.Patients {
		if c.revoked.covers(&a.Principal, patient, now) {
			rights[patient] = right{err: ErrForbidden}
		}
	}
	return rights
}

// ask puts the Authorizer's decisions into rights.
func (c *accessControl) ask(ctx context.Context, a Access, rights map[string]right) {
	list, err := callHost(ctx, c.call, func(ctx context.Context) ([]Decision, error) {
		asked := a // a call that was given up may still use it
		asked.Patients = slices.Clone(a.Patients)
		return c.authorizer.Authorize(ctx, asked)
	})
	now := c.now()
	for i, patient := range a.Patients {
		switch {
		case err != nil || len(list) != len(a.Patients):
			rights[patient] = right{err: ErrUndecided}
		case !list[i].Allow || !list[i].Until.IsZero() && !list[i].Until.After(now):
			rights[patient] = right{err: ErrForbidden}
		default:
			rights[patient] = right{until: list[i].Until}
		}
	}
}

// byRule applies the default rules.
func (c *accessControl) byRule(ctx context.Context, p *Principal, action Action, patient string) error {
	if !slices.Contains(allowed[p.Role], action) {
		return ErrForbidden
	}
	if slices.Contains(p.Patients, patient) {
		return nil
	}
	undecided := false
	for _, g := range p.Groups {
		in, err := c.groups.members(ctx, g)
		if err != nil {
			undecided = true
		} else if in[patient] {
			return nil
		}
	}
	if undecided {
		return ErrUndecided
	}
	return ErrForbidden
}

// askEmergency asks the Authorizer again for refused patients, with the reason
// of the request or of a running emergency.
func (c *accessControl) askEmergency(ctx context.Context, a Access, rights map[string]right) {
	now := c.now()
	running := c.emergencies.running(a.Principal.ID, now)
	if !a.Emergency && len(running) == 0 {
		return
	}
	breakGlass := a // for patients that are refused otherwise
	breakGlass.Patients = nil
	for _, p := range a.Patients {
		e, runs := running[p]
		switch {
		case rights[p].err != ErrForbidden:
		case a.Emergency:
			breakGlass.Patients = append(breakGlass.Patients, p)
		case runs:
			again := a
			again.Emergency, again.Reason, again.Patients = true, e.Reason, []string{p}
			c.ask(ctx, again, rights)
			if r := rights[p]; r.err == nil && (r.until.IsZero() || r.until.After(e.Until)) {
				rights[p] = right{until: e.Until} // asking again does not prolong it
			}
		}
	}
	if len(breakGlass.Patients) == 0 {
		return
	}
	c.ask(ctx, breakGlass, rights)
	for _, p := range breakGlass.Patients {
		if r := rights[p]; r.err == nil {
			r.emergency = true
			if r.until.IsZero() {
				r.until = now.Add(emergencyFor)
			}
			rights[p] = r
		}
	}
}
