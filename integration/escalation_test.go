package integration

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the Hub promises of time: it looks for what is due each second, and what
// was claimed by a run that was killed is taken up again after ten.
const (
	looksEvery = time.Second
	claimFor   = 10 * time.Second
	slack      = 4 * time.Second // of a busy machine
)

// escalations holds what the logs say of the telling of people against the
// pages that went out.
type escalations struct {
	t    testing.TB
	w    *ward
	read time.Time // when the reading of the whole logs began

	system map[string][]*alertText // of the system's log

	alerts, unanswered, answers int
	levels, pages, twice        int             // levels told; pages; levels that were paged more than once
	reclaimed                   int             // levels that were claimed more than once
	late, lateAgain             []time.Duration // of levels claimed once, and more than once
	exhausted                   int             // alerts that went through all steps of the policy
}

func newEscalations(t testing.TB, w *ward) *escalations { return &escalations{t: t, w: w} }

// settle waits until nothing is overdue: what was left undone by killed runs
// has been taken up. It reads and checks all of the logs then. In that of the
// system there is a complaint, an alert as well, about each alert that went
// through all steps.
func (e *escalations) settle(ctx context.Context, reader *caller, beds []*bed) {
	e.t.Helper()
	poll(e.t, patience, func() (bool, string) {
		for _, b := range beds {
			b.verify(ctx, reader, false)
			now := time.Now()
			for id, states := range b.states {
				a := states[len(states)-1]
				x := a.Escalation
				if !a.Ended.IsZero() || x.State == "off" {
					continue
				}
				if x.Level < 3 || x.State == "claimed" || x.State == "due" || now.Sub(x.Due) > looksEvery {
					return false, fmt.Sprintf("%s is at level %d, %s, due %s ago", id, x.Level, x.State, now.Sub(x.Due))
				}
			}
		}
		return true, ""
	})
	e.read = time.Now()
	for _, b := range beds {
		b.verify(ctx, reader, true)
	}
	var missing []string
	poll(e.t, patience, func() (bool, string) {
		e.system = make(map[string][]*alertText)
		log, err := reader.history(ctx, "@system", 0)
		require.NoError(e.t, err)
		complaints := make(map[string]bool)
		for i := range log {
			a := new(alertText)
			require.Equal(e.t, "alert", log[i].Type)
			require.NoError(e.t, json.Unmarshal(log[i].Alert, a))
			require.Regexp(e.t, `^policy-exhausted\.`, a.Key)
			complaints[a.Key] = true
			e.system[a.ID] = append(e.system[a.ID], a)
		}
		missing = nil
		for _, b := range beds {
			for id, states := range b.states {
				last := states[len(states)-1]
				sum := sha256.Sum256([]byte(b.patient + "\x00" + last.Key))
				told := slices.ContainsFunc(states, func(a *alertText) bool { return a.Escalation.Level > 3 && a.Escalation.State == "notified" })
				if told && !complaints["policy-exhausted."+hex.EncodeToString(sum[:])[:16]] {
					missing = append(missing, id)
				}
			}
		}
		return len(missing) == 0 || time.Since(e.read) > 5*time.Second, ""
	})
	for _, id := range missing {
		e.t.Errorf("%s went through all steps of the policy, and the system's log does not say so", id)
	}
}

// steps are the ward's: whom its policy has told.
func steps(patient string) []string {
	second := "group:ward-5"
	if patient == "p-07" || patient == "p-08" {
		second = "group:ward-6"
	}
	return []string{"person:nurse-ada", second, "group:on-call"}
}

type stepOf struct {
	alert string
	level int
}

// judge checks each alert's levels: each is told once in the log, one after the
// other, has a page at least, in time, to whom the policy says; and nothing
// comes after somebody has accepted or it is over.
func (e *escalations) judge(beds []*bed) {
	pages := make(map[stepOf][]page)
	for _, p := range e.w.pages() {
		k := stepOf{p.alert, p.level}
		pages[k] = append(pages[k], p)
		e.pages++
	}
	for id, states := range e.system {
		e.judgeAlert(id, states, pages)
	}
	for _, b := range beds {
		for id, states := range b.states {
			e.alerts++
			last := states[len(states)-1]
			e.answers += len(last.Answers)
			if len(last.Answers) == 0 {
				e.unanswered++
			}
			if e.judgeAlert(id, states, pages) {
				e.exhausted++
			}
		}
	}
	for k, went := range pages {
		if went[0].at.Before(e.read) {
			e.t.Errorf("%s: a page of level %d, which nothing has claimed", k.alert, k.level)
		}
	}
}

