package carewire

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	ann = Person{ID: "ann", Name: "Ann", Role: RoleClinician}
	bob = Person{ID: "bob", Name: "Bob", Role: RoleClinician}
)

// text is an alert with all that is kept of it, so that each difference shows,
// also a change by mistake.
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

func raised(p Priority) Alert {
	return raiseAlert(nil, Raise{ID: "ev-1", Priority: p}, "src", wireTime)
}

// answered gives an answer that must be taken.
func answered(t *testing.T, a Alert, w Answer, by Person, now time.Time) Alert {
	t.Helper()
	a, err := answerAlert(&a, w, by, nil, now)
	require.NoError(t, err)
	return a
}

// A person sees the right state of a new occurrence, and of one that is raised
// again.
func TestOccurrences(t *testing.T) {
	t.Parallel()
	now := wireTime.Add(time.Hour)
	a := raiseAlert(nil, Raise{Patient: "p", Key: "k", ID: "ev-1", Text: "low", Priority: PriorityLow, Onset: now.AddDate(1, 0, 0), To: []string{"patient"},
		Source: Source{By: "somebody else", Rule: "r"}}, "monitor", now)
	want := Alert{Patient: "p", Key: "k", ID: "ev-1", Text: "low", Priority: PriorityLow, To: []string{"patient"}, Rev: 1, Kind: AlertPhysiological,
		Audience: AudienceStaff, Condition: ConditionPresent, Onset: now, Raised: now, Updated: now, Source: Source{By: "monitor", Rule: "r"},
		Responsibility: Responsibility{State: ResponsibilityUndefined}, Escalation: Escalation{State: EscalationDue, Due: now, peak: PriorityLow}}
	require.Equal(t, want, a, "only the source's part is taken, and no onset that is to come")

	a = answered(t, a, Answer{Do: AnswerAccept}, ann, now)
	b := raiseAlert(&a, Raise{Patient: "p", Key: "k", ID: "ev-2", Text: "lower", Priority: PriorityLow, Source: Source{Rule: "r2"}}, "another", now.Add(time.Minute))
	want = a
	want.Rev, want.Updated = 3, now.Add(time.Minute)
	want.Sources = []Assertion{{Source: Source{By: "monitor", Rule: "r"}, Text: "low", Priority: PriorityLow, Kind: AlertPhysiological, Since: now},
		{Source: Source{By: "another", Rule: "r2"}, Text: "lower", Priority: PriorityLow, Kind: AlertPhysiological, Since: now.Add(time.Minute)}}
	require.Equal(t, want, b, "no new alarm: the same occurrence with another source, still accepted")

	b = endCondition(&b, now.Add(2*time.Minute))
	require.False(t, b.Open())
	c := raiseAlert(&b, Raise{Patient: "p", Key: "k", ID: "ev-3", Text: "low", Priority: PriorityLow}, "monitor", now.Add(3*time.Minute))
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
		a, _ = claimLevel(&a, wireTime, wireTime.Add(time.Minute))
		a = recordLevel(&a, telling{to: []string{"person:ann"}, after: time.Minute, paged: true}, nil)
		a = answered(t, a, Answer{Do: AnswerAccept, For: row.asked}, ann, wireTime)
		end := wireTime.Add(row.holds)
		require.Equal(t, Responsibility{State: ResponsibilityAccepted, By: ann, At: wireTime, Until: end}, a.Responsibility)
		require.Equal(t, end, a.due())
		_, ok := claimLevel(&a, end.Add(-1), end)
		require.False(t, ok, "nobody else is told while somebody has it")
		_, ok = expireAcceptance(&a, end.Add(-1))
		require.False(t, ok)
		b, ok := expireAcceptance(&a, end)
		require.True(t, ok)
		require.Equal(t, Responsibility{State: ResponsibilityUndefined}, b.Responsibility)
		require.Equal(t, a.Rev, b.Rev, "rev counts changes by source and people only")
		b, ok = claimLevel(&b, end, end.Add(time.Minute))
		require.True(t, ok, "the steps start again, at once")
		require.Zero(t, b.Escalation.Step)
		require.Equal(t, row.wantLevel+1, b.Escalation.Level, "the level never restarts")
	}
}

