package carewire

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A complaint about an alert is over when that is accepted or ends, on whichever
// node: a person who has accepted the complaint is not asked for it again. If
// nobody had, it stays to be seen, and is raised again when it is true again.
func TestComplaintsEndWithTheirAlert(t *testing.T) {
	admin := Principal{ID: "admin", Role: RoleClinician, Patients: []string{SystemPatient}}
	for _, nodes := range []int{1, 2} {
		for _, ends := range []bool{false, true} {
			for _, accepted := range []bool{false, true} {
				t.Run(fmt.Sprint(nodes, ends, accepted), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						store := NewMemoryStore(nil)
						w := newWorld(t, store, &Options{Policy: threeSteps, Pager: &pager{}})
						defer w.close()
						answers := w
						a, err := w.hub.Raise(t.Context(), high("k"))
						require.NoError(t, err)
						time.Sleep(4 * time.Minute)
						if nodes == 2 {
							answers = newWorld(t, deaf{store}, &Options{Policy: threeSteps, Pager: &pager{}})
							defer answers.close()
							time.Sleep(2 * time.Second)
						}
						about := AlertRef{Patient: SystemPatient, Key: troubleExhausted}
						complaint := func() Alert {
							c, err := w.hub.Alert(t.Context(), about.Patient, about.Key)
							require.NoError(t, err)
							return c
						}
						require.Equal(t, ConditionPresent, complaint().Condition)
						if accepted {
							_, err = answers.hub.Answer(t.Context(), admin, about, Answer{Do: AnswerAccept})
							require.NoError(t, err)
						}
						if ends {
							_, err = answers.hub.Answer(t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerClose, Force: true, Reason: "x"})
						} else {
							_, err = answers.hub.Answer(t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerAccept, For: time.Minute})
						}
						require.NoError(t, err)
						time.Sleep(2 * time.Second)
						c := complaint()
						require.Equal(t, ConditionOver, c.Condition)
						require.Equal(t, !accepted, c.Latched)
						require.Equal(t, accepted, !c.Open())
						if !ends { // the acceptance runs out, and nobody accepts again
							time.Sleep(6 * time.Minute)
							require.Equal(t, ConditionPresent, complaint().Condition)
						}
					})
				})
			}
		}
	}
}

// If an alert is accepted while the complaint about it is being written, the
// complaint ends, too.
func TestComplaintThatComesTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := troubleExhausted
		store := &seam{Store: NewMemoryStore(nil), appending: func(next Store, ctx context.Context, entries []Entry) ([]AppendResult, error) {
			if entries[0].Key == "a/"+key && entries[0].Rev == 1 {
				time.Sleep(100 * time.Millisecond)
			}
			return next.Append(ctx, entries)
		}}
		w := newWorld(t, store, &Options{Policy: threeSteps, Pager: &pager{}, Lanes: 64})
		defer w.close()
		a, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		time.Sleep(210*time.Second + 50*time.Millisecond)
		_, err = w.hub.Answer(t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerAccept})
		require.NoError(t, err)
		time.Sleep(time.Second)
		c, err := w.hub.Alert(t.Context(), SystemPatient, key)
		require.NoError(t, err)
		require.Equal(t, ConditionOver, c.Condition)
	})
}

// trouble gives an alert a trouble; "" ends it.
func (b *workbench) trouble(key, trouble string) Alert {
	b.t.Helper()
	require.NoError(b.t, b.change(context.Background(), "p1", key, false, func(prev *Alert, _ time.Time) (Alert, error) {
		a := *prev
		a.Escalation.trouble = trouble
		return a, nil
	}))
	return b.alert("p1", key)
}

