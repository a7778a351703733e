package boltstore

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/carewiretest"
)

// A large file, 2.7 GB with `make large`, is opened after a Close and after a crash: its
// open alerts are found, and then it is checked. The times are logged.
func TestOpenALargeFile(t *testing.T) {
	size := int64(20 << 20)
	if longForm {
		size = 2700 << 20
	}
	path := newPath(t)
	s := open(t, path, nil)
	for i := range 1000 {
		add(t, s, alert(fmt.Sprint("patient-", i%500), fmt.Sprint("k", i), 1))
	}
	bytes := func() int64 {
		info, err := os.Stat(path)
		require.NoError(t, err)
		return info.Size()
	}
	n := 0
	for bytes() < size+s.reserve {
		batch := make([]carewire.Entry, 10_000)
		for i := range batch {
			n++
			batch[i] = sample(n)
		}
		add(t, s, batch...)
	}
	crashed := newPath(t) // a copy of the file in use is what a crash leaves
	s.mu.Lock()
	from, err := os.Open(path)
	require.NoError(t, err)
	to, err := os.Create(crashed)
	require.NoError(t, err)
	_, err = io.Copy(to, from)
	s.mu.Unlock()
	require.NoError(t, err)
	require.NoError(t, from.Close())
	require.NoError(t, to.Close())
	require.NoError(t, s.Close())
	for _, c := range []struct{ after, path string }{{"Close", path}, {"a crash", crashed}} {
		began := time.Now()
		s := open(t, c.path, nil)
		found, _, err := s.Changed(t.Context(), "", 2000)
		require.NoError(t, err)
		require.Len(t, found, 1000)
		alerts := time.Since(began)
		require.NoError(t, s.Checked(t.Context()))
		t.Logf("%d bytes, %d vitals, opened after %s: open alerts known after %v, whole check after %v", bytes(), n, c.after, alerts.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		require.NoError(t, s.Close())
	}
}

// Many people are revoked, 10,000 with `make large`, while many notices are open to
// those who stay and vitals are published: all of these come. The latency of a publish
// is logged.
func TestPublishDuringRevocations(t *testing.T) {
	people, items := 200, 200
	if longForm {
		people, items = 10_000, 10_000
	}
	s := open(t, newPath(t), nil)
	var door carewiretest.Door
	hub, err := carewire.New(&door, s, &carewire.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = hub.Shutdown(context.Background()) }) // after the clients have closed
	server := carewiretest.Serve(t, hub)
	for i := range items {
		_, err := hub.Notify(t.Context(), carewire.Notice{Patient: fmt.Sprint("p", i%50), To: []string{"role:clinician"}, Text: "x"})
		require.NoError(t, err)
	}
	var patients []string
	for i := range 50 {
		patients = append(patients, fmt.Sprint("p", i))
	}
	for i := range 20 {
		c := server.Dial("/", door.Token(carewire.Principal{ID: fmt.Sprint("nurse", i), Role: carewire.RoleClinician, Patients: patients}))
		_, err := c.Watch(t.Context(), carewire.WatchOptions{Patients: patients[:5]})
		require.NoError(t, err)
		go func() {
			for range c.Events(t.Context()) { // it reads all
			}
		}()
	}
	publish := func(done <-chan struct{}, most int) (took []time.Duration) {
		for i := 0; i < most; i++ {
			select {
			case <-done:
				return took
			default:
			}
			began := time.Now()
			_, err := hub.Publish(t.Context(), carewire.HeartRate.Of(patients[i%50], float64(60+i%20)))
			require.NoError(t, err)
			took = append(took, time.Since(began))
		}
		return took
	}
	before := publish(nil, 500)
	done := make(chan struct{})
	began, failed := time.Now(), error(nil)
	go func() {
		defer close(done)
		for i := range people {
			if err := hub.Revoke(t.Context(), carewire.Revocation{Principal: fmt.Sprint("other", i)}); err != nil {
				failed = err
				return
			}
		}
	}()
	during := publish(done, 1<<30)
	<-done
	require.NoError(t, failed)
	middle := func(d []time.Duration, of int) time.Duration {
		slices.Sort(d)
		return d[len(d)*of/100].Round(10 * time.Microsecond)
	}
	t.Logf("%d revocations with %d open notices and 20 clients in %v: a publish takes %v (median) and %v (p99), before that %v and %v", people, items, time.Since(began).Round(time.Millisecond),
		middle(during, 50), middle(during, 99), middle(before, 50), middle(before, 99))
}
