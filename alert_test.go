package carewire

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An alert's life, written down once more as a table, from the plan and not
// from the code: what each action makes of each state.
//
//	none       there is no alert of this key yet
//	undefined  the condition is present and nobody has answered for it
//	rejected   the same, and the last answer was a rejection
//	accepted   the condition is present and a person has it
//	latched    the condition ended before anybody accepted; it is still open
//	ended      it is over
//
// "worse" raises it with a priority above the highest so far. Answers are
// those of the person who has it, or of anybody while nobody has it; "other"
// answers are another person's. A cell with ! is an error that changes nothing.
const lifeTable = `
              none       undefined  rejected   accepted   latched    ended
raise         undefined  undefined  rejected   accepted   undefined  undefined
worse         undefined  undefined  undefined  undefined  undefined  undefined
clear         -          latched    latched    ended      latched    ended
accept        -          accepted   accepted   accepted   ended      !ended
reject        -          rejected   rejected   rejected   latched    !ended
release       -          !refused   !refused   undefined  !refused   !ended
assign        -          undefined  undefined  undefined  !refused   !ended
other-accept  -          -          -          !conflict  -          -
other-reject  -          -          -          !refused   -          -
other-release -          -          -          !refused   -          -
other-assign  -          -          -          !refused   -          -
close         -          !refused   !refused   !refused   ended      !ended
force         -          ended      ended      ended      ended      !ended
expire        -          undefined  rejected   undefined  latched    ended
lose          -          undefined  rejected   undefined  latched    ended
`

// life reads the table: life()[action][state].
func life() map[string]map[string]string {
	table := make(map[string]map[string]string)
	lines := strings.Split(strings.TrimSpace(lifeTable), "\n")
	states := strings.Fields(lines[0])
	for _, line := range lines[1:] {
		cells := strings.Fields(line)
		table[cells[0]] = make(map[string]string)
		for i, cell := range cells[1:] {
			if cell != "-" {
				table[cells[0]][states[i]] = cell
			}
		}
	}
	return table
}

var lifeErrors = map[string]error{"!ended": ErrEnded, "!refused": ErrRefused, "!conflict": ErrConflict}

// stateOf says which column of the table a is in.
func stateOf(a *Alert) string {
	switch {
	case a == nil:
		return "none"
	case !a.Open():
		return "ended"
	case a.Condition == ConditionOver:
		return "latched"
	}
	return string(a.Responsibility.State)
}

var (
	ann = Person{ID: "ann", Name: "Ann", Role: RoleClinician}
	bob = Person{ID: "bob", Name: "Bob", Role: RoleClinician}
)

// text is an alert with all that is kept of it: what differs shows, and what
// was changed by mistake.
func text(a *Alert) string {
	if a == nil {
		return ""
	}
	var e encoder
	a.encode(&e)
	return string(e.b)
}

// stored is a as it comes back from a Store.
func stored(t *testing.T, a Alert) *Alert {
	t.Helper()
	var back Alert
	require.NoError(t, back.UnmarshalJSON([]byte(text(&a))))
	return &back
}

func raised(p Priority) Alert { return raise(nil, Raise{ID: "ev-1", Priority: p}, "src", wireTime) }

// answered gives an answer that must be taken.
func answered(t *testing.T, a Alert, w Answer, by Person, now time.Time) Alert {
	t.Helper()
	a, err := answer(&a, w, by, nil, now)
	require.NoError(t, err)
	return a
}

// alertIn makes an alert in the given state of the table; ann has it if somebody has.
func alertIn(t *testing.T, state string) *Alert {
	t.Helper()
	a := raised(PriorityMedium)
	switch state {
	case "none":
		return nil
	case "rejected":
		a = answered(t, a, Answer{Do: AnswerReject}, ann, wireTime)
	case "accepted":
		a = answered(t, a, Answer{Do: AnswerAccept}, ann, wireTime)
	case "latched":
		a = over(&a, wireTime)
	case "ended":
		a = answered(t, a, Answer{Do: AnswerClose, Force: true, Reason: "x"}, ann, wireTime)
	}
	require.Equal(t, state, stateOf(&a))
	return &a
}

// act does one action of the table.
func act(a *Alert, action string, by, other Person, now time.Time) (Alert, error) {
	do, others := strings.CutPrefix(action, "other-")
	if others {
		by = other
	}
	switch do {
	case "raise":
		return raise(a, Raise{ID: "ev-2", Priority: PriorityMedium}, "src", now), nil
	case "worse":
		return raise(a, Raise{ID: "ev-2", Priority: PriorityHigh}, "src", now), nil
	case "clear":
		return over(a, now), nil
	case "expire":
		b, _ := expire(a, now)
		return b, nil
	case "lose":
		b, _ := lose(a, by.ID, now)
		return b, nil
	case "assign":
		return answer(a, Answer{Do: AnswerAssign, To: "person:cy"}, by, nil, now)
	case "force":
		return answer(a, Answer{Do: AnswerClose, Force: true, Reason: "x"}, by, nil, now)
	}
	return answer(a, Answer{Do: AnswerVerb(do)}, by, nil, now)
}

