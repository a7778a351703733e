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
// node: whoever has accepted the complaint is not asked for it again. If nobody
// had, it stays to be seen, and is raised again when it is true again.
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

// That an alert is accepted while the complaint about it is being written ends
// the complaint, too.
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