// judgeAlert returns whether the alert has gone through all steps, and removes
// the pages that are as they should be.
func (e *escalations) judgeAlert(id string, states []*alertText, pages map[stepOf][]page) (exhausted bool) {
	t := e.t
	assert.Equal(t, 0, states[0].Escalation.Level)
	assert.Equal(t, "due", states[0].Escalation.State)
	due, before := states[0].Raised, time.Time{}
	told := 0
	claims := make(map[int]int)
	for i := 1; i < len(states); i++ {
		prev, a := states[i-1], states[i]
		x := a.Escalation
		changed := a.Rev > prev.Rev // by a person or its source, not by the telling
		if prev.Escalation.State == "off" {
			t.Errorf("%s: something happens after it was accepted or closed: level %d, %s", id, x.Level, x.State)
		}
		switch {
		case x.State == "claimed" && !changed:
			if claims[x.Level]++; x.Level != told+1 {
				t.Errorf("%s: level %d was claimed after level %d was told", id, x.Level, told)
			}
			continue
		case x.State != "notified" && x.State != "failed":
			continue
		case changed: // if it was rejected the next level may come at once
			due = x.Due
			continue
		case prev.Escalation.State != "claimed" || x.Level != told+1:
			t.Errorf("%s: level %d is %s after level %d, %s", id, x.Level, x.State, prev.Escalation.Level, prev.Escalation.State)
		}
		told = x.Level
		went := pages[stepOf{id, told}]
		if len(went) == 0 {
			t.Errorf("%s: level %d is %s and no page went out", id, told, x.State)
			continue
		}
		e.levels++
		if len(went) > 1 {
			e.twice++
		}
		for _, p := range went {
			if want := steps(a.Patient)[min(told, 3)-1]; p.to != want || !slices.Equal(x.Told, []string{want}) {
				t.Errorf("%s: level %d, step %d, was told to %s", id, told, x.Step, p.to)
			}
		}
		// It could go out when it was due, the level before was told, and the ward was running.
		first, could := went[0], due
		for _, at := range []time.Time{before, e.w.runs[first.run].ready} {
			if at.After(could) {
				could = at
			}
		}
		late := first.at.Sub(could)
		if claims[told] > 1 {
			e.reclaimed++
			e.lateAgain = append(e.lateAgain, late)
			assert.Less(t, late, claimFor+looksEvery+slack, "%s: level %d", id, told)
		} else {
			e.late = append(e.late, late)
			assert.Less(t, late, looksEvery+slack, "%s: level %d", id, told)
		}
		due, before = x.Due, went[len(went)-1].at
	}
	for level := range claims {
		delete(pages, stepOf{id, level})
	}
	return told > 3
}

func (e *escalations) String() string {
	worst := func(list []time.Duration) string {
		if len(list) == 0 {
			return "none"
		}
		slices.Sort(list)
		return fmt.Sprintf("median %v, worst %v", list[len(list)/2].Round(time.Millisecond), list[len(list)-1].Round(time.Millisecond))
	}
	return fmt.Sprintf("alerts %d, of them unanswered %d, through all steps %d, answers %d; with complaints: levels told %d, pages %d, levels paged again %d, levels claimed again %d; late: %s; late where claimed again: %s",
		e.alerts, e.unanswered, e.exhausted, e.answers, e.levels, e.pages, e.twice, e.reclaimed, worst(e.late), worst(e.lateAgain))
}

// The ward is killed in the midst of paging: between the record that a level is
// claimed, the page, and the record that it was told. Every level is told all
// the same, once in the log, and paged at least once.
func TestKilledBetweenRecordAndPage(t *testing.T) {
	kills := 3
	if inCI() {
		kills = 6
	}
	_, rng := seeded(t)
	w := openWard(t, "-quiet", "-patients", "8", "-step", "1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()

	// Nobody answers most of them, and two in ten are accepted as soon as they are raised.
	const each = 15
	var beds []*bed
	var raising sync.WaitGroup
	for i := range 8 {
		b := newBed(t, w.url(), "p-0"+strconv.Itoa(i+1), rng)
		beds = append(beds, b)
		raising.Go(func() {
			for range each {
				b.raiseOne(ctx)
			}
			for i, a := range b.raised {
				if i%5 == 0 {
					if w := b.answer(ctx, a, b.staff[0], "accept"); w != nil {
						assert.Equal(t, "ok", w.code)
					}
				}
			}
		})
	}
	reader := &caller{t: t, url: w.url(), token: "nurse-ada"}
	for k := range kills {
		page := 0
		for range 1 + rng.IntN(8) {
			_, page = w.last().log.await(t, page, fmt.Sprintf(`msg=page to=\S+ alert=p-\S+ level=%d$`, 1+k*4/kills))
		}
		w.kill()
		w.start()
	}
	raising.Wait()
	e := newEscalations(t, w)
	e.settle(ctx, reader, beds)
	for _, b := range beds {
		for _, c := range append(b.staff, b.device) {
			c.close()
		}
	}
	reader.close()
	w.stop()
	e.judge(beds)
	t.Logf("kills %d", kills)
	t.Log(e)
	if inCI() {
		assert.NotZero(t, e.reclaimed, "no kill fell between record and page")
	}
	for _, b := range beds {
		for id, states := range b.states {
			last := states[len(states)-1]
			assert.Len(t, last.Answers, len(b.alerts[id].answers))
		}
	}
}