func TestLifeTable(t *testing.T) {
	t.Parallel()
	for action, row := range life() {
		for state, want := range row {
			t.Run(action+" "+state, func(t *testing.T) {
				t.Parallel()
				now := wireTime.Add(3 * time.Hour) // an acceptance has run out by now
				a := alertIn(t, state)
				before := text(a)
				got, err := act(a, action, ann, bob, now)
				require.Equal(t, before, text(a), "what is given is never changed")
				if want[0] == '!' {
					require.ErrorIs(t, err, lifeErrors[want])
					require.Equal(t, before, text(&got), "an error changes nothing")
					return
				}
				require.NoError(t, err)
				require.Equal(t, want, stateOf(&got))
				require.Equal(t, want == "latched", got.Latched && got.Open())
				if want == "undefined" && state != "undefined" {
					require.Equal(t, EscalationDue, got.Escalation.State, "the steps begin")
					require.False(t, got.due().After(now))
				}
				if want == "ended" {
					require.Zero(t, got.due(), "no new levels")
				}
			})
		}
	}
}

// An alertModel says what an alert must be after any sequence of actions.
type alertModel struct {
	state, id, holder  string
	priority, peak     Priority
	until              time.Time
	rev                uint64
	answers            int
	level, step        int
	repeats            int
	heard, lastStep    bool
	next               time.Time // while the telling rests
	telling            string    // due, claimed, notified, failed; "" is off
	due, began         time.Time
	after              time.Duration
	told, no, receipts []string // who was told at this level, has rejected, has sent a receipt
	reached            bool
	assigned           string
}

// move follows the table and then the rules of escalation.
func (m *alertModel) move(action, next string, now time.Time) {
	calling := func(state string) bool { return state == "undefined" || state == "rejected" }
	switch {
	case next == "latched":
		m.state = next
		m.rest()
	case !calling(next):
		m.telling, m.due, m.assigned, m.next = "", time.Time{}, "", time.Time{}
	case m.state == "latched" && action == "raise":
		if m.telling == "" {
			m.telling, m.due, m.next = "due", latest(m.next, now), time.Time{}
		}
	case !calling(m.state), action == "worse", action == "assign":
		m.telling, m.due, m.step, m.repeats, m.assigned, m.peak, m.next = "due", now, 0, 0, "", m.priority, time.Time{}
		m.told, m.no, m.reached, m.receipts, m.heard = nil, nil, false, nil, false
	}
	if m.state = next; next != "accepted" {
		m.holder, m.until = "", time.Time{}
	}
}

// rest: a latched alert is told until one person was reached, and then no more
// unless its condition comes back.
func (m *alertModel) rest() {
	if m.state == "latched" && m.heard && m.telling != "" && m.telling != "claimed" {
		m.next, m.telling, m.due = m.due, "", time.Time{}
	}
}

func (m *alertModel) claim(now, until time.Time) bool {
	if m.telling == "" || m.due.After(now) {
		return false
	}
	if m.telling != "claimed" {
		m.level++
		m.began, m.reached, m.no, m.receipts = now, false, nil, nil
	}
	m.telling, m.due = "claimed", until
	return true
}

func (m *alertModel) wasTold(to []string, after time.Duration, paged, exhausted, last, failed bool) {
	m.told, m.assigned, m.reached, m.telling = to, "", paged, "failed"
	if paged {
		m.telling, m.heard = "notified", true
	}
	if last && !exhausted && !paged && !failed {
		m.repeats--
	}
	if exhausted || last && !paged && !failed {
		for m.repeats++; after < 15*time.Minute && m.repeats > 0; m.repeats-- {
			after *= 2
		}
		after = min(after, 15*time.Minute)
	}
	if failed {
		after = []time.Duration{5, 10, 20, 40, 60}[min(m.repeats, 4)] * time.Second
	}
	m.after, m.due = after, m.began.Add(after)
	if !paged && !exhausted && !last && after > 5*time.Second {
		m.due = m.began.Add(5 * time.Second)
	}
	m.lastStep = exhausted || last
	m.rest()
}

// allRejected: every person named, and everyone of a group who has sent a receipt.
func (m *alertModel) allRejected() bool {
	asked := slices.Clone(m.receipts)
	for _, to := range m.told {
		if name, ok := strings.CutPrefix(to, "person:"); ok {
			asked = append(asked, name)
		}
	}
	return len(asked) > 0 && !slices.ContainsFunc(asked, func(p string) bool { return !slices.Contains(m.no, p) })
}