// A new priority voids an acceptance only if it is above the highest one since then.
func TestPriorityRise(t *testing.T) {
	t.Parallel()
	update := func(a Alert, p Priority) Alert {
		return raiseAlert(&a, Raise{Priority: p}, "src", wireTime.Add(time.Minute))
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
	require.Equal(t, ResponsibilityUndefined, a.Responsibility.State, "the accepted level was a low one")

	b := calling(t, []string{"person:ann"}, time.Hour, true, false)
	b = update(update(b, PriorityLow), PriorityHigh)
	require.Equal(t, EscalationNotified, b.Escalation.State, "not above the highest since the steps began: no new alarm")
}

// After an acceptance has ended, in any way, and after a rise of the priority the
// steps begin again. An assigned person is told first.
func TestStepsBeginAgain(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"release", "assign", "lose", "expire", "reject", "worse"} {
		a := calling(t, []string{"person:ann"}, time.Minute, true, false)
		a, _ = claimLevel(&a, wireTime.Add(time.Minute), wireTime.Add(2*time.Minute))
		a = recordLevel(&a, telling{to: []string{"person:bob"}, step: 2, after: time.Minute, paged: true}, nil)
		a.Priority, a.Escalation.peak = PriorityMedium, PriorityMedium
		require.Equal(t, 2, a.Escalation.Step)
		now := wireTime.Add(3 * time.Hour)
		a = answered(t, a, Answer{Do: AnswerAccept}, ann, wireTime)
		a, err := act(&a, action, ann, bob, now)
		require.NoError(t, err)
		require.Equal(t, now, a.due(), action)
		require.Equal(t, action == "assign", a.Escalation.assigned == "person:cy")
		a, ok := claimLevel(stored(t, a), now, now.Add(time.Minute))
		require.True(t, ok)
		require.Equal(t, 3, a.Escalation.Level, "%s: the level runs on", action)
		require.Zero(t, a.Escalation.Step, "%s: the policy's first step is next", action)
	}
	a := answered(t, raised(PriorityHigh), Answer{Do: AnswerAccept}, ann, wireTime)
	_, ok := loseAcceptance(&a, "bob", wireTime)
	require.False(t, ok, "somebody else's access ended")
}

// A level is claimed once; a claim that lapses is taken up again as it is.
func TestClaim(t *testing.T) {
	t.Parallel()
	until := wireTime.Add(10 * time.Second)
	a := raised(PriorityHigh)
	_, ok := claimLevel(&a, wireTime.Add(-1), until)
	require.False(t, ok, "not due yet")
	a, ok = claimLevel(&a, wireTime, until)
	require.True(t, ok)
	require.Equal(t, EscalationClaimed, a.Escalation.State)
	require.Equal(t, until, a.due())
	_, ok = claimLevel(&a, until.Add(-1), until.Add(time.Minute))
	require.False(t, ok, "claimed by another node")
	b, ok := claimLevel(stored(t, a), until, until.Add(time.Minute))
	require.True(t, ok)
	require.Equal(t, a.Escalation.Level, b.Escalation.Level, "the same level")
	require.Equal(t, a.Escalation.Step, b.Escalation.Step)
	b = recordLevel(&b, telling{to: []string{"person:ann"}, after: time.Minute, paged: true}, nil)
	require.Equal(t, wireTime.Add(time.Minute), b.due(), "the wait counts from the first claim")
	c, ok := claimLevel(&b, b.due(), b.due().Add(time.Minute))
	require.True(t, ok)
	require.Equal(t, 2, c.Escalation.Level)
}

