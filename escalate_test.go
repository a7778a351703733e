package carewire

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUnansweredAlertGoesThroughAllSteps(t *testing.T) {
	escalating(t, func(w *world, p *pager, start time.Time) {
		t := w.t
		_, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, []string{"0s person:nurse"}, p.told(start), "at once, not at the next poll")
		time.Sleep(29 * time.Second)
		require.Empty(t, p.told(start))
		time.Sleep(62 * time.Second)
		require.Equal(t, []string{"30s person:doctor", "1m30s group:icu"}, p.told(start))
		// The last step again, with waits that double up to 15 minutes, and a
		// technical alert that says so.
		time.Sleep(time.Hour)
		require.Equal(t, []string{"3m30s group:icu", "7m30s group:icu", "15m30s group:icu", "30m30s group:icu", "45m30s group:icu", "1h0m30s group:icu"}, p.told(start))
		entries, _, err := w.store.Latest(t.Context(), SystemPatient)
		require.NoError(t, err)
		require.Len(t, entries, 1)
		a, _ := decodeAlert(&entries[0])
		require.Equal(t, AlertTechnical, a.Kind)
		e, err := w.store.Get(t.Context(), "p1", "a/k")
		require.NoError(t, err)
		a, _ = decodeAlert(&e)
		require.Equal(t, 9, a.Escalation.Level, "the level counts up and never restarts")
		require.EqualValues(t, 1, a.Rev, "rev counts changes by source and people only")
	})
}

func TestAcceptedAlertIsNotEscalated(t *testing.T) {
	escalating(t, func(w *world, p *pager, start time.Time) {
		t := w.t
		a, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		time.Sleep(20 * time.Second)
		_, err = w.hub.Answer(t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerAccept, For: 10 * time.Minute})
		require.NoError(t, err)
		time.Sleep(9 * time.Minute)
		require.Equal(t, []string{"0s person:nurse"}, p.told(start))
		// The acceptance runs out: the steps begin again, the levels run on.
		time.Sleep(2 * time.Minute)
		require.Equal(t, []string{"10m20s person:nurse", "10m50s person:doctor"}, p.told(start))
		e, err := w.store.Get(t.Context(), "p1", "a/k")
		require.NoError(t, err)
		got, _ := decodeAlert(&e)
		require.Equal(t, 3, got.Escalation.Level)
	})
}