// There is one complaint for all alerts with the same trouble, as urgent as the
// most urgent of them. It ends with the last of them, but not while one is not
// recorded yet.
func TestComplaintsAreSharedByTheirAlerts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newWorkbench(t, NewMemoryStore(nil))
		c := newComplaints(b.core, b.raise, nil)
		for _, p := range []Priority{PriorityLow, PriorityHigh, PriorityMedium} {
			require.NoError(t, b.raise(t.Context(), Raise{Patient: "p1", Key: string(p), Text: "x", Priority: p}))
		}
		b.raised = nil
		for _, p := range []Priority{PriorityLow, PriorityHigh, PriorityMedium} {
			a := b.trouble(string(p), troubleNobody)
			require.NoError(t, c.complainOf(t.Context(), &a, true))
		}
		require.Equal(t, []string{troubleNobody, troubleNobody}, b.keys(), "the medium one is less urgent than the complaint")
		complaint := b.alert(SystemPatient, troubleNobody)
		require.Equal(t, PriorityHigh, complaint.Priority)
		require.Equal(t, AlertRef{Patient: "p1", Key: "high"}, AlertRef{Patient: complaint.About.Patient, Key: complaint.About.Key})
		require.NoError(t, c.complainOf(t.Context(), &complaint, true), "of a complaint")
		require.Len(t, b.keys(), 2)

		over := func() bool {
			time.Sleep(time.Second)
			return b.alert(SystemPatient, troubleNobody).Condition == ConditionOver
		}
		for _, p := range []Priority{PriorityLow, PriorityMedium} {
			a := b.trouble(string(p), "")
			c.endResolved(&a)
			require.False(t, over(), p)
		}
		held := b.alert("p1", "high")
		release := c.hold(&held)
		a := b.trouble("high", "")
		c.endResolved(&a)
		require.False(t, over(), "one is not recorded yet")
		release()
		c.endResolved(&a)
		require.True(t, over())
	})
}

// An entry that cannot be read is reported once a minute, each by itself.
func TestUnreadableIsSaidOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newWorkbench(t, NewMemoryStore(nil))
		c := newComplaints(b.core, b.raise, nil)
		one, other := &Entry{Patient: "p1", Key: "a/k"}, &Entry{Patient: "p2", Key: "a/k"}
		for range 60 {
			c.unreadable(t.Context(), one, "x", "Nobody is told.")
			time.Sleep(time.Second)
		}
		require.Len(t, b.keys(), 1)
		c.unreadable(t.Context(), other, "x", "Nobody is told.")
		c.unreadable(t.Context(), one, "x", "Nobody is told.")
		require.Len(t, b.keys(), 3)
		require.NotEqual(t, b.keys()[0], b.keys()[1])
		require.Equal(t, b.keys()[0], b.keys()[2])
		require.NotContains(t, b.keys()[0], "p1")
	})
}

// A source with too many alerts is reported once, under a key that does not name it.
// The complaint ends when half of the alerts have ended.
func TestCrowdedIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newWorkbench(t, NewMemoryStore(nil))
		c := newComplaints(b.core, b.raise, func(fromKey) int { return 4 })
		for _, key := range []string{"a", "b", "c", "d"} {
			require.NoError(t, b.raise(t.Context(), Raise{Patient: "p1", Key: key, Text: "x", Priority: PriorityLow}))
		}
		b.raised = nil
		for range 3 {
			require.NoError(t, c.crowded(t.Context(), hostSender, AlertRef{Patient: "p1", Key: "e"}))
		}
		require.NoError(t, c.crowded(t.Context(), hostSender, AlertRef{Patient: SystemPatient, Key: "e"}))
		require.Len(t, b.keys(), 1)
		require.NotContains(t, b.keys()[0], hostSender)
		for i, key := range []string{"a", "b", "c"} {
			require.NoError(t, b.change(t.Context(), "p1", key, false, func(prev *Alert, now time.Time) (Alert, error) { return dismissAlert(prev, now), nil }))
			a := b.alert("p1", key)
			c.endResolved(&a)
			time.Sleep(time.Second)
			require.Equal(t, i >= 1, b.alert(SystemPatient, b.keys()[0]).Condition == ConditionOver, key)
		}
	})
}

