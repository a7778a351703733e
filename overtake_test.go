package carewire

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A clear by POST that overtakes its raise is told to come again, and ends the
// alert when it does. Another's alert looks no different.
func TestClearThatOvertakesItsRaise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "others", ID: "o-1", Text: "x", Priority: PriorityHigh})
		require.NoError(t, err)
		d := w.dial("device")
		clear := func(key, id, event string) string {
			r := d.ask(fmt.Sprintf(`{"type":"clear","req":"1","patient":"p1","key":"%s","alert_id":"%s","event_id":"%s"}`, key, id, event))
			if r["type"] == "ok" {
				return fmt.Sprint(valueAt(r, "alert", "condition"))
			}
			return fmt.Sprint(r["code"], " ", r["retry"])
		}
		raise := func(key, id string) {
			r := d.ask(fmt.Sprintf(`{"type":"raise","req":"1","event_id":"%s","alert":{"patient":"p1","key":"%s","text":"x","priority":"low","kind":"technical","latch":false}}`, id, key))
			require.Equal(t, "ok", r["type"])
		}
		require.Equal(t, "undecided later", clear("k", "a-1", "c-1"))
		require.Equal(t, "undecided later", clear("others", "a-2", "c-2"), "as if there were none")
		raise("k", "a-1")
		require.Equal(t, "over", clear("k", "a-1", "c-1"))
		require.Equal(t, "undecided later", clear("k", "a-3", "c-3"), "a later occurrence")
		raise("k", "a-3")
		require.Equal(t, "ended never", clear("k", "a-1", "c-4"), "an earlier one")
		require.Equal(t, "over", clear("k", "a-3", "c-3"))
	})
}

// Principals that are one sender send each event once, and clear alerts that another
// of them has raised.
func TestSendersThatAreOne(t *testing.T) {
	for one, want := range map[bool][]any{true: {true, "over"}, false: {nil, nil}} {
		synctest.Test(t, func(t *testing.T) {
			o := &Options{}
			if one {
				o.Senders = map[string]string{"device": "pump-7", "pat": "pump-7"}
			}
			w := newWorld(t, nil, o)
			defer w.close()
			a, b := w.dial("device"), w.dial("pat")
			vital := `{"type":"publish","req":"1","vitals":[{"patient":"p1","code":"8867-4","value":60,"unit":"/min","vital_id":"v-1"}]}`
			a.ask(vital)
			require.Equal(t, want[0], valueAt(b.ask(vital), "results", 0, "repeated"))
			a.ask(`{"type":"raise","req":"2","event_id":"a-1","alert":{"patient":"p1","key":"k","text":"x","priority":"low"}}`)
			reply := b.ask(`{"type":"clear","req":"3","patient":"p1","key":"k","alert_id":"a-1","event_id":"c-1"}`)
			alert, _ := reply["alert"].(object)
			require.Equal(t, want[1], alert["condition"])
		})
	}
}

// Where the host's code fails, each request of a client is undecided, to be tried
// again.
func TestUndecidedEverywhere(t *testing.T) {
	fails := errors.New("no answer")
	var failing atomic.Bool
	resolve := func(context.Context) error {
		if failing.Load() {
			return fails
		}
		return nil
	}
	for name, o := range map[string]*Options{
		"Authorizer": {Authorizer: allows(func(_ context.Context, a Access) ([]Decision, error) {
			list := make([]Decision, len(a.Patients))
			for i := range list {
				list[i].Allow = true
			}
			return list, resolve(context.Background())
		})},
		"Resolve": {Resolve: func(ctx context.Context, _ Principal, v *Vital) error { v.Patient = "p1"; return resolve(ctx) },
			ResolveAlert: func(ctx context.Context, _ Principal, _ *AlertRef) error { return resolve(ctx) }},
		"Directory": {Directory: directoryFunc(func(ctx context.Context, _ string) ([]string, error) { return []string{"p7"}, resolve(ctx) })},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				failing.Store(false)
				w := newWorld(t, nil, o)
				defer w.close()
				patient := "p1"
				if name == "Directory" {
					patient = "p7" // by the group icu only
				}
				_, err := w.hub.Raise(t.Context(), Raise{Patient: patient, Key: "k", ID: "a-1", Text: "x", Priority: PriorityHigh})
				require.NoError(t, err)
				d, nurse := w.dial("device"), w.dial("nurse")
				failing.Store(true)
				sent := map[string]string{
					"answer": `{"type":"answer","req":"1","patient":"` + patient + `","key":"k","alert_id":"a-1","event_id":"e-1","do":"accept"}`,
					"raise":  `{"type":"raise","req":"1","event_id":"e-2","alert":{"patient":"` + patient + `","key":"k2","text":"x","priority":"low"}}`,
					"clear":  `{"type":"clear","req":"1","patient":"` + patient + `","key":"k","alert_id":"a-1","event_id":"e-3"}`,
				}
				for typ, text := range sent {
					from := d
					if typ == "answer" || name == "Directory" {
						from = nurse
					}
					r := from.ask(text)
					require.Equal(t, "undecided later", fmt.Sprint(r["code"], " ", r["retry"]), "%s", typ)
				}
				if name != "Directory" { // the device lists its patients
					r := d.ask(`{"type":"publish","req":"1","vitals":[{"patient":"p1","code":"8867-4","value":60,"unit":"/min"}]}`)
					e := objectAt(r, "results", 0, "error")
					require.Equal(t, "undecided later", fmt.Sprint(e["code"], " ", e["retry"]))
				}
				failing.Store(false)
				time.Sleep(2 * time.Second) // a Directory that has failed is not asked again at once
				require.Equal(t, "ok", nurse.ask(sent["answer"])["type"])
			})
		})
	}
}