// check compares what can be seen of an alert with the model.
func (m *alertModel) check(t *testing.T, a *Alert, trail []string) {
	t.Helper()
	telling := string(a.Escalation.State)
	if telling == "off" {
		telling = ""
	}
	due := m.due
	if m.state == "accepted" {
		due = m.until
	}
	got := fmt.Sprint(stateOf(a), a.ID, a.Priority, a.Rev, a.AnswerCount, a.Escalation.Level, a.Escalation.Step, telling, a.due().UTC(), a.Responsibility.Until.UTC())
	want := fmt.Sprint(m.state, m.id, m.priority, m.rev, m.answers, m.level, m.step, m.telling, due.UTC(), m.until.UTC())
	if m.state == "ended" { // who had it and how far the telling had got is history
		got = fmt.Sprint(stateOf(a), a.ID, a.Rev, a.AnswerCount, a.Escalation.Level, a.due().IsZero())
		want = fmt.Sprint(m.state, m.id, m.rev, m.answers, m.level, true)
	}
	if got != want {
		require.Equal(t, want, got, strings.Join(trail[max(0, len(trail)-30):], "\n"))
	}
}

// Random sequences of actions lead an alert wherever the table and the model say.
func TestAlertAgainstModel(t *testing.T) {
	t.Parallel()
	seeds := []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, rand.Uint64()}
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			runModel(t, rand.New(rand.NewPCG(seed, 0)), 2000)
		})
	}
}

