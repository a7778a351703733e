package carewire

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// I1: nothing is delivered, and no sender told ok, before Append returned.
func TestNothingIsToldBeforeItIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		s := &seam{Store: NewMemoryStore(nil)}
		s.appending = func(next Store, ctx context.Context, e []Entry) ([]AppendResult, error) {
			<-hold
			return next.Append(ctx, e)
		}
		w := newWorld(t, s, nil)
		defer w.close()
		nurse := w.watching("nurse", "latest")
		defer nurse.ws.CloseNow()
		got := make(chan object, 1)
		go func() { got <- nurse.read() }()
		published := make(chan error, 1)
		go func() {
			_, err := w.hub.Publish(context.Background(), HeartRate.Of("p1", 72))
			published <- err
		}()
		synctest.Wait()
		require.Empty(t, got)
		require.Empty(t, published)
		close(hold)
		require.NoError(t, <-published)
		require.Equal(t, "vital", (<-got)["type"])
	})
}

// I1: an error of Append means that the outcome is unknown. An entry that was
// written all the same is delivered, once, and a repeated send is recognised.
func TestUnknownOutcomeIsToldAndFilledIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &seam{Store: NewMemoryStore(nil)}
		fail := true
		s.appending = func(next Store, ctx context.Context, e []Entry) ([]AppendResult, error) {
			a, err := next.Append(ctx, e)
			if fail {
				fail = false
				return nil, errInjected // written, and yet an error
			}
			return a, err
		}
		w := newWorld(t, s, nil)
		defer w.close()
		nurse, device := w.watching("nurse", "every"), w.dial("device")
		defer nurse.ws.CloseNow()
		defer device.ws.CloseNow()
		frame := `{"type":"publish","req":"%s","vitals":[{"patient":"p1","code":"8867-4","value":7%s,"unit":"/min","vital_id":"v%s"}]}`
		first := device.ask(fmt.Sprintf(frame, "1", "1", "1"))
		require.Equal(t, "unknown", valueAt(first, "results", 0, "error", "code"))
		again := device.ask(fmt.Sprintf(frame, "2", "1", "1"))
		require.Equal(t, object{"seq": 1.0, "repeated": true}, valueAt(again, "results", 0))
		device.ask(fmt.Sprintf(frame, "3", "2", "2"))
		require.Equal(t, 1, seqOf(nurse.until("vital")))
		require.Equal(t, 2, seqOf(nurse.until("vital")))
	})
}

// I1, I2: entries that another node has appended are filled in, in order,
// without a hole.
func TestForeignEntriesAreFilledIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore(nil)
		w := newWorld(t, store, nil)
		defer w.close()
		nurse := w.watching("nurse", "every")
		defer nurse.ws.CloseNow()
		other, err := New(AuthenticatorFunc(byToken), store, nil)
		require.NoError(t, err)
		defer other.Shutdown(context.Background())
		for i := range 5 {
			_, err := other.Publish(t.Context(), HeartRate.Of("p1", float64(60+i)))
			require.NoError(t, err)
		}
		_, err = w.hub.Publish(t.Context(), HeartRate.Of("p1", 80))
		require.NoError(t, err)
		for i := range 6 {
			require.Equal(t, i+1, seqOf(nurse.until("vital")))
		}
		_, err = other.Publish(t.Context(), HeartRate.Of("p1", 90)) // and without anything of our own
		require.NoError(t, err)
		require.Equal(t, 7, seqOf(nurse.until("vital")))
	})
}

// Many entries of another node hold up nobody: the watches read them.
func TestManyForeignEntriesDelayNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := NewMemoryStore(&MemoryOptions{Vitals: -1})
		store := &slowReads{Store: inner}
		w := newWorld(t, store, nil)
		defer w.close()
		nurse := w.watching("nurse", "every")
		defer nurse.ws.CloseNow()
		_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 60))
		require.NoError(t, err)
		other, err := New(AuthenticatorFunc(byToken), inner, nil)
		require.NoError(t, err)
		defer other.Shutdown(context.Background())
		for range fillMax + 1 {
			_, err := other.Publish(t.Context(), HeartRate.Of("p1", 70))
			require.NoError(t, err)
		}
		began := time.Now()
		store.slow.Store(true)
		_, err = w.hub.Publish(t.Context(), HeartRate.Of("p1", 80))
		require.NoError(t, err)
		require.Zero(t, time.Since(began))
		store.slow.Store(false)
		for i := range fillMax + 3 {
			require.Equal(t, i+1, seqOf(nurse.until("vital")))
		}
	})
}

// An alert that another node has taken in reaches watchers within a second, and
// needs no wake-up for it.
func TestForeignAlertNeedsNoWakeUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore(nil)
		w := newWorld(t, store, nil)
		defer w.close()
		nurse := w.watching("nurse", "latest")
		defer nurse.ws.CloseNow()
		other, err := New(AuthenticatorFunc(byToken), store, nil)
		require.NoError(t, err)
		defer other.Shutdown(context.Background())
		for i := range 5 { // at different moments of all that is regular
			time.Sleep(1300 * time.Millisecond)
			raised := time.Now()
			_, err := other.Raise(t.Context(), Raise{Patient: "p1", Key: fmt.Sprint("k", i), Text: "x", Priority: PriorityHigh})
			require.NoError(t, err)
			for key := ""; key != fmt.Sprint("k", i); {
				key, _ = valueAt(nurse.until("alert"), "alert", "key").(string)
			}
			require.LessOrEqual(t, time.Since(raised), time.Second)
		}
	})
}

// I4: a head is never sent before the events that it counts.
func TestForeignAlertComesBeforeTheHeadThatCountsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore(nil)
		w := newWorld(t, store, nil)
		defer w.close()
		nurse := w.watching("nurse", "latest")
		defer nurse.ws.CloseNow()
		now := time.Now()
		_, err := store.Append(t.Context(), []Entry{{Patient: "p1", Kind: KindNotice, Key: "n/1", Rev: 1, Audience: AudienceAll, Time: now, Received: now, Data: []byte(`{"text":"x"}`)}})
		require.NoError(t, err)
		for {
			o := nurse.read()
			if o["type"] == "notice" {
				return
			}
			if o["type"] == "head" {
				require.EqualValues(t, 0, valueAt(o, "heads", 0, "must"))
			}
		}
	})
}
