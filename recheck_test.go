package carewire

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// vitals publishes one vital a second, for so long.
func (w *world) vitals(patient string, n int) {
	for range n {
		_, err := w.hub.Publish(w.t.Context(), HeartRate.Of(patient, 60))
		require.NoError(w.t, err)
		time.Sleep(time.Second)
	}
}

// followed is a client's state of the patient it watches.
type followed struct {
	mu      sync.Mutex
	vitals  []time.Time
	revoked []time.Time
	granted int
	others  map[string]object // the last of each other type
}

// follow reads all that comes for r.
func (r *raw) follow() *followed {
	f := &followed{others: make(map[string]object)}
	go func() {
		for {
			_, b, err := r.ws.Read(context.Background())
			if err != nil {
				return
			}
			f.mu.Lock()
			switch typ := peekType(b); typ {
			case "vital":
				f.vitals = append(f.vitals, time.Now())
			case "revoked":
				f.revoked = append(f.revoked, time.Now())
			case "granted":
				f.granted++
			default:
				var o object
				json.Unmarshal(b, &o)
				f.others[typ] = o
			}
			f.mu.Unlock()
		}
	}()
	return f
}

// last is when the last vital came, and whether access was revoked, in whole
// seconds after start; -1: not.
func (f *followed) last(start time.Time) (vital, revoked int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	seconds := func(list []time.Time) int {
		if len(list) == 0 {
			return -1
		}
		return int(list[len(list)-1].Sub(start) / time.Second)
	}
	return seconds(f.vitals), seconds(f.revoked)
}

// Access to watched patients is asked for again. Principals to whom nothing
// changes lose nothing.
func TestAccessIsAskedForAgain(t *testing.T) {
	for name, c := range map[string]struct {
		decide  func(start time.Time) Decision
		err     error
		revoked [2]int // between, in seconds
		asked   int    // at least
	}{
		"refused":       {decide: func(time.Time) Decision { return Decision{} }, revoked: [2]int{60, 64}, asked: 1},
		"still granted": {decide: func(time.Time) Decision { return Decision{Allow: true} }, revoked: [2]int{-1, -1}, asked: 2},
		"undecided":     {err: errNoIdea, revoked: [2]int{-1, -1}, asked: 7},
		"granted for a time": {decide: func(start time.Time) Decision { return Decision{true, start.Add(90 * time.Second)} },
			revoked: [2]int{90, 90}, asked: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &judge{decide: everyone}
				w := newWorld(t, nil, &Options{Authorizer: j})
				defer w.close()
				start := time.Now()
				nurse, doctor := w.watching("nurse", "every"), w.watching("doctor", "every")
				defer nurse.ws.CloseNow()
				defer doctor.ws.CloseNow()
				n, d := nurse.follow(), doctor.follow()
				j.rule(func(a Access, _ string) (Decision, error) {
					if a.Principal.ID == "doctor" {
						return Decision{Allow: true}, nil
					}
					return cmpDecision(c.decide, start), c.err
				})
				w.vitals("p1", 130)
				synctest.Wait()
				vital, revoked := n.last(start)
				require.GreaterOrEqual(t, revoked, c.revoked[0])
				require.LessOrEqual(t, revoked, c.revoked[1])
				if revoked < 0 {
					revoked = 129
				}
				require.LessOrEqual(t, vital, revoked, "nothing comes afterwards")
				require.GreaterOrEqual(t, vital, revoked-1, "and all before")
				require.Len(t, d.vitals, 130)
				nurses := len(j.times(start)) - 2
				require.GreaterOrEqual(t, nurses, c.asked, "%v", j.times(start))
			})
		})
	}
}

func cmpDecision(f func(time.Time) Decision, start time.Time) Decision {
	if f == nil {
		return Decision{}
	}
	return f(start)
}