func runModel(t *testing.T, r *rand.Rand, steps int) {
	table := life()
	actions := strings.Fields("raise raise clear accept accept reject reject release assign close force expire lose claim claim claim told told told receipt receipt store")
	people := []string{"ann", "bob", "cy"}
	priorities := []Priority{PriorityLow, PriorityMedium, PriorityHigh}
	rank := func(p Priority) int { return slices.Index(priorities, p) }
	pick := func(list []string) string { return list[r.IntN(len(list))] }

	var a *Alert
	var trail []string
	m := alertModel{state: "none"}
	now := wireTime
	visited := make(map[string]bool)
	for i := range steps {
		switch due := m.due; {
		case m.state == "accepted" && r.IntN(4) == 0:
			now = latest(now, m.until.Add(-time.Duration(r.IntN(2))*time.Millisecond))
		case !due.IsZero() && r.IntN(2) == 0:
			now = latest(now, due.Add(-time.Duration(r.IntN(2))*time.Millisecond))
		default:
			now = now.Add(time.Duration(r.IntN(20_000)) * time.Millisecond)
		}
		action, by := pick(actions), pick(people)
		if m.state == "none" {
			action = "raise"
		}
		priority := priorities[r.IntN(3)]
		if action == "raise" && (m.state == "none" || m.state == "ended" || rank(priority) > rank(m.peak)) {
			action = "worse"
		}
		if m.holder != "" && m.holder != by && slices.Contains([]string{"accept", "reject", "release", "assign"}, action) {
			action = "other-" + action
		}
		trail = append(trail, fmt.Sprint(now.Format("15:04:05.000"), " ", action, " by ", by, " ", priority))
		before, given, id := text(a), a, fmt.Sprint("ev-", i)
		var got Alert
		var err error
		next, known := table[action][m.state]
		switch action {
		case "raise", "worse":
			got = raise(a, Raise{ID: id, Priority: priority}, "src", now)
			m.priority = priority
			if m.state == "none" || m.state == "ended" {
				m = alertModel{state: m.state, id: id, priority: priority, rev: m.rev}
			}
			m.rev++
		case "clear":
			got = over(a, now)
			if m.state != "latched" && m.state != "ended" {
				m.rev++
			}
		case "expire":
			var ok bool
			got, ok = expire(a, now)
			require.Equal(t, m.state == "accepted" && !m.until.After(now), ok)
			if known = ok; ok {
				next = "undefined"
			}
		case "lose":
			var ok bool
			got, ok = lose(a, by, now)
			require.Equal(t, m.holder == by, ok)
			if known = ok; ok {
				next = "undefined"
			}
		case "claim":
			until := now.Add(10 * time.Second)
			var ok bool
			got, ok = claim(a, now, until)
			require.Equal(t, m.claim(now, until), ok, trail)
		case "told":
			if m.telling != "claimed" {
				continue
			}
			to := [][]string{{"person:ann"}, {"person:ann", "person:bob"}, {"group:ward-5"}, nil}[r.IntN(4)]
			after := time.Duration(1+r.IntN(600)) * time.Second
			paged, exhausted, last := r.IntN(2) == 0, m.assigned == "" && r.IntN(3) == 0, r.IntN(2) == 0
			failed := m.assigned == "" && !exhausted && r.IntN(3) == 0
			last = last || failed
			step := 0
			switch {
			case exhausted:
				step = max(m.step, 1)
			case !failed && m.assigned == "":
				step = m.step + 1
			}
			got = told(a, telling{to: to, step: step, after: after, within: reachWithin, paged: paged, exhausted: exhausted, last: last, failed: failed}, nil)
			if step > 0 {
				m.step = step
			}
			repeats := m.repeats
			m.wasTold(to, after, paged, exhausted, last, failed)
			if m.repeats = 0; exhausted || failed || last && !paged {
				m.repeats = repeats + 1
			}
		case "receipt": // from those told only
			if m.telling != "notified" && m.telling != "failed" || len(m.told) == 0 ||
				m.told[0] != "group:ward-5" && !slices.Contains(m.told, "person:"+by) {
				continue
			}
			var ok bool
			got, ok = reached(a)
			require.Equal(t, !m.reached, ok)
			if full := m.began.Add(m.after); !m.reached && m.due.Before(full) && !m.allRejected() {
				m.due = full
			}
			m.receipts, m.reached, m.telling, m.heard = append(m.receipts, by), true, "notified", true
			m.rest()
		case "store":
			got = *stored(t, *a)
		default: // answers
			if action == "reject" && m.telling == "claimed" {
				continue // whom this level tells is not on record yet
			}
			w := Answer{Do: AnswerVerb(strings.TrimPrefix(action, "other-"))}
			switch w.Do {
			case "force":
				w.Do, w.Force, w.Reason = AnswerClose, true, "x"
			case AnswerAssign:
				w.To = "person:" + pick(people)
			case AnswerAccept:
				w.For = time.Duration(r.IntN(3600)) * time.Second
			}
			if r.IntN(8) == 0 {
				if w.Rev = m.rev - uint64(r.IntN(2)); w.Rev != m.rev && w.Rev != 0 && m.state != "ended" {
					next = "!conflict"
				}
			}
			got, err = answer(a, w, Person{ID: by}, m.receipts, now)
			if next[0] == '!' {
				require.ErrorIs(t, err, lifeErrors[next], trail[max(0, len(trail)-30):])
				known = false
				break
			}
			require.NoError(t, err)
			m.rev, m.answers = m.rev+1, m.answers+1
			m.move(action, next, now)
			known = false // done
			switch {
			case next == "accepted":
				if w.For == 0 {
					w.For = map[Priority]time.Duration{PriorityHigh: 30 * time.Minute, PriorityMedium: 2 * time.Hour, PriorityLow: 12 * time.Hour}[m.priority]
				}
				m.holder, m.until, m.peak = by, now.Add(w.For), m.priority
			case w.Do == AnswerAssign:
				m.assigned = w.To
			case w.Do == AnswerReject:
				m.no = append(m.no, by)
				if (m.telling == "notified" || m.telling == "failed") && !m.lastStep && m.allRejected() {
					m.due = now
				}
			}
		}
		if known && err == nil {
			m.move(action, next, now)
		}
		require.Equal(t, before, text(given), "what is given is never changed")
		a = &got
		visited[m.state] = true
		m.check(t, a, trail)
	}
	require.Len(t, visited, 5, "the run has seen every state")
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// calling raises an alert and tells its first level to the given people.
func calling(t *testing.T, to []string, after time.Duration, paged, last bool) Alert {
	t.Helper()
	a := raised(PriorityHigh)
	a, ok := claim(&a, wireTime, wireTime.Add(time.Minute))
	require.True(t, ok)
	return told(&a, telling{to: to, step: 1, after: after, within: reachWithin, paged: paged, last: last}, nil)
}

// What a person sees of a new occurrence, and of one that is raised again.
func TestOccurrences(t *testing.T) {
	t.Parallel()
	now := wireTime.Add(time.Hour)
	a := raise(nil, Raise{Patient: "p", Key: "k", ID: "ev-1", Text: "low", Priority: PriorityLow, Onset: now.AddDate(1, 0, 0), To: []string{"patient"},
		Source: Source{By: "somebody else", Rule: "r"}}, "monitor", now)
	want := Alert{Patient: "p", Key: "k", ID: "ev-1", Text: "low", Priority: PriorityLow, To: []string{"patient"}, Rev: 1, Kind: AlertPhysiological,
		Audience: AudienceStaff, Condition: ConditionPresent, Onset: now, Raised: now, Updated: now, Source: Source{By: "monitor", Rule: "r"},
		Responsibility: Responsibility{State: ResponsibilityUndefined}, Escalation: Escalation{State: EscalationDue, Due: now, peak: PriorityLow}}
	require.Equal(t, want, a, "only the source's part is taken, and no onset that is to come")

	a = answered(t, a, Answer{Do: AnswerAccept}, ann, now)
	b := raise(&a, Raise{Patient: "p", Key: "k", ID: "ev-2", Text: "lower", Priority: PriorityLow, Source: Source{Rule: "r2"}}, "another", now.Add(time.Minute))
	want = a
	want.Rev, want.Updated = 3, now.Add(time.Minute)
	want.Sources = []Assertion{{Source: Source{By: "monitor", Rule: "r"}, Text: "low", Priority: PriorityLow, Kind: AlertPhysiological, Since: now},
		{Source: Source{By: "another", Rule: "r2"}, Text: "lower", Priority: PriorityLow, Kind: AlertPhysiological, Since: now.Add(time.Minute)}}
	require.Equal(t, want, b, "no new alarm: the same occurrence with another source, still accepted")

	b = over(&b, now.Add(2*time.Minute))
	require.False(t, b.Open())
	c := raise(&b, Raise{Patient: "p", Key: "k", ID: "ev-3", Text: "low", Priority: PriorityLow}, "monitor", now.Add(3*time.Minute))
	require.Equal(t, "ev-3", c.ID, "a new occurrence with an ID of its own")
	require.Equal(t, uint64(5), c.Rev, "the revision runs on")
	require.Zero(t, c.AnswerCount+len(c.Answers)+c.Escalation.Level)
	require.True(t, c.Open())
	require.Equal(t, ResponsibilityUndefined, c.Responsibility.State)
}

func TestAcceptanceHolds(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		priority  Priority
		asked     time.Duration
		holds     time.Duration
		wantLevel int
	}{
		{PriorityHigh, 0, 30 * time.Minute, 1},
		{PriorityMedium, 0, 2 * time.Hour, 1},
		{PriorityLow, 0, 12 * time.Hour, 1},
		{PriorityLow, time.Minute, time.Minute, 1},
	} {
		a := raised(row.priority)
		a, _ = claim(&a, wireTime, wireTime.Add(time.Minute))
		a = told(&a, telling{to: []string{"person:ann"}, after: time.Minute, paged: true}, nil)
		a = answered(t, a, Answer{Do: AnswerAccept, For: row.asked}, ann, wireTime)
		end := wireTime.Add(row.holds)
		require.Equal(t, Responsibility{State: ResponsibilityAccepted, By: ann, At: wireTime, Until: end}, a.Responsibility)
		require.Equal(t, end, a.due())
		_, ok := claim(&a, end.Add(-1), end)
		require.False(t, ok, "nobody else is told while somebody has it")
		_, ok = expire(&a, end.Add(-1))
		require.False(t, ok)
		b, ok := expire(&a, end)
		require.True(t, ok)
		require.Equal(t, Responsibility{State: ResponsibilityUndefined}, b.Responsibility)
		require.Equal(t, a.Rev, b.Rev, "rev counts changes by source and people only")
		b, ok = claim(&b, end, end.Add(time.Minute))
		require.True(t, ok, "the steps start again, at once")
		require.Zero(t, b.Escalation.Step)
		require.Equal(t, row.wantLevel+1, b.Escalation.Level, "the level never restarts")
	}
}

