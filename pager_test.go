package carewire

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A policy's recipients are told within two minutes: a step that names nobody
// gives way to the next at once, and if some recipients are malformed the others
// are told.
func TestStepsThatNameNobody(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy Policy
		want   string
		bad    int
	}{
		{"the first", steps(nil, []string{"person:b"}), "0s person:b, 30s person:b, 1m30s person:b", 0},
		{"in the middle", steps([]string{"person:a"}, nil, nil, []string{"person:b"}), "0s person:a, 30s person:b, 1m0s person:b", 0},
		{"the last", steps([]string{"person:a"}, nil), "0s person:a, 30s person:a, 1m30s person:a", 0},
		{"all", steps(nil, nil), "0s person:aide, 1m0s person:aide, 2m0s person:aide", 0},
		{"a typo", steps([]string{"kim", "person:a", "person:a"}, []string{"group:"}, []string{"role:boss", "role:viewer"}), "0s person:a, 30s role:viewer, 1m0s role:viewer", 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pager{}
				w := newWorld(t, nil, &Options{Policy: c.policy, Pager: p})
				defer w.close()
				start, a := time.Now(), high("k")
				a.To = []string{"person:aide"}
				_, err := w.hub.Raise(t.Context(), a)
				require.NoError(t, err)
				time.Sleep(121 * time.Second)
				got := p.told(start)
				if len(got) > 3 {
					got = got[:3]
				}
				require.Equal(t, c.want, strings.Join(got, ", "))
				require.GreaterOrEqual(t, w.hub.Stats().BadAddressees, uint64(c.bad))
				require.Equal(t, c.bad > 0, w.hub.Stats().BadAddressees > 0)
			})
		})
	}
}

// A policy that has become shorter is followed down to its last step, and one
// that has become longer up again; a person who has gone off shift is not
// paged.
func TestPolicyThatChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now atomic.Pointer[Policy]
		set := func(p Policy) { now.Store(&p) }
		set(steps([]string{"person:a"}, []string{"person:b"}, []string{"person:c"}, []string{"person:d"}))
		p := &pager{}
		w := newWorld(t, nil, &Options{Pager: p, Policy: func(ctx context.Context, a Alert, step int) (Step, error) { return (*now.Load())(ctx, a, step) }})
		defer w.close()
		start := time.Now()
		_, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		time.Sleep(61 * time.Second)
		require.Equal(t, []string{"0s person:a", "30s person:b", "1m0s person:c"}, p.told(start))
		set(steps([]string{"person:e"}))
		time.Sleep(30 * time.Second)
		require.Equal(t, []string{"1m30s person:e"}, p.told(start))
		complaint, err := w.hub.Alert(t.Context(), SystemPatient, troubleExhausted)
		require.NoError(t, err)
		require.Equal(t, ConditionPresent, complaint.Condition)
		set(steps([]string{"person:f"}, []string{"person:g"}, []string{"person:h"}))
		time.Sleep(90 * time.Second)
		require.Equal(t, []string{"2m30s person:g", "3m0s person:h"}, p.told(start))
		time.Sleep(time.Second)
		complaint, err = w.hub.Alert(t.Context(), SystemPatient, troubleExhausted)
		require.NoError(t, err)
		require.Equal(t, ConditionOver, complaint.Condition)
	})
}

// An alert that comes and goes, and that nobody answers, is escalated as one that stays.
func TestFlickeringAlertEscalates(t *testing.T) {
	pages := func(flickers bool) (list []string) {
		synctest.Test(t, func(t *testing.T) {
			p := &pager{}
			w := newWorld(t, nil, &Options{Policy: threeSteps, Pager: p})
			defer w.close()
			start := time.Now()
			for time.Since(start) < time.Hour {
				_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityHigh})
				require.NoError(t, err)
				time.Sleep(20 * time.Second)
				if flickers {
					a, err := w.hub.Clear(t.Context(), AlertRef{Patient: "p1", Key: "k"})
					require.NoError(t, err)
					require.True(t, a.Latched)
				}
				time.Sleep(10 * time.Second)
			}
			list = p.told(start)
		})
		return list
	}
	stays := pages(false)
	require.Equal(t, []string{"0s person:nurse", "30s person:doctor", "1m30s group:icu"}, stays[:3])
	require.Equal(t, stays, pages(true))
}