// Ready reports that alerts reach nobody if the host asks for that.
func TestReadyToTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quiet, w := newWorld(t, nil, nil), newWorld(t, nil, &Options{ReadyToTell: true})
		defer quiet.close()
		defer w.close()
		require.NoError(t, quiet.hub.Ready(), "clients must be let in")
		require.ErrorIs(t, w.hub.Ready(), ErrNobodyToTell)
		w.dial("nurse").until("welcome")
		require.NoError(t, w.hub.Ready())

		hangs := make(chan struct{})
		defer close(hangs)
		paged := newWorld(t, nil, &Options{ReadyToTell: true, Pager: pagerFunc(func(context.Context, Page) error { <-hangs; return nil })})
		defer paged.close()
		require.NoError(t, paged.hub.Ready())
		_, err := paged.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityHigh, To: []string{"person:nurse"}})
		require.NoError(t, err)
		time.Sleep(10 * time.Second)
		require.ErrorIs(t, paged.hub.Ready(), ErrNobodyToTell)
	})
}

// When a patient comes to another team, that team is told of the open alerts.
func TestTransferTellsTheNewTeam(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ward atomic.Value
		ward.Store([]string(nil))
		p := &pager{}
		w := newWorld(t, nil, &Options{Pager: p, Directory: directoryFunc(func(context.Context, string) ([]string, error) { return ward.Load().([]string), nil }),
			Policy: func(_ context.Context, _ Alert, step int) (Step, error) {
				if step > 1 {
					return Step{}, ErrNoStep
				}
				if len(ward.Load().([]string)) > 0 {
					return Step{To: []string{"group:icu"}, After: time.Hour}, nil
				}
				return Step{To: []string{"group:er"}, After: time.Hour}, nil
			}})
		defer w.close()
		ward.Store([]string{"p9"})
		require.NoError(t, w.hub.MembersChanged(t.Context(), "icu"))
		ward.Store([]string(nil))
		start := time.Now()
		raised, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		held, err := w.hub.Raise(t.Context(), high("held"))
		require.NoError(t, err)
		time.Sleep(time.Minute)
		_, err = w.hub.Answer(t.Context(), people["nurse"], held.Ref(), Answer{Do: AnswerAccept})
		require.NoError(t, err)
		require.Equal(t, []string{"0s group:er", "0s group:er"}, p.told(start))
		ward.Store([]string{"p9", "p1"})
		require.NoError(t, w.hub.MembersChanged(t.Context(), "icu"))
		time.Sleep(2 * time.Second)
		require.Equal(t, []string{"1m0s group:icu"}, p.told(start), "not of an alert that somebody has")
		a, err := w.hub.Alert(t.Context(), "p1", "k")
		require.NoError(t, err)
		require.Equal(t, raised.ID, a.ID)
		require.Equal(t, 2, a.Escalation.Level)
		require.NoError(t, w.hub.MembersChanged(t.Context(), "icu"))
		time.Sleep(2 * time.Second)
		require.Empty(t, p.told(start), "nobody has come")
	})
}