// A priority voids an acceptance only if it is above the highest since then.
func TestPriorityRise(t *testing.T) {
	t.Parallel()
	update := func(a Alert, p Priority) Alert {
		return raise(&a, Raise{Priority: p}, "src", wireTime.Add(time.Minute))
	}
	a := answered(t, raised(PriorityMedium), Answer{Do: AnswerAccept}, ann, wireTime)
	for _, p := range []Priority{PriorityLow, PriorityMedium, PriorityLow, PriorityInfo, PriorityMedium} {
		a = update(a, p)
		require.Equal(t, ResponsibilityAccepted, a.Responsibility.State, p)
		require.Equal(t, p, a.Priority)
	}
	a = update(a, PriorityHigh)
	require.Equal(t, ResponsibilityUndefined, a.Responsibility.State)
	require.Equal(t, wireTime.Add(time.Minute), a.due())

	a = answered(t, update(a, PriorityLow), Answer{Do: AnswerAccept}, ann, wireTime)
	a = update(a, PriorityMedium)
	require.Equal(t, ResponsibilityUndefined, a.Responsibility.State, "what was accepted was a low one")

	b := calling(t, []string{"person:ann"}, time.Hour, true, false)
	b = update(update(b, PriorityLow), PriorityHigh)
	require.Equal(t, EscalationNotified, b.Escalation.State, "not above the highest since the steps began: no new alarm")
}

// Someone who says no, gives it back, is gone or hands it on: the steps begin
// again, and an assigned person is told first.
func TestStepsBeginAgain(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"release", "assign", "lose", "expire", "reject", "worse"} {
		a := calling(t, []string{"person:ann"}, time.Minute, true, false)
		a, _ = claim(&a, wireTime.Add(time.Minute), wireTime.Add(2*time.Minute))
		a = told(&a, telling{to: []string{"person:bob"}, step: 2, after: time.Minute, paged: true}, nil)
		a.Priority, a.Escalation.peak = PriorityMedium, PriorityMedium
		require.Equal(t, 2, a.Escalation.Step)
		now := wireTime.Add(3 * time.Hour)
		a = answered(t, a, Answer{Do: AnswerAccept}, ann, wireTime)
		a, err := act(&a, action, ann, bob, now)
		require.NoError(t, err)
		require.Equal(t, now, a.due(), action)
		require.Equal(t, action == "assign", a.Escalation.assigned == "person:cy")
		a, ok := claim(stored(t, a), now, now.Add(time.Minute))
		require.True(t, ok)
		require.Equal(t, 3, a.Escalation.Level, "%s: the level runs on", action)
		require.Zero(t, a.Escalation.Step, "%s: the policy's first step is next", action)
	}
	a := answered(t, raised(PriorityHigh), Answer{Do: AnswerAccept}, ann, wireTime)
	_, ok := lose(&a, "bob", wireTime)
	require.False(t, ok, "somebody else's access ended")
}