// A grant with an end is asked for again before it, and ends if it was not renewed.
func TestUntil(t *testing.T) {
	for name, c := range map[string]struct {
		renew func() (Decision, error)
		ends  int
	}{
		"renewed":     {func() (Decision, error) { return Decision{true, time.Now().Add(time.Hour)}, nil }, -1},
		"not renewed": {func() (Decision, error) { return Decision{}, errNoIdea }, 50},
		"refused":     {func() (Decision, error) { return Decision{}, nil }, 37},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				j := &judge{decide: func(Access, string) (Decision, error) { return Decision{true, start.Add(50 * time.Second)}, nil }}
				w := newWorld(t, nil, &Options{Authorizer: j})
				defer w.close()
				nurse := w.watching("nurse", "every")
				defer nurse.ws.CloseNow()
				n := nurse.follow()
				j.rule(func(Access, string) (Decision, error) { return c.renew() })
				w.vitals("p1", 55)
				synctest.Wait()
				_, revoked := n.last(start)
				if c.ends == 37 {
					require.InDelta(t, c.ends, revoked, 3)
				} else {
					require.Equal(t, c.ends, revoked, "to the second")
				}
				require.InDelta(t, 37, j.times(start)[0], 3, "asked before")
			})
		})
	}
}

// A Directory that changes without saying so is noticed.
func TestGroupsAreAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := &wards{list: map[string][]string{"icu": {"g1", "g2"}}}
		w := newWorld(t, nil, &Options{Directory: dir})
		defer w.close()
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		nurse.ask(`{"type":"watch","req":"1","groups":["icu"]}`)
		n := nurse.follow()
		start := time.Now()
		dir.set("icu", "g2", "g3")
		time.Sleep(70 * time.Second)
		synctest.Wait()
		_, revoked := n.last(start)
		require.InDelta(t, 62, revoked, 3)
		require.Equal(t, 1, n.granted)
	})
}

// An alert is not lost to an inbox if nobody could decide whether it may be shown.
func TestUndecidedInboxIsAskedForAgain(t *testing.T) {
	for _, connected := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			j := &judge{decide: everyone}
			w := newWorld(t, nil, &Options{Authorizer: j})
			defer w.close()
			doctor := w.dial("doctor")
			defer doctor.ws.CloseNow()
			require.Equal(t, true, doctor.until("inbox")["done"])
			j.rule(func(a Access, _ string) (Decision, error) {
				if a.Principal.ID == "nurse" {
					return Decision{}, errNoIdea
				}
				return everyone(a, "")
			})
			var nurse *raw
			if connected {
				nurse = w.dial("nurse")
				require.Equal(t, true, nurse.until("inbox")["done"])
			}
			_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityLow, To: []string{"role:clinician"}})
			require.NoError(t, err)
			if !connected {
				nurse = w.dial("nurse")
				require.Empty(t, nurse.until("inbox")["items"])
			}
			defer nurse.ws.CloseNow()
			require.Len(t, doctor.until("inbox")["items"], 1)
			time.Sleep(12 * time.Second)
			j.rule(everyone)
			require.Len(t, nurse.until("inbox")["items"], 1)
		})
	}
}

// An Authorizer that hangs for one client, or panics, holds up no other.
func TestSlowAuthorizerHoldsUpNobodyElse(t *testing.T) {
	for name, fail := range map[string]func(context.Context){
		"hangs":  func(ctx context.Context) { <-ctx.Done() },
		"panics": func(context.Context) { panic("x") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, &Options{Authorizer: authorizer(func(ctx context.Context, a Access) ([]Decision, error) {
					if a.Principal.ID == "nurse" {
						fail(ctx)
					}
					return slices.Repeat([]Decision{{Allow: true}}, len(a.Patients)), nil
				})})
				defer w.close()
				nurse := w.dial("nurse")
				defer nurse.ws.CloseNow()
				doctor := w.dial("doctor")
				defer doctor.ws.CloseNow()
				require.Equal(t, true, nurse.until("inbox")["done"])
				require.Equal(t, true, doctor.until("inbox")["done"])
				nurse.send(`{"type":"watch","req":"1","patients":["p1"]}`)
				start := time.Now()
				for i := range 5 {
					_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: fmt.Sprint("k", i), Text: "x", Priority: PriorityLow, To: []string{"role:clinician"}})
					require.NoError(t, err)
					for came := false; !came; { // others come again as they are escalated
						for _, item := range listAt(doctor.until("inbox"), "items") {
							came = came || valueAt(item, "alert", "key") == fmt.Sprint("k", i)
						}
					}
				}
				require.Less(t, time.Since(start), time.Second)
				require.Equal(t, []any{object{"patient": "p1", "code": "undecided"}}, nurse.until("ok")["refused"])
			})
		})
	}
}