func TestBeginAndEndOfEscalation(t *testing.T) {
	nurse, doctor := people["nurse"], people["doctor"]
	do := func(by Principal, w Answer) func(*world, AlertRef) error {
		return func(x *world, ref AlertRef) error {
			_, err := x.hub.Answer(context.Background(), by, ref, w)
			return err
		}
	}
	for _, c := range []struct {
		name string
		do   []func(*world, AlertRef) error // ten seconds apart, the first at 10 s
		want []string                       // pages within 81 s
	}{
		{"nothing", nil, []string{"0s person:nurse", "30s person:doctor"}},
		{"everybody asked rejects", []func(*world, AlertRef) error{do(nurse, Answer{Do: AnswerReject})}, []string{"0s person:nurse", "10s person:doctor", "1m10s group:icu"}},
		{"somebody else rejects", []func(*world, AlertRef) error{do(doctor, Answer{Do: AnswerReject})}, []string{"0s person:nurse", "30s person:doctor"}},
		{"accept", []func(*world, AlertRef) error{do(nurse, Answer{Do: AnswerAccept})}, []string{"0s person:nurse"}},
		{"accept, release", []func(*world, AlertRef) error{do(nurse, Answer{Do: AnswerAccept}), do(nurse, Answer{Do: AnswerRelease})},
			[]string{"0s person:nurse", "20s person:nurse", "50s person:doctor"}},
		{"accept, assign", []func(*world, AlertRef) error{do(nurse, Answer{Do: AnswerAccept}), do(nurse, Answer{Do: AnswerAssign, To: "person:doctor"})},
			[]string{"0s person:nurse", "20s person:doctor", "1m20s person:nurse"}},
		{"assign goes on", []func(*world, AlertRef) error{do(nurse, Answer{Do: AnswerAssign, To: "person:doctor"})},
			[]string{"0s person:nurse", "10s person:doctor", "1m10s person:doctor"}},
		{"reject, assign goes on", []func(*world, AlertRef) error{do(nurse, Answer{Do: AnswerReject}), do(nurse, Answer{Do: AnswerAssign, To: "person:doctor"})},
			[]string{"0s person:nurse", "10s person:doctor", "20s person:doctor", "1m20s group:icu"}},
		{"the condition is over", []func(*world, AlertRef) error{func(x *world, ref AlertRef) error {
			a, err := x.hub.Clear(context.Background(), ref)
			require.True(x.t, a.Latched)
			return err
		}}, []string{"0s person:nurse"}},
		{"closed by force", []func(*world, AlertRef) error{do(nurse, Answer{Do: AnswerClose, Force: true, Reason: "mistake"})}, []string{"0s person:nurse"}},
		{"accept, priority stays", []func(*world, AlertRef) error{do(nurse, Answer{Do: AnswerAccept}), func(x *world, _ AlertRef) error {
			_, err := x.hub.Raise(context.Background(), Raise{Patient: "p1", Key: "k", Text: "still", Priority: PriorityMedium})
			return err
		}}, []string{"0s person:nurse"}},
		{"accept, priority rises", []func(*world, AlertRef) error{do(nurse, Answer{Do: AnswerAccept}), func(x *world, _ AlertRef) error {
			_, err := x.hub.Raise(context.Background(), Raise{Patient: "p1", Key: "k", Text: "worse", Priority: PriorityHigh})
			return err
		}}, []string{"0s person:nurse", "20s person:nurse", "50s person:doctor"}},
		{"the accepter loses access", []func(*world, AlertRef) error{do(nurse, Answer{Do: AnswerAccept}), func(x *world, _ AlertRef) error {
			return x.hub.Revoke(context.Background(), Revocation{Principal: "nurse"})
		}}, []string{"0s person:nurse", "20s person:nurse", "50s person:doctor"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			escalating(t, func(w *world, p *pager, start time.Time) {
				in := high("k")
				in.Priority = PriorityMedium
				a, err := w.hub.Raise(context.Background(), in)
				require.NoError(t, err)
				w.dial("doctor").ws.CloseNow() // an alert is assigned to people that are known
				for _, do := range c.do {
					time.Sleep(10 * time.Second)
					require.NoError(t, do(w, a.Ref()))
				}
				time.Sleep(81*time.Second - time.Since(start))
				require.Equal(t, c.want, p.told(start))
			})
		})
	}
}

// A level that has reached nobody within five seconds gives way to the next,
// unless somebody who was told sends a receipt.
func TestUnreachedLevelGivesWay(t *testing.T) {
	for _, receipt := range []bool{false, true} {
		escalating(t, func(w *world, p *pager, start time.Time) {
			t := w.t
			p.deaf["person:nurse"] = true
			nurse := w.dial("nurse")
			defer nurse.ws.CloseNow()
			_, err := w.hub.Raise(t.Context(), high("k"))
			require.NoError(t, err)
			failed := func(item any) bool { // a complaint about it may come first
				a := objectAt(item, "alert")
				return a["key"] == "k" && valueAt(a, "escalation", "state") == "failed"
			}
			for !slices.ContainsFunc(listAt(nurse.until("inbox"), "items"), failed) {
			}
			want := []string{"5s person:doctor"}
			if receipt {
				require.Equal(t, "ok", nurse.ask(`{"type":"receipt","req":"r","patient":"p1","key":"k","alert_id":"k-1","stage":"delivered"}`)["type"])
				want = []string{"30s person:doctor"}
			}
			go func() {
				for {
					if _, _, err := nurse.ws.Read(context.Background()); err != nil {
						return
					}
				}
			}()
			time.Sleep(40 * time.Second)
			require.Equal(t, want, p.told(start))
		})
	}
}