// A level is claimed once; a claim that lapses is taken up again as it is.
func TestClaim(t *testing.T) {
	t.Parallel()
	until := wireTime.Add(10 * time.Second)
	a := raised(PriorityHigh)
	_, ok := claim(&a, wireTime.Add(-1), until)
	require.False(t, ok, "not due yet")
	a, ok = claim(&a, wireTime, until)
	require.True(t, ok)
	require.Equal(t, EscalationClaimed, a.Escalation.State)
	require.Equal(t, until, a.due())
	_, ok = claim(&a, until.Add(-1), until.Add(time.Minute))
	require.False(t, ok, "claimed by another node")
	b, ok := claim(stored(t, a), until, until.Add(time.Minute))
	require.True(t, ok)
	require.Equal(t, a.Escalation.Level, b.Escalation.Level, "the same level")
	require.Equal(t, a.Escalation.Step, b.Escalation.Step)
	b = told(&b, telling{to: []string{"person:ann"}, after: time.Minute, paged: true}, nil)
	require.Equal(t, wireTime.Add(time.Minute), b.due(), "the wait counts from the first claim")
	c, ok := claim(&b, b.due(), b.due().Add(time.Minute))
	require.True(t, ok)
	require.Equal(t, 2, c.Escalation.Level)
}

// Beyond the last step that one is told again, and the waits double up to 15 min.
func TestWaitsDouble(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ after, waits []int }{ // seconds
		{[]int{60}, []int{60, 120, 240, 480, 900, 900, 900}},
		{[]int{120}, []int{120, 240, 480, 900, 900}},
		{[]int{900}, []int{900, 900, 900}},
		{[]int{3600}, []int{3600, 3600, 3600}},
	} {
		after := time.Duration(row.after[0]) * time.Second
		a := calling(t, []string{"person:ann"}, after, true, true)
		for i, wait := range row.waits {
			require.Equal(t, i+1, a.Escalation.Level)
			require.Equal(t, 1, a.Escalation.Step, "still the last step")
			began := a.Escalation.began
			require.Equal(t, time.Duration(wait)*time.Second, a.due().Sub(began), "wait %d", i)
			a, _ = claim(&a, a.due(), a.due().Add(time.Minute))
			a = told(stored(t, a), telling{to: []string{"person:ann"}, step: 1, after: after, paged: true, exhausted: true, last: true}, nil)
		}
	}
}

// A level that has reached nobody within 5 s gives way to the next.
func TestUnreachedLevel(t *testing.T) {
	t.Parallel()
	to := []string{"person:ann"}
	soon, full := wireTime.Add(5*time.Second), wireTime.Add(time.Minute)

	a := calling(t, to, time.Minute, true, false)
	require.Equal(t, EscalationNotified, a.Escalation.State)
	require.Equal(t, full, a.due(), "a page that went out has reached somebody")
	_, ok := reached(&a)
	require.False(t, ok, "known already")

	a = calling(t, to, time.Minute, false, false)
	require.Equal(t, EscalationFailed, a.Escalation.State)
	require.Equal(t, soon, a.due())
	b, ok := reached(&a)
	require.True(t, ok)
	require.Equal(t, EscalationNotified, b.Escalation.State)
	require.Equal(t, full, b.due(), "a receipt gives them their time")
	require.Equal(t, soon, a.due(), "what is given is never changed")

	a = calling(t, to, 3*time.Second, false, false)
	require.Equal(t, wireTime.Add(3*time.Second), a.due(), "never later than the step says")
	a = calling(t, to, time.Minute, false, true)
	require.Equal(t, full, a.due(), "there is no next step to hurry to")

	a = answered(t, a, Answer{Do: AnswerAccept}, ann, wireTime)
	_, ok = reached(&a)
	require.False(t, ok, "somebody has it")
	a = raised(PriorityHigh)
	_, ok = reached(&a)
	require.False(t, ok, "nobody was told yet")
}