// If somebody has accepted a complaint, another alert with that trouble calls
// people again, once; a Policy that fails for all alerts does not.
func TestAcceptedComplaintCallsForAnotherAlert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for rule := range troubleText {
			b := newWorkbench(t, NewMemoryStore(nil))
			c := newComplaints(b.core, b.raise, nil)
			complain := func(key string, p Priority, isNew bool) Alert {
				require.NoError(t, b.raise(t.Context(), Raise{Patient: "p1", Key: key, Text: "x", Priority: p}))
				a := b.trouble(key, rule)
				require.NoError(t, c.complainOf(t.Context(), &a, isNew))
				return b.alert(SystemPatient, rule)
			}
			accept := func() {
				require.NoError(t, b.change(t.Context(), SystemPatient, rule, false, func(prev *Alert, now time.Time) (Alert, error) {
					return answerAlert(prev, Answer{Do: AnswerAccept}, Person{ID: "admin"}, nil, now)
				}))
			}
			first := complain("first", PriorityHigh, true)
			require.Equal(t, "first", first.About.Key)
			accept()
			repeated := complain("first", PriorityHigh, false)
			require.Equal(t, ResponsibilityAccepted, repeated.Responsibility.State, rule)
			another := complain("another", PriorityLow, true)
			if rule == troublePolicy {
				require.Equal(t, ResponsibilityAccepted, another.Responsibility.State)
				continue
			}
			require.Equal(t, ResponsibilityUndefined, another.Responsibility.State, rule)
			require.Equal(t, EscalationDue, another.Escalation.State, rule)
			require.Equal(t, "another", another.About.Key)
			require.Equal(t, PriorityHigh, another.Priority, "of the most urgent alert with the trouble")
		}
	})
}

// A supervisor has accepted that nobody answers for one patient: the same for
// another patient is told, and repeats of both are not.
func TestSecondExhaustedAlertIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{Policy: threeSteps, Pager: &pager{}})
		defer w.close()
		about := AlertRef{Patient: SystemPatient, Key: troubleExhausted}
		complaint := func() Alert {
			c, err := w.hub.Alert(t.Context(), about.Patient, about.Key)
			require.NoError(t, err)
			return c
		}
		admin := Principal{ID: "admin", Role: RoleClinician, Patients: []string{SystemPatient}}
		level := 0
		for _, patient := range []string{"p1", "p2"} {
			_, err := w.hub.Raise(t.Context(), Raise{Patient: patient, Key: "k", Text: "x", Priority: PriorityHigh})
			require.NoError(t, err)
			time.Sleep(4*time.Minute + 300*time.Millisecond) // between two rounds of the escalator
			c := complaint()
			require.Equal(t, patient, c.About.Patient)
			require.Equal(t, ResponsibilityUndefined, c.Responsibility.State)
			require.Greater(t, c.Escalation.Level, level, "people are told")
			level = c.Escalation.Level
			_, err = w.hub.Answer(t.Context(), admin, about, Answer{Do: AnswerAccept, For: time.Hour})
			require.NoError(t, err)
		}
		time.Sleep(50 * time.Minute)
		c := complaint()
		require.Equal(t, ResponsibilityAccepted, c.Responsibility.State)
		require.Equal(t, level, c.Escalation.Level)
	})
}

// Test alerts take no room of real ones, and a flood of them is reported by a
// test alert.
func TestDrillsTakeNoRoomOfRealAlerts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxAlerts: 1})
		defer w.close()
		raise := func(i int, test bool) error {
			_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: fmt.Sprint("k", i), Text: "x", Priority: PriorityLow, Test: test})
			return err
		}
		complaint := func(test bool) *Alert {
			synctest.Wait()
			a, err := w.hub.alerts.newest(t.Context(), change{patient: SystemPatient, key: crowdedKey(hostSender), test: test})
			require.NoError(t, err)
			return a
		}
		for i := range hostRoom {
			require.NoError(t, raise(i, true))
		}
		require.Error(t, raise(hostRoom, true))
		require.NotNil(t, complaint(true))
		require.Nil(t, complaint(false), "a drill is no real alert")
		for i := range hostRoom {
			require.NoError(t, raise(i, false), "real alerts have their own room")
		}
		require.Error(t, raise(hostRoom, false))
		require.Equal(t, ConditionPresent, complaint(false).Condition)
		for i := range hostRoom {
			_, err := w.hub.Clear(t.Context(), AlertRef{Patient: "p1", Key: fmt.Sprint("k", i), Test: true})
			require.NoError(t, err)
			_, err = w.hub.Answer(t.Context(), people["nurse"], AlertRef{Patient: "p1", Key: fmt.Sprint("k", i), Test: true}, Answer{Do: AnswerClose, Reason: "x"})
			require.NoError(t, err)
		}
		require.Equal(t, ConditionOver, complaint(true).Condition)
		require.Equal(t, ConditionPresent, complaint(false).Condition, "the real flood goes on")
	})
}