// A group has rejected when all of its members who sent a receipt have.
func TestGroupRejects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pager{}
		policy := func(_ context.Context, _ Alert, step int) (Step, error) {
			return Step{To: []string{[]string{"group:icu", "role:viewer"}[min(step, 2)-1]}, After: time.Hour}, nil
		}
		w := newWorld(t, nil, &Options{Policy: policy, Pager: p})
		defer w.close()
		start := time.Now()
		a, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		synctest.Wait()
		for _, name := range []string{"nurse", "doctor"} {
			r := w.dial(name)
			require.Equal(t, "ok", r.ask(`{"type":"receipt","req":"r","patient":"p1","key":"k","alert_id":"k-1","stage":"presented"}`)["type"])
			r.ws.CloseNow()
		}
		time.Sleep(10 * time.Second)
		_, err = w.hub.Answer(t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerReject})
		require.NoError(t, err)
		time.Sleep(10 * time.Second)
		require.Equal(t, []string{"0s group:icu"}, p.told(start))
		_, err = w.hub.Answer(t.Context(), people["doctor"], a.Ref(), Answer{Do: AnswerReject})
		require.NoError(t, err)
		time.Sleep(10 * time.Second)
		require.Equal(t, []string{"20s role:viewer"}, p.told(start))
	})
}

// S4: another Hub goes on where one has stopped, also between the record of a
// level and its page; and each level is recorded once, by whichever Hub.
func TestEscalationGoesOnInAnotherHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &seam{Store: NewMemoryStore(nil)}
		p := &pager{}
		start := time.Now()
		dying := newWorld(t, store, &Options{Policy: threeSteps, Pager: p})
		store.appending = func(next Store, ctx context.Context, e []Entry) ([]AppendResult, error) {
			a, err := next.Append(ctx, e)
			if alert, derr := decodeAlert(&e[0]); derr == nil && alert.Escalation.State == EscalationClaimed {
				<-ctx.Done() // the record is written, and the node dies before the page
				return nil, ctx.Err()
			}
			return a, err
		}
		_, err := dying.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		dying.hub.Shutdown(ctx)
		dying.srv.Close()
		require.Empty(t, p.told(start))
		store.appending = nil
		var nodes []*world
		for range 3 { // three nodes on one store
			w := newWorld(t, store, &Options{Policy: threeSteps, Pager: p})
			defer w.close()
			nodes = append(nodes, w)
		}
		time.Sleep(100 * time.Second)
		told := p.told(start)
		require.Len(t, told, 3)
		require.Contains(t, []string{"10s person:nurse", "11s person:nurse"}, told[0], "the claim lapses after ten seconds")
		// Many at once, for which the nodes race: each level of each is paged once.
		for i := range 30 {
			_, err := nodes[i%3].hub.Raise(t.Context(), high("many"+strconv.Itoa(i)))
			require.NoError(t, err)
		}
		time.Sleep(100 * time.Second)
		p.mu.Lock()
		defer p.mu.Unlock()
		once := make(map[string]bool)
		for _, page := range p.pages {
			if page.Level <= 3 && page.Alert.Patient == "p1" {
				require.False(t, once[page.Key], page.Key)
				once[page.Key] = true
			}
		}
		require.GreaterOrEqual(t, len(once), 90)
		levels := make(map[int]int)
		entries, err := store.Read(t.Context(), "p1", Position{}, ReadQuery{Kinds: []Kind{KindAlert}, Key: "a/k"})
		require.NoError(t, err)
		for i := range entries {
			if a, _ := decodeAlert(&entries[i]); a.Escalation.State == EscalationNotified {
				levels[a.Escalation.Level]++
			}
		}
		require.Equal(t, map[int]int{1: 1, 2: 1, 3: 1}, levels)
	})
}

// S5: a due level is told, also the first, while the Store fails or has no room to
// record it.
func TestLevelsAreToldThatCannotBeRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &unwritable{Store: NewMemoryStore(nil)}
		p := &pager{}
		w := newWorld(t, store, &Options{Policy: threeSteps, Pager: p})
		defer w.close()
		start := time.Now()
		store.last.Store(true) // it fails when the alert is there, and nobody was told
		_, err := w.hub.Raise(t.Context(), high("first"))
		require.NoError(t, err)
		time.Sleep(overdueAfter + 2*time.Second)
		require.Contains(t, []string{"[5s person:nurse]", "[6s person:nurse]"}, fmt.Sprint(p.told(start)))
		store.last.Store(false)
		store.fails.Store(false)
		time.Sleep(10 * time.Second)
		p.told(start)
		store.full.Store(true)
		time.Sleep(2 * time.Minute)
		require.Contains(t, fmt.Sprint(p.told(start)), "person:doctor")
	})
}