// When all who were asked have rejected, the next level is due at once.
func TestAllRejected(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		to       []string
		receipts []string
		rejects  []string
		all      bool
	}{
		{"the one person", []string{"person:ann"}, nil, []string{"ann"}, true},
		{"somebody else", []string{"person:ann"}, nil, []string{"bob"}, false},
		{"one of two", []string{"person:ann", "person:bob"}, nil, []string{"ann"}, false},
		{"one of two, twice", []string{"person:ann", "person:bob"}, nil, []string{"ann", "ann"}, false},
		{"both", []string{"person:ann", "person:bob"}, nil, []string{"bob", "ann"}, true},
		{"a group of which nobody is heard of", []string{"group:ward-5"}, nil, []string{"ann"}, false},
		{"all of a group who got it", []string{"group:ward-5"}, []string{"ann", "bob"}, []string{"ann", "bob"}, true},
		{"one of two in a group who got it", []string{"group:ward-5"}, []string{"ann", "bob"}, []string{"ann"}, false},
		{"a role", []string{"role:clinician"}, []string{"ann"}, []string{"ann"}, true},
		{"the person but not the group", []string{"person:ann", "group:ward-5"}, []string{"ann", "bob"}, []string{"ann"}, false},
		{"the group but not the person", []string{"person:ann", "group:ward-5"}, []string{"bob"}, []string{"bob"}, false},
		{"person and group", []string{"person:ann", "group:ward-5"}, []string{"ann", "bob"}, []string{"bob", "ann"}, true},
		{"nobody was told", nil, nil, []string{"ann"}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a := calling(t, row.to, time.Hour, true, false)
			now := wireTime.Add(time.Minute)
			for _, id := range row.rejects {
				b, err := answer(&a, Answer{Do: AnswerReject}, Person{ID: id}, row.receipts, now)
				require.NoError(t, err)
				a = b
			}
			require.Equal(t, ResponsibilityRejected, a.Responsibility.State)
			if row.all {
				require.Equal(t, now, a.due())
			} else {
				require.Equal(t, wireTime.Add(time.Hour), a.due())
			}
		})
	}
	a := calling(t, []string{"person:ann"}, time.Hour, false, false)
	a = answered(t, a, Answer{Do: AnswerReject}, ann, wireTime.Add(time.Second))
	a, _ = reached(&a)
	require.Equal(t, wireTime.Add(time.Second), a.due(), "a receipt after that gives no time back")
	a, _ = claim(&a, a.due(), wireTime.Add(time.Minute))
	require.Empty(t, a.Escalation.rejected, "the next level asks anew")
}

// The alert carries its last eight answers and counts them all.
func TestAnswersAreKept(t *testing.T) {
	t.Parallel()
	a := raised(PriorityHigh)
	for i := range 20 {
		before := a
		a = answered(t, a, Answer{Do: AnswerReject, Reason: fmt.Sprint(i)}, ann, wireTime)
		require.Len(t, before.Answers, min(i, 8))
		require.Len(t, a.Answers, min(i+1, 8))
		require.Equal(t, i+1, a.AnswerCount)
		require.Equal(t, Answered{Do: AnswerReject, By: ann, At: wireTime, Reason: fmt.Sprint(i)}, a.Answers[len(a.Answers)-1])
		require.Equal(t, fmt.Sprint(max(0, i-7)), a.Answers[0].Reason, "the oldest goes first")
	}
	a = answered(t, a, Answer{Do: AnswerAccept, For: time.Minute, Reason: "on my way"}, bob, wireTime)
	require.Equal(t, Answered{Do: AnswerAccept, By: bob, At: wireTime, Until: wireTime.Add(time.Minute), Reason: "on my way"}, a.Answers[7])
	a = answered(t, a, Answer{Do: AnswerClose, Force: true, Reason: "sensor off"}, ann, wireTime)
	require.Equal(t, &Closing{ann, wireTime, "sensor off"}, a.Closed)
	require.Equal(t, wireTime, a.Ended)
	require.Equal(t, ConditionPresent, a.Condition, "closing an alert does not heal")
}

// Two nodes that take the same alert further do not disturb each other, and
// callers may use their lists again.
func TestAlertSharesNothing(t *testing.T) {
	t.Parallel()
	to := []string{"person:ann", "person:bob"}
	a := raise(nil, Raise{ID: "ev-1", Priority: PriorityHigh, To: to}, "src", wireTime)
	b := raise(&a, Raise{Priority: PriorityHigh, To: to}, "src", wireTime)
	a, _ = claim(&a, wireTime, wireTime.Add(time.Minute))
	a = told(&a, telling{to: to, after: time.Minute, paged: true}, nil)
	to[0] = "person:cy"
	require.NotContains(t, text(&a)+text(&b), "cy")
	for i := range 10 {
		one := answered(t, a, Answer{Do: AnswerReject}, Person{ID: fmt.Sprint("one-", i)}, wireTime)
		before := text(&one)
		another := answered(t, a, Answer{Do: AnswerReject}, Person{ID: fmt.Sprint("another-", i)}, wireTime)
		require.Equal(t, before, text(&one))
		a = another
	}
}

// An answer to a state that is no longer the present one is a conflict.
func TestAnswerRev(t *testing.T) {
	t.Parallel()
	a := raised(PriorityHigh)
	_, err := answer(&a, Answer{Do: AnswerAccept, Rev: a.Rev + 1}, ann, nil, wireTime)
	require.ErrorIs(t, err, ErrConflict)
	b, err := answer(&a, Answer{Do: AnswerAccept, Rev: a.Rev}, ann, nil, wireTime)
	require.NoError(t, err)
	_, err = answer(&b, Answer{Do: AnswerRelease, Rev: a.Rev}, ann, nil, wireTime)
	require.ErrorIs(t, err, ErrConflict)
	_, err = answer(&b, Answer{Do: "snooze"}, ann, nil, wireTime)
	require.ErrorIs(t, err, ErrRefused)
}

