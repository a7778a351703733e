package carewire

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTurns(t *testing.T) {
	var q turns[int]
	for i := range 10 {
		q.add("much", i)
	}
	q.add("little", 100)
	q.add("little", 101)
	require.Equal(t, []int{0, 1, 2, 100}, q.take(nil, 4, 3), "each has a turn")
	q.putBack("much", 1, 2)
	require.Equal(t, []int{1, 2, 3, 101, 4, 5, 6, 7}, q.take(nil, 8, 3), "an item that is put back is the next, and a lone sender takes all")
	require.Equal(t, []int{8, 9}, q.take(nil, 8, 3))
	require.Empty(t, q.take(nil, 8, 3))
	require.Empty(t, q.bySender)
}

// One principal that sends more than the Store takes finds no room itself, and
// another's vital goes with the next append. The same holds for patients whom nobody
// knows yet.
func TestBusySenderDelaysNobody(t *testing.T) {
	for _, known := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			store := &seam{Store: NewMemoryStore(nil), appending: func(next Store, ctx context.Context, entries []Entry) ([]AppendResult, error) {
				time.Sleep(time.Duration(len(entries)) * time.Millisecond)
				return next.Append(ctx, entries)
			}}
			w := newWorld(t, &slowLatest{store}, &Options{Lanes: 1})
			defer w.close()
			much, little := &Principal{ID: "much", Role: RoleService, Patients: numberedPatients(intakeMax)}, &Principal{ID: "little", Role: RoleService, Patients: []string{"p1"}}
			publish := func(p *Principal, patient string) chan error {
				done := make(chan error, 1)
				w.hub.publish(t.Context(), p, []Vital{HeartRate.Of(patient, 60)}, nil, func(r []PublishResult) { done <- r[0].Err })
				return done
			}
			require.NoError(t, <-publish(little, "p1"))
			var waiting []chan error
			for i := range intakeMax {
				patient := "m0"
				if !known {
					patient = fmt.Sprint("m", i)
				}
				waiting = append(waiting, publish(much, patient))
			}
			begun := time.Now()
			require.NoError(t, <-publish(little, "p1"))
			require.Less(t, time.Since(begun), 2*(batchMax+1)*time.Millisecond)
			refused := 0
			for _, w := range waiting {
				if <-w != nil {
					refused++
				}
			}
			require.InDelta(t, intakeMax/2, refused, batchMax)
		})
	}
}

// slowLatest is a Store whose Latest takes a while.
type slowLatest struct{ Store }

func (s *slowLatest) Latest(ctx context.Context, patient string) ([]Entry, Head, error) {
	time.Sleep(5 * time.Millisecond)
	return s.Store.Latest(ctx, patient)
}

func numberedPatients(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprint("m", i))
	}
	return list
}