// Callers that wait for the answer of a hanging Directory do not each ask it again.
func TestHungDirectoryIsNotAskedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		w := newWorld(t, nil, &Options{Directory: directoryFunc(func(ctx context.Context, _ string) ([]string, error) {
			asked.Add(1)
			<-ctx.Done()
			return nil, ctx.Err()
		})})
		defer w.close()
		start := time.Now()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				nurse := people["nurse"]
				if err := w.hub.access.decide(t.Context(), &nurse, ActionWatch, []string{"g1"})["g1"]; err != ErrUndecided {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, asked.Load())
		require.Equal(t, 5*time.Second, time.Since(start))
	})
}

// When everybody comes back at once, the Authorizer is asked once for each, and
// not by all at the same time.
func TestReconnectStorm(t *testing.T) {
	const clients = 2000
	synctest.Test(t, func(t *testing.T) {
		var asked, now, most atomic.Int64
		w := newWorld(t, nil, &Options{Lanes: 2, Authorizer: authorizer(func(_ context.Context, a Access) ([]Decision, error) {
			asked.Add(1)
			n := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(20 * time.Millisecond)
			return slices.Repeat([]Decision{{Allow: true}}, len(a.Patients)), nil
		})})
		w.hub.auth = AuthenticatorFunc(func(r *http.Request) (Principal, error) {
			return Principal{ID: Token(r), Role: RoleClinician}, nil
		})
		defer w.close()
		watch := `{"type":"watch","req":"1","patients":["p0"`
		for i := 1; i < 40; i++ {
			watch += fmt.Sprintf(`,"p%d"`, i)
		}
		watch += `]}`
		var wg sync.WaitGroup
		var watching atomic.Int64
		for i := range clients {
			wg.Go(func() {
				p := join(t, dialler(w, w.net, nil)(), fmt.Sprint("n", i), masked(opText, watch))
				defer p.conn.Close()
				watching.Add(int64(len(listAt(p.text("ok"), "watching"))))
			})
		}
		wg.Wait()
		require.EqualValues(t, clients*40, watching.Load())
		require.LessOrEqual(t, asked.Load(), int64(clients))
		require.LessOrEqual(t, most.Load(), int64(64))
	})
}

// A patient whom a client has unwatched does not come back by the check.
func TestUnwatchedStaysUnwatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := &wards{list: map[string][]string{"icu": {"g1", "g2"}}}
		w := newWorld(t, nil, &Options{Directory: dir})
		defer w.close()
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		watch := `{"type":"watch","req":"1","groups":["icu"],"delivery":"every"}`
		nurse.ask(watch)
		nurse.ask(`{"type":"unwatch","req":"2","patients":["g1"]}`)
		n := nurse.follow()
		w.vitals("g1", 130)
		require.NoError(t, w.hub.MembersChanged(t.Context(), "icu"))
		synctest.Wait()
		require.Zero(t, n.granted)
		require.Empty(t, n.vitals)
		nurse.send(watch)
		synctest.Wait()
		w.vitals("g1", 1)
		synctest.Wait()
		require.NotEmpty(t, n.vitals, "until the group is watched anew")
	})
}