// A condition that has ended before anybody was reached goes on being told until
// one person is. One that may end by itself does not.
func TestLatchedIsToldUntilSomebodyIsReached(t *testing.T) {
	escalating(t, func(w *world, p *pager, start time.Time) {
		t := w.t
		p.deaf["person:nurse"], p.deaf["person:doctor"] = true, true
		_, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		a, err := w.hub.Clear(t.Context(), AlertRef{Patient: "p1", Key: "k"})
		require.NoError(t, err)
		require.True(t, a.Latched)
		time.Sleep(time.Hour)
		require.Equal(t, []string{"10s group:icu"}, p.told(start), "reached at last, and told no more")
		_, err = w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityHigh})
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.Equal(t, []string{"1h0m2s group:icu"}, p.told(start), "it goes on where it was")
	})
}

// Of the pages that wait for a slow gateway, the most urgent goes first: places are
// kept for it.
func TestHighGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		told := make(map[Priority][]time.Duration)
		start := time.Now()
		slow := pagerFunc(func(_ context.Context, p Page) error {
			time.Sleep(2 * time.Second)
			mu.Lock()
			defer mu.Unlock()
			told[p.Alert.Priority] = append(told[p.Alert.Priority], time.Since(start))
			return nil
		})
		w := newWorld(t, nil, &Options{Pager: slow, Policy: steps([]string{"person:a"})})
		defer w.close()
		raise := func(key string, p Priority) {
			_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: key, Text: "x", Priority: p})
			require.NoError(t, err)
		}
		for i := range 600 {
			raise(fmt.Sprint("low", i), PriorityLow)
		}
		synctest.Wait()
		raise("high", PriorityHigh)
		raise("medium", PriorityMedium)
		time.Sleep(3 * time.Second)
		mu.Lock()
		high, medium := slices.Clone(told[PriorityHigh]), slices.Clone(told[PriorityMedium])
		mu.Unlock()
		require.Len(t, high, 1)
		require.LessOrEqual(t, slices.Max(high), 2*time.Second)
		require.Len(t, medium, 1)
		time.Sleep(2 * time.Minute)
		mu.Lock()
		defer mu.Unlock()
		require.GreaterOrEqual(t, len(told[PriorityLow]), 600, "nobody is forgotten")
	})
}

// Alerts of which nobody was told yet go before repeats.
func TestFirstTellingsGoFirst(t *testing.T) {
	b := newBackground()
	var order []string
	block, done := make(chan struct{}), make(chan struct{})
	w := newDueWork(b, func(_ context.Context, e *Entry) {
		<-block
		if order = append(order, e.Key); len(order) == 4 {
			close(done)
		}
	})
	w.places = &places{limits: [urgencies]int{1, 1, 1, 1, 1}}
	now := time.Now()
	entry := func(key string, urgency int, first bool, due time.Duration) dueEntry {
		return dueEntry{Entry: &Entry{Patient: "p", Key: key, Due: now.Add(due)}, urgency: urgency, untold: first}
	}
	w.round(func() ([]dueEntry, error) {
		return []dueEntry{entry("again", 2, false, -time.Hour), entry("later", 2, true, 0), entry("first", 2, true, -time.Minute), entry("high", 4, false, 0)}, nil
	})
	close(block)
	<-done
	require.Equal(t, []string{"high", "first", "later", "again"}, order)
	require.NoError(t, b.end(t.Context()))
}

