package carewire

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A watchroom is an escalator without a Hub, with a record of its work.
type watchroom struct {
	*workbench
	x     *escalator
	pager *withdrawing
	here  []string // the addressees who are connected
	acted []Kind   // entries other than alerts that were passed on

	records struct {
		sync.Mutex
		of     map[AuditEvent]int
		failed int
	}
}

// withdrawing is a pager that takes pages back.
type withdrawing struct {
	pager
	back chan []string
}

func (p *withdrawing) Withdraw(_ context.Context, _ Alert, to []string) error {
	p.back <- to
	return nil
}

func newWatchroom(t *testing.T, store Store, o Options) *watchroom {
	r := &watchroom{workbench: newWorkbench(t, store), pager: &withdrawing{back: make(chan []string, 1)}}
	r.records.of = make(map[AuditEvent]int)
	o.Pager, o.CallTimeout, o.Logger = r.pager, 5*time.Second, r.log
	calls, stats := newHostCalls(&o, new(counters)), new(counters)
	anyConnected := func(to []string, _ string) bool {
		return slices.ContainsFunc(to, func(t string) bool { return slices.Contains(r.here, t) })
	}
	record := func(rec Record, err error) {
		r.records.Lock()
		defer r.records.Unlock()
		if r.records.of[rec.Event]++; err != nil {
			r.records.failed++
		}
	}
	act := func(_ context.Context, e *Entry) { r.acted = append(r.acted, e.Kind) }
	r.x = newEscalator(r.core, newReceipts(r.core), newComplaints(r.core, r.raise, nil), newPauses(r.core), &o, &calls, stats,
		anyConnected, record, map[Kind]func(context.Context, *Entry){KindTimer: act, KindNotice: act})
	r.alerts.due = nil // the tests do themselves what is due
	return r
}

// begin raises a high alert with the key k, and returns its entry.
func (r *watchroom) begin() *Entry {
	r.t.Helper()
	require.NoError(r.t, r.raise(context.Background(), high("k")))
	return r.entry("p1", "a/k")
}

// A due level pages the policy's next step, and the next level is due as the
// step says. A level that is not due is left as it is.
func TestEscalatorTellsTheNextStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, start := newWatchroom(t, NewMemoryStore(nil), Options{Policy: threeSteps}), time.Now()
		r.here = []string{"person:nurse", "person:doctor"}
		r.x.do(t.Context(), r.begin())
		require.Equal(t, []string{"0s person:nurse"}, r.pager.told(start))
		at := r.alert("p1", "k").Escalation
		require.Equal(t, []any{1, 1, EscalationNotified, r.clock.now().Add(30 * time.Second)}, []any{at.Level, at.Step, at.State, at.Due})

		r.x.do(t.Context(), r.entry("p1", "a/k"))
		require.Empty(t, r.pager.told(start), "it is not due")
		time.Sleep(30 * time.Second)
		r.x.do(t.Context(), r.entry("p1", "a/k"))
		require.Equal(t, []string{"30s person:doctor"}, r.pager.told(start))
		require.Equal(t, map[AuditEvent]int{AuditEscalation: 2, AuditPage: 2}, r.records.of)
		require.Zero(t, r.records.failed)
	})
}

// Nobody is paged for an alert that is accepted while the policy is asked. If it is
// accepted later, its pages are withdrawn.
func TestEscalatorStopsForAnAcceptance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *watchroom
		meanwhile := func() { r.accept("p1", "k") }
		r = newWatchroom(t, NewMemoryStore(nil), Options{Policy: func(ctx context.Context, a Alert, step int) (Step, error) {
			meanwhile()
			return threeSteps(ctx, a, step)
		}})
		r.x.do(t.Context(), r.begin())
		require.Empty(t, r.pager.told(time.Now()))
		require.Zero(t, r.records.of[AuditEscalation])

		meanwhile = func() {}
		time.Sleep(time.Hour)
		r.x.do(t.Context(), r.entry("p1", "a/k"))
		require.Equal(t, []string{"0s person:nurse"}, r.pager.told(time.Now()), "the acceptance has run out")
		r.accept("p1", "k")
		require.Equal(t, []string{"person:nurse"}, <-r.pager.back)
	})
}

// A level that reaches nobody is counted, and complained of before it is on
// record.
func TestEscalatorComplains(t *testing.T) {
	for _, c := range []struct {
		name    string
		policy  Policy
		deaf    bool
		to      []string
		trouble string
		failed  int // records
	}{
		{"the policy fails", func(context.Context, Alert, int) (Step, error) { return Step{}, errInjected }, false, []string{"0s group:icu"}, troublePolicy, 0},
		{"no gateway takes the page", threeSteps, true, nil, troubleUnreached, 2},
		{"there is nobody", steps(), false, nil, troubleNobody, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newWatchroom(t, NewMemoryStore(nil), Options{Policy: c.policy})
				r.pager.deaf = map[string]bool{"person:nurse": c.deaf}
				in := high("k")
				if c.trouble == troublePolicy {
					in.To = []string{"group:icu"}
				}
				require.NoError(t, r.raise(t.Context(), in))
				r.x.do(t.Context(), r.entry("p1", "a/k"))
				require.Equal(t, c.to, r.pager.told(time.Now()))
				require.Equal(t, c.trouble, r.alert("p1", "k").Escalation.trouble)
				require.Equal(t, ConditionPresent, r.alert(SystemPatient, c.trouble).Condition)
				require.Equal(t, c.failed, r.records.failed)
				require.Equal(t, c.trouble == troublePolicy, r.x.counts.policyFailed.Load() == 1)
			})
		})
	}
}

// Due entries other than alerts go to those that handle their kind, and none
// that cannot be read stops the others.
func TestEscalatorPassesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newWatchroom(t, NewMemoryStore(nil), Options{})
		for _, k := range []Kind{KindTimer, KindAccess, KindNotice} {
			r.x.do(t.Context(), &Entry{Patient: "p1", Key: "x", Kind: k})
		}
		require.Equal(t, []Kind{KindTimer, KindNotice}, r.acted)
		r.x.do(t.Context(), &Entry{Patient: "p1", Key: "a/k", Kind: KindAlert, Data: []byte("{")})
		require.Len(t, r.keys(), 1, "a complaint that it cannot be read")
	})
}