// A patient who was unwatched together with the only group that had them comes
// back with another group.
func TestUnwatchedWithTheGroupComesBackWithAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := &wards{list: map[string][]string{"icu": {"g1", "g2"}, "ward": {"g2"}}}
		w := newWorld(t, nil, &Options{Directory: dir, Authorizer: &judge{decide: everyone}})
		defer w.close()
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		nurse.ask(`{"type":"watch","req":"1","groups":["icu","ward"],"delivery":"every"}`)
		nurse.ask(`{"type":"unwatch","req":"2","groups":["icu"],"patients":["g1","g2"]}`)
		n := nurse.follow()
		dir.set("ward", "g1", "g2")
		require.NoError(t, w.hub.MembersChanged(t.Context(), "ward"))
		synctest.Wait()
		w.vitals("g1", 1)
		w.vitals("g2", 1)
		synctest.Wait()
		require.Equal(t, 1, n.granted, "g1; g2 was unwatched while the ward had them")
		require.Len(t, n.vitals, 1)
	})
}

// A person who is refused when access is asked for again, or whose access has
// run out, is responsible no more, though the Store fails just then.
func TestLostAccessOutlivesAFailure(t *testing.T) {
	for _, runsOut := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var refused atomic.Bool
			store := &seam{Store: NewMemoryStore(nil), appending: func(next Store, ctx context.Context, entries []Entry) ([]AppendResult, error) {
				if refused.Load() {
					return nil, errInjected
				}
				return next.Append(ctx, entries)
			}}
			j := &judge{decide: everyone}
			p := &pager{}
			w := newWorld(t, store, &Options{Authorizer: j, Policy: threeSteps, Pager: p})
			defer w.close()
			start := time.Now()
			if runsOut {
				j.rule(func(a Access, _ string) (Decision, error) {
					return Decision{Allow: true, Until: start.Add(time.Minute)}, nil
				})
			}
			nurse := w.watching("nurse", "latest")
			defer nurse.ws.CloseNow()
			f := nurse.follow()
			a, err := w.hub.Raise(t.Context(), high("k"))
			require.NoError(t, err)
			_, err = w.hub.Answer(t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerAccept})
			require.NoError(t, err)
			if !runsOut {
				j.rule(func(Access, string) (Decision, error) { return Decision{}, nil })
			}
			time.Sleep(20 * time.Second)
			p.told(start)
			refused.Store(true)
			time.Sleep(50 * time.Second)
			_, revoked := f.last(start)
			require.InDelta(t, 62, revoked, 4)
			refused.Store(false)
			time.Sleep(15 * time.Second)
			require.NotEmpty(t, p.told(start), "the steps begin again: %v", runsOut)
		})
	}
}

// A refusal that was asked for before access was given again takes nothing away.
func TestLateRefusalTakesNothing(t *testing.T) {
	for name, grant := range map[string]func(w *world, nurse *raw){
		"watched anew":   func(_ *world, nurse *raw) { nurse.send(`{"type":"watch","req":"2","patients":["p1"]}`) },
		"asked for anew": func(w *world, _ *raw) { require.NoError(w.t, w.hub.MembersChanged(w.t.Context(), "icu")) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &judge{decide: everyone}
				w := newWorld(t, nil, &Options{Authorizer: j})
				defer w.close()
				nurse := w.watching("nurse", "every")
				defer nurse.ws.CloseNow()
				f := nurse.follow()
				time.Sleep(time.Second)
				j.rule(func(Access, string) (Decision, error) {
					time.Sleep(3 * time.Second)
					return Decision{}, nil
				})
				go w.hub.MembersChanged(t.Context(), "icu")
				time.Sleep(time.Second)
				j.rule(everyone)
				grant(w, nurse)
				time.Sleep(3 * time.Second)
				w.vitals("p1", 1)
				synctest.Wait()
				require.Len(t, f.vitals, 1)
				require.Empty(t, f.revoked)
				j.rule(func(Access, string) (Decision, error) { return Decision{}, nil })
				time.Sleep(askAgain + 5*time.Second)
				synctest.Wait()
				require.Len(t, f.revoked, 1, "it is asked for again soon")
			})
		})
	}
}