// Of equally urgent alerts, sources take turns, and of one source its patients: 500
// alerts of one source delay a single one of another by one telling.
func TestSourcesTakeTurnsAtBeingTold(t *testing.T) {
	now := time.Now()
	entry := func(by, patient, key string, after int) dueEntry {
		return dueEntry{Entry: &Entry{Patient: patient, Key: key, Due: now.Add(time.Duration(after))}, urgency: 4, untold: true, by: by}
	}
	var flood []dueEntry
	for i := range 500 {
		flood = append(flood, entry("flood", fmt.Sprint("p", i), fmt.Sprint("wide", i), i))
	}
	for i := range 500 {
		flood = append(flood, entry("gateway", "p1", fmt.Sprint("deep", i), i))
	}
	for _, late := range []bool{false, true} { // in a round, or between rounds
		b := newBackground()
		var order []string
		begin, done := make(chan struct{}), make(chan struct{})
		single, neighbour := entry("monitor", "p1", "single", 1000), entry("gateway", "p2", "neighbour", 1000)
		w := newDueWork(b, func(_ context.Context, e *Entry) {
			if <-begin; e.Key == "plug" {
				return
			}
			if order = append(order, e.Key); len(order) == len(flood)+2 {
				close(done)
			}
		})
		w.places = &places{limits: [urgencies]int{1, 1, 1, 1, 1}}
		w.add(entry("", "", "plug", 0)) // until all others wait
		list := flood
		if !late {
			list = append(slices.Clone(flood), single, neighbour)
		}
		read := make(chan struct{})
		w.round(func() ([]dueEntry, error) { defer close(read); return list, nil })
		<-read
		eventually(t, "the round is over", func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return !w.asked
		})
		if late {
			w.add(single)
			w.add(neighbour)
		}
		close(begin)
		<-done
		require.Less(t, slices.Index(order, "single"), 4, order[:8])
		require.Less(t, slices.Index(order, "neighbour"), 6, order[:8])
		require.NoError(t, b.end(t.Context()))
	}
}

// What is added while a round is under way takes its place by urgency, and is
// not lost with what the round brings.
func TestAddedDuringARound(t *testing.T) {
	b := newBackground()
	var order []string
	done, reading, read := make(chan struct{}), make(chan struct{}), make(chan struct{})
	w := newDueWork(b, func(_ context.Context, e *Entry) {
		if order = append(order, e.Key); len(order) == 3 {
			close(done)
		}
	})
	w.places = &places{} // nothing begins before the round is over
	entry := func(key string, urgency int) dueEntry {
		return dueEntry{Entry: &Entry{Patient: "p", Key: key}, urgency: urgency}
	}
	w.round(func() ([]dueEntry, error) {
		close(reading)
		<-read
		w.mu.Lock()
		defer w.mu.Unlock()
		w.places = &places{limits: [urgencies]int{1, 1, 1, 1, 1}}
		return []dueEntry{entry("medium", 3)}, nil
	})
	<-reading
	w.add(entry("low", 2))
	w.add(entry("high", 4))
	close(read)
	<-done
	require.Equal(t, []string{"high", "medium", "low"}, order)
	require.NoError(t, b.end(t.Context()))
}

// A round looks at a bounded number of due alerts, the most urgent ones, however
// many are due, and at those of its member of the Store only.
func TestDueAlertsOfARound(t *testing.T) {
	x, start := newOpenIndex(nil, nil), time.Now()
	raise := func(patient string, i int, p Priority) {
		a := Alert{Patient: patient, Key: fmt.Sprint(i), ID: fmt.Sprint(patient, i), Priority: p, Condition: ConditionPresent}
		a.Escalation.State, a.Escalation.Due = EscalationDue, start.Add(time.Duration(i))
		e := alertEntry(&a, start)
		e.Open, e.Due, e.Rev = true, a.Escalation.Due, 1
		require.True(t, x.noteRevision(e, true))
	}
	for i := range 2 * dueMost {
		raise("flood", i, PriorityLow)
	}
	for i := range 10 {
		raise("p", i, PriorityHigh)
		raise("q", i, PriorityHigh)
	}
	of := func(patient string) bool { return patient != "q" }
	list := x.due(start.Add(time.Hour), of, nil)
	require.Len(t, list, dueMost)
	for i, d := range list {
		require.Equal(t, i < 10, d.Patient == "p")
	}
	require.Len(t, x.due(start.Add(time.Hour), func(patient string) bool { return patient == "q" }, nil), 10)
}

// A raise is told at once, and costs no search of the Store for what is due.
func TestRaisesAreToldWithoutASearch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, store := &pager{}, &searched{Store: NewMemoryStore(nil)}
		w := newWorld(t, store, &Options{Pager: p, Policy: steps([]string{"person:a"})})
		defer w.close()
		time.Sleep(500 * time.Millisecond)
		start, before := time.Now(), store.searches.Load()
		for i := range 50 {
			_, err := w.hub.Raise(t.Context(), high(fmt.Sprint("k", i)))
			require.NoError(t, err)
		}
		synctest.Wait()
		require.Equal(t, slices.Repeat([]string{"0s person:a"}, 50), p.told(start))
		require.Equal(t, before, store.searches.Load())
		time.Sleep(10 * time.Second)
		require.Equal(t, before+10, store.searches.Load())
	})
}