// S5: while the Store fails watchers are told, heartbeats stop, and overdue
// pages go out all the same.
func TestPagesGoOutWhileTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &seam{Store: NewMemoryStore(nil)}
		p := &pager{}
		w := newWorld(t, store, &Options{Policy: threeSteps, Pager: p})
		defer w.close()
		nurse := w.watching("nurse", "latest")
		defer nurse.ws.CloseNow()
		_, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		time.Sleep(5 * time.Second)
		start := time.Now()
		p.told(start)
		store.failing.Store(true)
		require.Equal(t, "failing", nurse.until("status")["store"])
		require.ErrorIs(t, w.hub.Ready(), ErrUnavailable)
		for statuses := 0; statuses < 3; {
			o := nurse.read()
			require.NotEqual(t, "heartbeat", o["type"])
			if o["type"] == "status" {
				require.Equal(t, "failing", o["store"], "in place of heartbeats")
				statuses++
			}
		}
		require.NotEmpty(t, p.told(start))
		store.failing.Store(false)
		require.Equal(t, "ok", nurse.until("status")["store"])
		require.NoError(t, w.hub.Ready())
	})
}

// A claim that loses its race against the end of the alert pages nobody.
func TestAlertEndsWhileItIsClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &seam{Store: NewMemoryStore(nil), appending: func(next Store, ctx context.Context, entries []Entry) ([]AppendResult, error) {
			a, err := decodeAlert(&entries[0])
			if err == nil && a.Escalation.State == EscalationClaimed && a.Escalation.Level == 2 {
				a.end(time.Now())
				ended := alertEntry(a, time.Now())
				ended.Rev = entries[0].Rev
				if _, err := next.Append(ctx, []Entry{ended}); err != nil {
					return nil, err
				}
			}
			return next.Append(ctx, entries)
		}}
		p := &pager{}
		w := newWorld(t, store, &Options{Policy: threeSteps, Pager: p})
		defer w.close()
		start := time.Now()
		_, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		time.Sleep(time.Hour)
		require.Equal(t, []string{"0s person:nurse"}, p.told(start))
		entries, _, err := store.Latest(t.Context(), SystemPatient)
		require.NoError(t, err)
		require.Empty(t, entries)
	})
}

// A complaint that could not be written is written when it can be: ten seconds
// later with the level, which is taken up again, and if that fails for long with
// a later one.
func TestComplaintOutlivesAFailure(t *testing.T) {
	for _, c := range []struct {
		fails, written time.Duration
		told           string
	}{
		{15 * time.Second, 220 * time.Second, " 3m30s group:icu 3m40s group:icu 7m30s group:icu 15m30s"},
		{time.Hour, 75*time.Minute + 30*time.Second, " 30m30s group:icu 30m40s group:icu 45m30s"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var refused atomic.Bool
			store := &seam{Store: NewMemoryStore(nil), appending: func(next Store, ctx context.Context, entries []Entry) ([]AppendResult, error) {
				if refused.Load() && slices.ContainsFunc(entries, func(e Entry) bool { return e.Patient == SystemPatient }) {
					return nil, errInjected
				}
				return next.Append(ctx, entries)
			}}
			p := &pager{}
			w := newWorld(t, store, &Options{Policy: threeSteps, Pager: p})
			defer w.close()
			start := time.Now()
			_, err := w.hub.Raise(t.Context(), high("k"))
			require.NoError(t, err)
			time.Sleep(200 * time.Second)
			refused.Store(true)
			time.Sleep(c.fails) // the policy has no further step at 3m30s
			refused.Store(false)
			time.Sleep(15 * time.Minute)
			entries, err := w.store.Read(t.Context(), SystemPatient, Position{}, ReadQuery{Limit: 1})
			require.NoError(t, err)
			require.Len(t, entries, 1)
			require.Equal(t, c.written, entries[0].Received.Sub(start))
			require.Contains(t, fmt.Sprint(p.told(start)), c.told)
		})
	}
}