// Beyond the last step, that step is told again, and the waits double up to 15 min.
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
			a, _ = claimLevel(&a, a.due(), a.due().Add(time.Minute))
			a = recordLevel(stored(t, a), telling{to: []string{"person:ann"}, step: 1, after: after, paged: true, exhausted: true, last: true}, nil)
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
	_, ok := noteReached(&a)
	require.False(t, ok, "known already")

	a = calling(t, to, time.Minute, false, false)
	require.Equal(t, EscalationFailed, a.Escalation.State)
	require.Equal(t, soon, a.due())
	b, ok := noteReached(&a)
	require.True(t, ok)
	require.Equal(t, EscalationNotified, b.Escalation.State)
	require.Equal(t, full, b.due(), "a receipt gives them their time")
	require.Equal(t, soon, a.due(), "the argument is never changed")

	a = calling(t, to, 3*time.Second, false, false)
	require.Equal(t, wireTime.Add(3*time.Second), a.due(), "never later than the step says")
	a = calling(t, to, time.Minute, false, true)
	require.Equal(t, full, a.due(), "there is no next step to hurry to")

	a = answered(t, a, Answer{Do: AnswerAccept}, ann, wireTime)
	_, ok = noteReached(&a)
	require.False(t, ok, "somebody has it")
	a = raised(PriorityHigh)
	_, ok = noteReached(&a)
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
		{"all recipients of a group", []string{"group:ward-5"}, []string{"ann", "bob"}, []string{"ann", "bob"}, true},
		{"one of two recipients of a group", []string{"group:ward-5"}, []string{"ann", "bob"}, []string{"ann"}, false},
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
				b, err := answerAlert(&a, Answer{Do: AnswerReject}, Person{ID: id}, row.receipts, now)
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
	a, _ = noteReached(&a)
	require.Equal(t, wireTime.Add(time.Second), a.due(), "a receipt after that gives no time back")
	a, _ = claimLevel(&a, a.due(), wireTime.Add(time.Minute))
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
	a := raiseAlert(nil, Raise{ID: "ev-1", Priority: PriorityHigh, To: to}, "src", wireTime)
	b := raiseAlert(&a, Raise{Priority: PriorityHigh, To: to}, "src", wireTime)
	a, _ = claimLevel(&a, wireTime, wireTime.Add(time.Minute))
	a = recordLevel(&a, telling{to: to, after: time.Minute, paged: true}, nil)
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
	_, err := answerAlert(&a, Answer{Do: AnswerAccept, Rev: a.Rev + 1}, ann, nil, wireTime)
	require.ErrorIs(t, err, ErrConflict)
	b, err := answerAlert(&a, Answer{Do: AnswerAccept, Rev: a.Rev}, ann, nil, wireTime)
	require.NoError(t, err)
	_, err = answerAlert(&b, Answer{Do: AnswerRelease, Rev: a.Rev}, ann, nil, wireTime)
	require.ErrorIs(t, err, ErrConflict)
	_, err = answerAlert(&b, Answer{Do: "snooze"}, ann, nil, wireTime)
	require.ErrorIs(t, err, ErrRefused)
}

// Information is shown and pages nobody; with its end it is over.
func TestInformation(t *testing.T) {
	t.Parallel()
	a := raised(PriorityInfo)
	require.True(t, a.Open())
	require.Zero(t, a.due())
	_, ok := claimLevel(&a, wireTime.Add(time.Hour), wireTime.Add(2*time.Hour))
	require.False(t, ok)
	ended := endCondition(&a, wireTime)
	require.False(t, ended.Open())
	worse := raiseAlert(&a, Raise{Priority: PriorityLow}, "src", wireTime)
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
		a, _ = claimLevel(&a, wireTime, wireTime.Add(10*time.Second))
		a = answered(t, a, Answer{Do: AnswerReject}, ann, wireTime.Add(time.Second))
		a = recordLevel(&a, telling{to: []string{c.to}, after: time.Hour, paged: true}, c.received)
		require.Equal(t, c.atOnce, !a.due().After(wireTime.Add(time.Second)), "%s %v", c.to, c.received)
	}
}

// So may a receipt.
func TestReceiptBeforeTheLevelIsRecorded(t *testing.T) {
	t.Parallel()
	a := raised(PriorityHigh)
	a, _ = claimLevel(&a, wireTime, wireTime.Add(10*time.Second))
	a, ok := noteReached(&a)
	require.True(t, ok)
	a = recordLevel(&a, telling{to: []string{"person:ann"}, after: time.Hour}, nil)
	require.Equal(t, wireTime.Add(time.Hour), a.due())
}

// An alert that was high and is lowered does not end without a person.
func TestLoweredAlertIsLatched(t *testing.T) {
	t.Parallel()
	a := raised(PriorityHigh)
	a = raiseAlert(&a, Raise{Priority: PriorityInfo}, "src", wireTime)
	a = endCondition(&a, wireTime)
	require.True(t, a.Open() && a.Latched)
}

// Even if a policy waits very long, a repeat never comes due in the past.
func TestRepeatsOfALongWait(t *testing.T) {
	t.Parallel()
	const after = 200 * 24 * time.Hour
	a := raised(PriorityHigh)
	for range 12 {
		a, _ = claimLevel(&a, a.due(), a.due().Add(time.Minute))
		began := a.Escalation.began
		a = recordLevel(&a, telling{to: []string{"person:ann"}, step: 1, after: after, paged: true, exhausted: true, last: true}, nil)
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