// A searched is a Store that counts the searches for what is due.
type searched struct {
	Store
	searches atomic.Int64
}

func (s *searched) Waiting(ctx context.Context, due time.Time, limit int) ([]Entry, error) {
	s.searches.Add(1)
	return s.Store.Waiting(ctx, due, limit)
}

// A recipient whose gateway hangs and ignores the end of its context delays nobody
// else, for any length of time; the Hub reports it.
func TestHangingRecipientDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := &pager{}
		w := newWorld(t, nil, &Options{Pager: pagerFunc(func(ctx context.Context, page Page) error {
			if page.To == "person:hangs" {
				<-release
			}
			return p.Page(ctx, page)
		})})
		defer w.close()
		defer close(release)
		for i := range 100 {
			a := high(fmt.Sprint("k", i))
			a.To = []string{"person:hangs"}
			_, err := w.hub.Raise(t.Context(), a)
			require.NoError(t, err)
		}
		time.Sleep(time.Hour)
		require.Equal(t, 1, w.hub.Stats().PagersHanging)
		start, a := time.Now(), Raise{Patient: "p2", Key: "k", Text: "x", Priority: PriorityLow, To: []string{"person:nurse"}}
		_, err := w.hub.Raise(t.Context(), a)
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, []string{"0s person:nurse"}, p.told(start))
		complaint, err := w.hub.Alert(t.Context(), SystemPatient, troubleUnreached)
		require.NoError(t, err)
		require.Equal(t, ConditionPresent, complaint.Condition)
		require.Equal(t, 100, w.hub.Stats().AlertsUnheard)
	})
}

// If nobody was reached, that is complained of, counted and recorded, with a policy
// and without one: once for all such alerts, and with no higher priority than
// theirs. The complaint ends when somebody is reached.
func TestUnreachedIsComplainedOf(t *testing.T) {
	for name, policy := range map[string]Policy{"policy": steps([]string{"person:nurse"}), "none": nil} {
		for _, test := range []bool{false, true} {
			t.Run(fmt.Sprint(name, test), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var down atomic.Bool
					down.Store(true)
					var records lockedRecords
					w := newWorld(t, nil, &Options{Policy: policy, Auditor: &records, TestRecipients: []string{"person:nurse"}, Pager: pagerFunc(func(context.Context, Page) error {
						if down.Load() {
							return errors.New("down")
						}
						return nil
					})})
					defer w.close()
					for i, p := range []Priority{PriorityLow, PriorityMedium, PriorityLow} {
						_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: fmt.Sprint("k", i), Text: "x", Priority: p, To: []string{"person:nurse"}, Test: test})
						require.NoError(t, err)
						time.Sleep(time.Second)
					}
					list, _, err := w.store.Latest(t.Context(), SystemPatient)
					require.NoError(t, err)
					require.Len(t, list, 1)
					c, err := decodeAlert(&list[0])
					require.NoError(t, err)
					require.Equal(t, PriorityMedium, c.Priority)
					require.Equal(t, test, c.Test)
					require.GreaterOrEqual(t, w.hub.Stats().LevelsUnreached, uint64(3))
					require.GreaterOrEqual(t, w.hub.Stats().PagesFailed, uint64(3))
					require.NotContains(t, records.outcomes(AuditEscalation), OutcomeDone)
					down.Store(false)
					time.Sleep(20 * time.Minute)
					c, _, err = newestOf(w, SystemPatient, troubleUnreached, test)
					require.NoError(t, err)
					require.Equal(t, ConditionOver, c.Condition)
					require.Contains(t, records.outcomes(AuditEscalation), OutcomeDone)
				})
			})
		}
	}
}

// newestOf reads the newest state of an alert, of a drill too.
func newestOf(w *world, patient, key string, test bool) (*Alert, Position, error) {
	e, err := w.store.Get(context.Background(), patient, alertKey(key, test))
	if err != nil {
		return nil, Position{}, err
	}
	a, err := decodeAlert(&e)
	return a, e.Position, err
}