// If the policy fails, the step is asked for again soon: its recipients are told,
// and the steps after it follow in their turn.
func TestStepIsAskedForAgain(t *testing.T) {
	for name, fail := range map[string]func(context.Context){
		"panics": func(context.Context) { panic("policy") },
		"hangs":  func(ctx context.Context) { <-ctx.Done() },
	} {
		for _, failing := range []int{1, 2, 4} { // 4: there is no such step
			t.Run(fmt.Sprint(name, failing), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var once sync.Once
					p := &pager{}
					policy := func(ctx context.Context, a Alert, step int) (Step, error) {
						if step == failing {
							once.Do(func() { fail(ctx) })
						}
						return threeSteps(ctx, a, step)
					}
					w := newWorld(t, nil, &Options{Policy: policy, Pager: p, CallTimeout: 100 * time.Millisecond})
					defer w.close()
					start := time.Now()
					a := high("k")
					a.To = []string{"person:aide"}
					_, err := w.hub.Raise(t.Context(), a)
					require.NoError(t, err)
					time.Sleep(4 * time.Minute)
					require.Equal(t, map[int][]string{
						1: {"0s person:aide", "5s person:nurse", "35s person:doctor", "1m35s group:icu", "3m35s group:icu"},
						2: {"0s person:nurse", "30s person:nurse", "35s person:doctor", "1m35s group:icu", "3m35s group:icu"},
						4: {"0s person:nurse", "30s person:doctor", "1m30s group:icu", "3m30s group:icu", "3m35s group:icu"},
					}[failing], p.told(start))
					got, err := w.hub.Alert(t.Context(), "p1", "k")
					require.NoError(t, err)
					require.Equal(t, 5, got.Escalation.Level)
					require.Equal(t, 3, got.Escalation.Step)
				})
			})
		}
	}
}

// Without a policy, the alert's addressees are told every minute; with
// one that fails, more often at first.
func TestWithoutPolicyTheAddresseesAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		policy Policy
		pages  int
	}{
		"none":   {nil, 3},
		"panics": {func(context.Context, Alert, int) (Step, error) { panic("policy") }, 5},
		"hangs":  {func(ctx context.Context, _ Alert, _ int) (Step, error) { <-ctx.Done(); return Step{}, ctx.Err() }, 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pager{}
				w := newWorld(t, nil, &Options{Policy: c.policy, Pager: p, CallTimeout: time.Second})
				defer w.close()
				a := high("k")
				a.To = []string{"person:nurse"}
				_, err := w.hub.Raise(t.Context(), a)
				require.NoError(t, err)
				time.Sleep(130 * time.Second)
				require.Len(t, p.told(time.Now()), c.pages)
				time.Sleep(8 * time.Minute)
				require.Len(t, p.told(time.Now()), 8, "each minute")
			})
		})
	}
}

// Calls of a hung Pager do not pile up, and a page that fails does not count as one.
func TestHungPagerIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		w := newWorld(t, nil, &Options{Pager: pagerFunc(func(context.Context, Page) error { <-release; return nil })})
		defer w.close()
		defer close(release)
		for i := range 200 {
			a := high("k" + string(rune('a'+i%26)) + string(rune('a'+i/26)))
			a.To = []string{"person:nurse"}
			_, err := w.hub.Raise(t.Context(), a)
			require.NoError(t, err)
		}
		time.Sleep(5 * time.Minute)
		require.Equal(t, 1, w.hub.Stats().PagersHanging)
		require.LessOrEqual(t, w.hub.escalator.paging.lost, workAtOnce)
		require.Equal(t, 200, w.hub.open.alertsOf("p1"))
	})
}

// Test alerts page nobody but the recipients that the host names.
func TestTestAlertsPageNobodyElse(t *testing.T) {
	for _, recipients := range [][]string{nil, {"person:tester"}} {
		synctest.Test(t, func(t *testing.T) {
			p := &pager{}
			w := newWorld(t, nil, &Options{Policy: threeSteps, Pager: p, TestRecipients: recipients})
			defer w.close()
			a := high("k")
			a.Test = true
			_, err := w.hub.Raise(t.Context(), a)
			require.NoError(t, err)
			real, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "real", Priority: PriorityInfo})
			require.NoError(t, err)
			require.False(t, real.Test, "test data has its own keys")
			time.Sleep(20 * time.Second)
			p.mu.Lock()
			defer p.mu.Unlock()
			require.Len(t, p.pages, len(recipients))
			for _, page := range p.pages {
				require.Equal(t, "person:tester", page.To)
			}
		})
	}
}