// A node that has not asked for a group before takes all of its patients to have
// come, once. A patient who left, as another node's call told, may come back.
func TestFirstChangeOfAGroupTellsItsTeam(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ward atomic.Value
		ward.Store([]string{"p1"})
		p := &pager{}
		var full atomic.Bool // the Store, for alerts
		store := &seam{Store: NewMemoryStore(nil), appending: func(next Store, ctx context.Context, entries []Entry) ([]AppendResult, error) {
			if full.Load() && entries[0].Kind == KindAlert {
				refused := make([]AppendResult, len(entries))
				for i := range refused {
					refused[i].Err = ErrFull
				}
				return refused, nil
			}
			return next.Append(ctx, entries)
		}}
		w := newWorld(t, store, &Options{Pager: p, Policy: steps([]string{"group:icu"}),
			Directory: directoryFunc(func(context.Context, string) ([]string, error) { return ward.Load().([]string), nil })})
		defer w.close()
		_, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		time.Sleep(time.Second)
		changed := func(patients ...string) []string {
			ward.Store(patients)
			start := time.Now()
			require.NoError(t, w.hub.MembersChanged(t.Context(), "icu"))
			time.Sleep(time.Second)
			return p.told(start)
		}
		p.told(time.Now())
		require.Equal(t, []string{"0s group:icu"}, changed("p1"), "the node did not know the group")
		require.Empty(t, changed("p1"), "nobody has come")
		ward.Store([]string(nil))
		require.NoError(t, w.hub.changes.regroup(t.Context(), "icu"), "by the call of another node")
		require.Equal(t, []string{"0s group:icu"}, changed("p1"), "back again")

		ward.Store([]string(nil))
		require.NoError(t, w.hub.MembersChanged(t.Context(), "icu"))
		ward.Store([]string{"p1"})
		full.Store(true)
		require.ErrorIs(t, w.hub.MembersChanged(t.Context(), "icu"), ErrFull)
		full.Store(false)
		require.Equal(t, []string{"0s group:icu"}, changed("p1"), "what failed is done when it is tried again")
	})
}

// Names of groups that do not exist are not kept.
func TestMadeUpGroupsAreNotKept(t *testing.T) {
	o := (&Options{}).withDefaults()
	x := newGroups(directoryFunc(func(_ context.Context, name string) ([]string, error) {
		if name == "icu" {
			return []string{"p1"}, nil
		}
		return nil, nil
	}), newHostCalls(&o, new(counters)).directory)
	for i := range 1000 {
		_, err := x.members(t.Context(), fmt.Sprint("made-up-", i))
		require.NoError(t, err)
	}
	_, err := x.members(t.Context(), "icu")
	require.NoError(t, err)
	require.Len(t, x.byID, 1)
}

// Unwatching a patient brings the patient's open entries to the inbox.
func TestUnwatchingLosesNothingOfTheInbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		n := w.dial("nurse")
		n.until("inbox")
		n.ask(`{"type":"watch","req":"1","patients":["p1"]}`)
		n.until("synced")
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", ID: "a-1", Text: "x", Priority: PriorityHigh, To: []string{"person:nurse"}})
		require.NoError(t, err)
		n.until("alert")
		time.Sleep(time.Second)
		n.send(`{"type":"unwatch","req":"2","patients":["p1"]}`)
		items := listAt(n.until("inbox"), "items")
		require.Len(t, items, 1)
		require.Equal(t, "a-1", valueAt(items, 0, "alert", "alert_id"))
	})
}

// History by time has each level of an escalation at its time.
func TestHistoryByTimeShowsEscalation(t *testing.T) {
	escalating(t, func(w *world, _ *pager, start time.Time) {
		t := w.t
		_, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		time.Sleep(10 * time.Minute)
		for _, c := range []struct {
			from, to time.Duration
			level    int
		}{{0, 20 * time.Second, 1}, {30 * time.Second, 40 * time.Second, 2}, {90 * time.Second, 100 * time.Second, 3}} {
			page, err := w.hub.History(t.Context(), HistoryQuery{Patient: "p1", Kinds: []Kind{KindAlert}, From: start.Add(c.from), To: start.Add(c.to)})
			require.NoError(t, err)
			require.NotEmpty(t, page.Events)
			require.Equal(t, c.level, page.Events[len(page.Events)-1].Alert.Escalation.Level)
		}
	})
}