// lockedRecords is an Auditor that keeps its records.
type lockedRecords struct {
	mu   sync.Mutex
	list []Record
}

func (r *lockedRecords) Record(_ context.Context, x Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, x)
	return nil
}

func (r *lockedRecords) outcomes(event AuditEvent) (list []Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.list {
		if x.Event == event {
			list = append(list, x.Outcome)
		}
	}
	return list
}

// Nobody is paged about an alert that somebody accepted while the page waited.
func TestNobodyIsPagedAboutAnAcceptedAlert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pager{}
		w := newWorld(t, nil, &Options{Pager: p, Policy: func(ctx context.Context, _ Alert, step int) (Step, error) {
			time.Sleep(3 * time.Second)
			return Step{To: []string{"person:doctor"}}, nil
		}})
		defer w.close()
		start := time.Now()
		a, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		_, err = w.hub.Answer(t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerAccept})
		require.NoError(t, err)
		time.Sleep(10 * time.Second)
		require.Empty(t, p.told(start))
	})
}

// A person who rejects at the last step is not asked again at once.
func TestRejectionAtTheLastStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pager{}
		w := newWorld(t, nil, &Options{Pager: p, Policy: steps([]string{"person:nurse"})})
		defer w.close()
		start := time.Now()
		a, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		time.Sleep(5 * time.Second)
		_, err = w.hub.Answer(t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerReject})
		require.NoError(t, err)
		time.Sleep(50 * time.Second)
		require.Equal(t, []string{"0s person:nurse"}, p.told(start))
		c, err := w.hub.Alert(t.Context(), SystemPatient, troubleExhausted)
		require.NoError(t, err, "others hear of it")
		require.Equal(t, ConditionPresent, c.Condition)
		time.Sleep(30 * time.Second)
		require.Len(t, p.told(start), 1, "when the step's time is over")
	})
}

// Each trouble has its text.
func TestEachTroubleHasItsText(t *testing.T) {
	require.ElementsMatch(t, []string{troubleNobody, troubleUnreached, troublePolicy, troubleExhausted}, func() (list []string) {
		for rule := range troubleText {
			list = append(list, rule)
		}
		return list
	}(), "each has its text")
}

// reporter is a Pager that reports back, and takes pages back.
type reporter struct {
	pager
	withdrawn []string
}

func (*reporter) ReportsPages() bool { return true }

func (r *reporter) Withdraw(_ context.Context, a Alert, to []string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.withdrawn = append(r.withdrawn, a.ID+" "+strings.Join(to, ","))
	return nil
}

// A paging gateway's reports decide whether a level has reached anybody.
func TestPageReports(t *testing.T) {
	nurse := people["nurse"]
	for _, c := range []struct {
		name   string
		report PageReport
		want   string // pages within 100 s
		err    error
		state  ResponsibilityState
	}{
		{"silence", PageReport{}, "0s person:nurse, 20s person:doctor, 40s group:icu", nil, ResponsibilityUndefined},
		{"delivered", PageReport{Key: "k-1/1/person:nurse", Outcome: PageDelivered}, "0s person:nurse, 30s person:doctor, 50s group:icu", nil, ResponsibilityUndefined},
		{"read", PageReport{Key: "k-1/1/person:nurse", Outcome: PageRead, By: nurse}, "0s person:nurse, 30s person:doctor, 50s group:icu", nil, ResponsibilityUndefined},
		{"accepted", PageReport{Key: "k-1/1/person:nurse", Outcome: PageAccepted, By: nurse}, "0s person:nurse", nil, ResponsibilityAccepted},
		{"rejected", PageReport{Key: "k-1/1/person:nurse", Outcome: PageRejected, By: nurse}, "0s person:nurse, 5s person:doctor, 25s group:icu, 45s group:icu", nil, ResponsibilityRejected},
		{"one of a group", PageReport{Key: "k-1/1/group:icu/kim", Outcome: PageAccepted, By: nurse}, "0s person:nurse", nil, ResponsibilityAccepted},
		{"another level", PageReport{Key: "k-1/2/person:nurse", Outcome: PageDelivered}, "0s person:nurse, 20s person:doctor, 40s group:icu", nil, ResponsibilityUndefined},
		{"another alert", PageReport{Key: "k-2/1/person:nurse", Outcome: PageDelivered}, "0s person:nurse, 20s person:doctor, 40s group:icu", ErrNotFound, ResponsibilityUndefined},
		{"one who may not", PageReport{Key: "k-1/1/person:nurse", Outcome: PageAccepted, By: Principal{ID: "x", Role: RoleClinician}}, "0s person:nurse, 20s person:doctor, 40s group:icu", ErrForbidden, ResponsibilityUndefined},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &reporter{}
				w := newWorld(t, nil, &Options{Policy: threeSteps, Pager: p, ReportWithin: 20 * time.Second})
				defer w.close()
				start := time.Now()
				_, err := w.hub.Raise(t.Context(), high("k"))
				require.NoError(t, err)
				time.Sleep(5 * time.Second)
				if c.report.Key != "" {
					for range 2 { // gateways repeat themselves
						_, err = w.hub.Receipt(t.Context(), c.report)
						require.ErrorIs(t, err, c.err)
					}
				}
				time.Sleep(50 * time.Second)
				require.Equal(t, c.want, strings.Join(p.told(start), ", "))
				a, err := w.hub.Alert(t.Context(), "p1", "k")
				require.NoError(t, err)
				require.Equal(t, c.state, a.Responsibility.State)
				if c.state == ResponsibilityAccepted {
					require.Equal(t, []string{"k-1 person:nurse"}, p.withdrawn)
				} else {
					require.Empty(t, p.withdrawn)
				}
			})
		})
	}
}

