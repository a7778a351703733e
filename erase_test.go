package carewire

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestErase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &notary{}
		w := newWorld(t, nil, &Options{Auditor: n})
		defer w.close()
		w.vitals("p2", 2)
		_, err := w.hub.Notify(t.Context(), Notice{Patient: "p2", ID: "n", To: []string{"person:nurse"}, Text: "x"})
		require.NoError(t, err)
		a, err := w.hub.Raise(t.Context(), Raise{Patient: "p2", Key: "k", Text: "x", Priority: PriorityLow})
		require.NoError(t, err)

		synctest.Wait() // it is told
		before, err := w.store.Read(t.Context(), "p2", Position{}, ReadQuery{})
		require.NoError(t, err)
		require.ErrorIs(t, w.hub.Erase(t.Context(), "p2"), ErrConflict, "an alert is open")
		entries, err := w.store.Read(t.Context(), "p2", Position{}, ReadQuery{})
		require.NoError(t, err)
		require.Equal(t, before, entries, "nothing was changed")

		_, err = w.hub.Clear(t.Context(), a.Ref())
		require.NoError(t, err)
		_, err = w.hub.Answer(t.Context(), people["doctor"], a.Ref(), Answer{Do: AnswerAccept})
		require.NoError(t, err)
		require.NoError(t, w.hub.Erase(t.Context(), "p2"))
		_, err = w.store.Read(t.Context(), "p2", Position{}, ReadQuery{})
		require.ErrorIs(t, err, ErrGap)
		latest, head, err := w.store.Latest(t.Context(), "p2")
		require.NoError(t, err)
		require.Empty(t, latest)
		require.NotZero(t, head.Seq, "numbers go on")
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		require.Equal(t, []any{}, nurse.until("inbox")["items"], "the notice was closed")
		w.vitals("p2", 1)
		synctest.Wait()
		require.Contains(t, n.lines(), "erasure refused code=conflict who=@host asserted=true patient=p2")
		require.Contains(t, n.lines(), "erasure done who=@host asserted=true patient=p2")
	})
}

// An erasure that fails can be called again; a Store that cannot erase says so.
func TestEraseFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &erasing{MemoryStore: NewMemoryStore(nil), err: errors.New("disk of p1")}
		w := newWorld(t, s, nil)
		defer w.close()
		w.vitals("p1", 2)
		err := w.hub.Erase(t.Context(), "p1")
		require.ErrorIs(t, err, errStore)
		require.NotContains(t, err.Error(), "p1")
		s.err = nil
		require.NoError(t, w.hub.Erase(t.Context(), "p1"))
		require.NoError(t, w.hub.Erase(t.Context(), "p1"))

		other := newWorld(t, struct{ Store }{NewMemoryStore(nil)}, nil)
		defer other.close()
		require.ErrorIs(t, other.hub.Erase(t.Context(), "p1"), errors.ErrUnsupported)
	})
}

type erasing struct {
	*MemoryStore
	err error
}

func (s *erasing) Erase(ctx context.Context, patient string) error {
	if s.err != nil {
		return s.err
	}
	return s.MemoryStore.Erase(ctx, patient)
}