// While the Auditor takes nothing, break-glass is refused, or, where the host has
// said so, granted, with a record that comes later.
func TestBreakGlassWithoutTheAuditor(t *testing.T) {
	for _, unaudited := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var down atomic.Bool
			records := make(chan Record, 100)
			w := newWorld(t, nil, &Options{Authorizer: &judge{decide: glass}, EmergencyUnaudited: unaudited, Auditor: auditorFunc(func(_ context.Context, r Record) error {
				if down.Load() {
					return errInjected
				}
				records <- r
				return nil
			})})
			defer w.close()
			n := w.dial("nurse")
			n.until("inbox")
			down.Store(true)
			reply := n.ask(breakGlass)
			if !unaudited {
				require.Contains(t, fmt.Sprint(reply["refused"]), "unavailable")
				require.NotContains(t, fmt.Sprint(reply["watching"]), "p9")
				return
			}
			require.Contains(t, fmt.Sprint(reply["watching"]), "p9")
			require.NotContains(t, fmt.Sprint(reply["watching"]), "p1", "a patient who is not opened by break-glass")
			_, err := w.store.Get(t.Context(), "p9", emergencyKey("nurse"))
			require.NoError(t, err)
			down.Store(false)
			time.Sleep(2 * time.Minute)
			seen := false
			for len(records) > 0 {
				r := <-records
				seen = seen || r.Event == AuditEmergency && r.Patient == "p9" && r.Who.ID == "nurse"
			}
			require.True(t, seen)
		})
	}
}

// Shutdown leaves no goroutine behind, with any work under way: a bubble whose
// goroutines do not end fails.
func TestShutdownLeavesNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refused atomic.Bool
		store := &seam{Store: NewMemoryStore(nil), appending: func(next Store, ctx context.Context, entries []Entry) ([]AppendResult, error) {
			if refused.Load() {
				return nil, errInjected
			}
			return next.Append(ctx, entries)
		}}
		w := newWorld(t, store, &Options{Policy: threeSteps, Pager: &pager{}, NoticeLife: time.Minute})
		n := w.dial("nurse")
		n.until("inbox")
		n.ask(`{"type":"watch","req":"1","groups":["icu"],"patients":["p1"]}`)
		_, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		_, err = w.hub.Notify(t.Context(), Notice{Patient: "p1", To: []string{"person:gone"}, Text: "hello"})
		require.NoError(t, err)
		sends(t, w, "p1", "mon-0", 5*time.Second)
		sends(t, w, "p1", "mon-1", 5*time.Second)
		time.Sleep(30 * time.Second)
		refused.Store(true) // retries begin
		time.Sleep(2 * time.Minute)
		w.close()
		w.hub.mu.Lock()
		require.True(t, w.hub.ending)
		w.hub.mu.Unlock()
	})
}

// Only calls of the host's code that ignore the end of their context outlive Shutdown.
func TestOnlyHangingCallsOutliveShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var hanging atomic.Int64
		hangForever := func() { hanging.Add(1); <-release }
		w := newWorld(t, nil, &Options{Pager: pagerFunc(func(_ context.Context, p Page) error {
			hangForever()
			return nil
		}), Authorizer: authorizer(func(_ context.Context, a Access) ([]Decision, error) {
			if a.Principal.ID == "nurse" {
				hangForever()
			}
			return slices.Repeat([]Decision{{Allow: true}}, len(a.Patients)), nil
		}), AgeClass: func(context.Context, string) (AgeClass, error) {
			hangForever()
			return AgeAdult, nil
		}})
		nurse := w.dial("nurse")
		nurse.send(`{"type":"watch","req":"1","patients":["p1"]}`)
		for i := range 3 {
			a := high(fmt.Sprint("k", i))
			a.To = []string{fmt.Sprint("person:n", i)}
			_, err := w.hub.Raise(t.Context(), a)
			require.NoError(t, err)
		}
		sends(t, w, "p1", "mon-1", 5*time.Second)
		time.Sleep(time.Second)
		w.close()
		nurse.ws.CloseNow()
		synctest.Wait()
		require.GreaterOrEqual(t, hanging.Load(), int64(5))
		left := goroutinesOfBubble()
		require.Len(t, left, int(hanging.Load()))
		for _, g := range left {
			require.Contains(t, g, "TestOnlyHangingCallsOutliveShutdown.func1.", "it is in the host's code")
		}
		close(release)
		synctest.Wait()
		require.Empty(t, goroutinesOfBubble())
	})
}

// goroutinesOfBubble returns the stacks of the goroutines in this bubble, but for
// those of the test and of synctest itself.
func goroutinesOfBubble() (list []string) {
	b := make([]byte, 1<<22)
	own := string(b[:runtime.Stack(b, false)])
	bubble := regexp.MustCompile(`synctest bubble \d+\]`).FindString(own)
	number, _, _ := strings.Cut(own, " [")
	for g := range strings.SplitSeq(string(b[:runtime.Stack(b, true)]), "\n\n") {
		if head, _, _ := strings.Cut(g, "\n"); strings.Contains(head, bubble) && !strings.HasPrefix(g, number+" ") && !strings.Contains(g, "testing/synctest.") {
			list = append(list, g)
		}
	}
	return list
}
