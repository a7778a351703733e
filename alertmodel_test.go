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
// from the code: the state after each action in each state.
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
		a = endCondition(&a, wireTime)
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
		return raiseAlert(a, Raise{ID: "ev-2", Priority: PriorityMedium}, "src", now), nil
	case "worse":
		return raiseAlert(a, Raise{ID: "ev-2", Priority: PriorityHigh}, "src", now), nil
	case "clear":
		return endCondition(a, now), nil
	case "expire":
		b, _ := expireAcceptance(a, now)
		return b, nil
	case "lose":
		b, _ := loseAcceptance(a, by.ID, now)
		return b, nil
	case "assign":
		return answerAlert(a, Answer{Do: AnswerAssign, To: "person:cy"}, by, nil, now)
	case "force":
		return answerAlert(a, Answer{Do: AnswerClose, Force: true, Reason: "x"}, by, nil, now)
	}
	return answerAlert(a, Answer{Do: AnswerVerb(do)}, by, nil, now)
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
				require.Equal(t, before, text(a), "the argument is never changed")
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

// An alertModel predicts the state of an alert after any sequence of actions.
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
	told, no, receipts []string // the people who were told at this level, have rejected, have sent a receipt
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
	case action == "assign" && m.state != "accepted":
		m.telling, m.due, m.next = "due", now, time.Time{}
	case !calling(m.state), action == "worse":
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

// allRejected: every person named, and all members of a group who have sent a
// receipt.
func (m *alertModel) allRejected() bool {
	asked := slices.Clone(m.receipts)
	for _, to := range m.told {
		if name, ok := strings.CutPrefix(to, "person:"); ok {
			asked = append(asked, name)
		}
	}
	return len(asked) > 0 && !slices.ContainsFunc(asked, func(p string) bool { return !slices.Contains(m.no, p) })
}

// check compares the visible state of an alert with the model.
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
	if m.state == "ended" { // the person who had it and the progress of the telling are history
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
			got = raiseAlert(a, Raise{ID: id, Priority: priority}, "src", now)
			m.priority = priority
			if m.state == "none" || m.state == "ended" {
				m = alertModel{state: m.state, id: id, priority: priority, rev: m.rev}
			}
			m.rev++
		case "clear":
			got = endCondition(a, now)
			if m.state != "latched" && m.state != "ended" {
				m.rev++
			}
		case "expire":
			var ok bool
			got, ok = expireAcceptance(a, now)
			require.Equal(t, m.state == "accepted" && !m.until.After(now), ok)
			if known = ok; ok {
				next = "undefined"
			}
		case "lose":
			var ok bool
			got, ok = loseAcceptance(a, by, now)
			require.Equal(t, m.holder == by, ok)
			if known = ok; ok {
				next = "undefined"
			}
		case "claim":
			until := now.Add(10 * time.Second)
			var ok bool
			got, ok = claimLevel(a, now, until)
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
			got = recordLevel(a, telling{to: to, step: step, after: after, within: reachWithin, paged: paged, exhausted: exhausted, last: last, failed: failed}, nil)
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
			got, ok = noteReached(a)
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
				continue // the people whom this level tells are not on record yet
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
			got, err = answerAlert(a, w, Person{ID: by}, m.receipts, now)
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
		require.Equal(t, before, text(given), "the argument is never changed")
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
	a, ok := claimLevel(&a, wireTime, wireTime.Add(time.Minute))
	require.True(t, ok)
	return recordLevel(&a, telling{to: to, step: 1, after: after, within: reachWithin, paged: paged, last: last}, nil)
}