func TestPageReportIsChecked(t *testing.T) {
	w := newWorld(t, nil, nil)
	defer w.close()
	for _, r := range []PageReport{{}, {Key: "k-1/1/person:nurse"}, {Key: "k-1/x/person:nurse", Outcome: PageRead}, {Key: "k-1/0/person:nurse", Outcome: PageRead},
		{Key: "k-1/1/kim", Outcome: PageRead}, {Key: "/1/person:nurse", Outcome: PageRead}, {Key: "k-1/1/person:nurse", Outcome: "heard"},
		{Key: "k-1/1/person:nurse", Outcome: PageRead, By: Principal{ID: "@x"}}} {
		_, err := w.hub.Receipt(t.Context(), r)
		var invalid *ValidationError
		require.ErrorAs(t, err, &invalid)
	}
}

// A receipt of somebody who was not told at this level does not count as reached.
func TestReceiptOfAPersonNotTold(t *testing.T) {
	escalating(t, func(w *world, p *pager, start time.Time) {
		t := w.t
		p.deaf["person:nurse"] = true
		doctor := w.dial("doctor")
		defer doctor.ws.CloseNow()
		a := high("k")
		a.To = []string{"person:doctor"} // sees it, but the policy tells the nurse
		_, err := w.hub.Raise(t.Context(), a)
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.Equal(t, "ok", doctor.ask(`{"type":"receipt","req":"r","patient":"p1","key":"k","alert_id":"k-1","stage":"delivered"}`)["type"])
		time.Sleep(20 * time.Second)
		require.Equal(t, []string{"5s person:doctor"}, p.told(start), "the nurse was not reached")
	})
}

// A page is counted as sent, failed or moot, and an append by how long it took.
func TestPagesAndAppendsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fault error
		w := newWorld(t, nil, &Options{Pager: pagerFunc(func(context.Context, Page) error { return fault })})
		defer w.close()
		needed := func(context.Context) bool { return false }
		page := func(n int) Page { return Page{Key: fmt.Sprint(n), To: "person:nurse"} }
		require.NoError(t, w.hub.escalator.paging.page(t.Context(), page(1), needed))
		require.ErrorIs(t, w.hub.escalator.paging.page(t.Context(), page(2), func(context.Context) bool { return true }), errUnneeded)
		fault = errors.New("down")
		for n := range 3 {
			require.Error(t, w.hub.escalator.paging.page(t.Context(), page(n), needed))
		}
		s := w.hub.Stats()
		require.Equal(t, [3]uint64{1, 3, 1}, [3]uint64{s.PagesSent, s.PagesFailed, s.PagesMoot})
		before := total(s.Append)
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityInfo})
		require.NoError(t, err)
		require.Greater(t, total(w.hub.Stats().Append), before)
	})
}