// Information is shown and pages nobody; with its end it is over.
func TestInformation(t *testing.T) {
	t.Parallel()
	a := raised(PriorityInfo)
	require.True(t, a.Open())
	require.Zero(t, a.due())
	_, ok := claim(&a, wireTime.Add(time.Hour), wireTime.Add(2*time.Hour))
	require.False(t, ok)
	ended := over(&a, wireTime)
	require.False(t, ended.Open())
	worse := raise(&a, Raise{Priority: PriorityLow}, "src", wireTime)
	require.Equal(t, wireTime, worse.due(), "now somebody is needed")
}

// A rejection may come while the page is still being sent, before the level is
// recorded as told: it counts all the same.
func TestRejectionBeforeTheLevelIsRecorded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		to       string
		received []string
		atOnce   bool
	}{
		{"person:ann", nil, true},
		{"person:bob", nil, false},
		{"group:icu", []string{"ann"}, true},
		{"group:icu", nil, false},
	} {
		a := raised(PriorityHigh)
		a, _ = claim(&a, wireTime, wireTime.Add(10*time.Second))
		a = answered(t, a, Answer{Do: AnswerReject}, ann, wireTime.Add(time.Second))
		a = told(&a, telling{to: []string{c.to}, after: time.Hour, paged: true}, c.received)
		require.Equal(t, c.atOnce, !a.due().After(wireTime.Add(time.Second)), "%s %v", c.to, c.received)
	}
}

// So may a receipt.
func TestReceiptBeforeTheLevelIsRecorded(t *testing.T) {
	t.Parallel()
	a := raised(PriorityHigh)
	a, _ = claim(&a, wireTime, wireTime.Add(10*time.Second))
	a, ok := reached(&a)
	require.True(t, ok)
	a = told(&a, telling{to: []string{"person:ann"}, after: time.Hour}, nil)
	require.Equal(t, wireTime.Add(time.Hour), a.due())
}

// An alert that was high and is lowered does not end without a person.
func TestLoweredAlertIsLatched(t *testing.T) {
	t.Parallel()
	a := raised(PriorityHigh)
	a = raise(&a, Raise{Priority: PriorityInfo}, "src", wireTime)
	a = over(&a, wireTime)
	require.True(t, a.Open() && a.Latched)
}

// However long a policy waits, repeating never comes due in the past.
func TestRepeatsOfALongWait(t *testing.T) {
	t.Parallel()
	const after = 200 * 24 * time.Hour
	a := raised(PriorityHigh)
	for range 12 {
		a, _ = claim(&a, a.due(), a.due().Add(time.Minute))
		began := a.Escalation.began
		a = told(&a, telling{to: []string{"person:ann"}, step: 1, after: after, paged: true, exhausted: true, last: true}, nil)
		require.Equal(t, began.Add(after), a.due())
	}
}

// Different vitals have different keys.
func TestKeysOfVitalsAreDistinct(t *testing.T) {
	t.Parallel()
	seen := make(map[string]Vital)
	for _, v := range []Vital{
		{Code: "a"}, {Code: "a", Test: true}, {Code: "a", Site: "!test"}, {Code: "a", Device: "c"}, {Code: "a", Site: "c"}, {Code: "a", Device: "b", Site: "c"},
		{Code: "a/b", Device: "c"}, {Code: "a", System: "s"}, {Code: "s|a"}, {Code: "a", Site: "b c"}, {Code: "a", Device: "b", Site: " c"},
	} {
		require.NotContains(t, seen, v.key())
		seen[v.key()] = v
	}
}

func TestUnknownMembersAlone(t *testing.T) {
	t.Parallel()
	var a Alert
	require.NoError(t, a.UnmarshalJSON([]byte(`{"future":1,"more":{"x":[]}}`)))
	b, err := a.MarshalJSON()
	require.NoError(t, err)
	require.JSONEq(t, `{"future":1,"more":{"x":[]}}`, string(b))
}

// A duration of whole milliseconds comes back as it was sent.
func TestSecondsAreRounded(t *testing.T) {
	t.Parallel()
	for ms := range 5000 {
		want := time.Duration(ms) * time.Millisecond
		s := scanner{b: []byte(DecimalOf(want.Seconds()))}
		require.Equal(t, want, s.seconds())
	}
}

// What a client does not know is no error; what it cannot read of a page is.
func TestUnknownAndUnreadableEvents(t *testing.T) {
	t.Parallel()
	ev, _, err := decodeEvent([]byte(`{"type":"batch","patient":"p","code":"8867-4","seq":"x"}`))
	require.NoError(t, err)
	require.Equal(t, Event{Type: "batch"}, ev)
	_, _, err = decodeEvent([]byte(`{"type":"ok","req":"1","events":[{"type":"vital","seq":-1},{"type":"gap","seq":2}]}`))
	require.Error(t, err)
}
