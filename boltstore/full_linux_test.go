package boltstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/carewiretest"
	"github.com/carewire/carewire/internal/smalldisk"
)

// A real disk fills under a Hub. Vitals are refused and watchers told so, while
// alerts are raised, paged and answered from the reserve; with room again all
// goes on, and everything that was confirmed is in the file.
func TestHubOnAFullDisk(t *testing.T) {
	smalldisk.Run(t, "24m", func(t *testing.T, dir string) {
		path := filepath.Join(dir, "store")
		s := open(t, path, &Options{Reserve: 4 << 20})
		var door carewiretest.Door
		pages := &carewiretest.Recorder{}
		hub, err := carewire.New(&door, s, &carewire.Options{Pager: pages, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		server := carewiretest.Serve(t, hub)
		staff := carewire.Principal{ID: "nurse", Role: carewire.RoleClinician, Patients: []string{"p1"}}
		nurse := server.Dial("/", door.Token(staff))
		_, err = nurse.Watch(t.Context(), carewire.WatchOptions{Patients: []string{"p1"}, Delivery: carewire.DeliverAlerts})
		require.NoError(t, err)
		free := smalldisk.Fill(t, dir, 4<<20)

		taken, n := 0, 0
		publish := func() error {
			vitals := make([]carewire.Vital, 100)
			for i := range vitals {
				n++
				vitals[i] = carewire.HeartRate.Of("p1", float64(n%200))
				vitals[i].ID, vitals[i].Device = fmt.Sprint("v", n), strings.Repeat("d", 60)
			}
			results, err := hub.Publish(t.Context(), vitals...)
			for _, r := range results {
				if r.Err == nil {
					taken++
				}
			}
			return err
		}
		for err = publish(); err == nil; err = publish() {
			require.Less(t, n, 100_000)
		}
		require.ErrorIs(t, err, carewire.ErrFull)
		e := carewiretest.Await(t, nurse, carewiretest.OfType(carewire.EventStatus))
		require.Equal(t, "failing", e.Store)
		const alerts = 5
		for i := range alerts {
			a, err := hub.Raise(t.Context(), carewire.Raise{Patient: "p1", Key: fmt.Sprint("k", i), Text: "x", Priority: carewire.PriorityHigh, To: []string{"person:nurse"}})
			require.NoError(t, err)
			require.ErrorIs(t, publish(), carewire.ErrFull)
			pages.Pages(t, i+1)
			_, err = hub.Answer(t.Context(), staff, a.Ref(), carewire.Answer{Do: carewire.AnswerAccept})
			require.NoError(t, err)
		}
		require.NoError(t, hub.Ready(), "alerts are still taken")

		free()
		for end := time.Now().Add(time.Minute); publish() != nil; {
			require.True(t, time.Now().Before(end), "vitals are refused though there is room")
		}
		carewiretest.Await(t, nurse, func(e carewire.Event) bool { return e.Type == carewire.EventStatus && e.Store == "ok" })
		require.NoError(t, hub.Shutdown(context.Background()))
		require.NoError(t, s.Close())

		s = open(t, path, small())
		vitals, accepted, last := 0, 0, carewire.Position{}
		for {
			page, err := s.Read(t.Context(), "p1", last, carewire.ReadQuery{})
			require.NoError(t, err)
			for _, e := range page {
				require.Equal(t, last.Seq+1, e.Seq)
				last = e.Position
				if e.Kind == carewire.KindVital {
					vitals++
				}
			}
			if len(page) == 0 {
				break
			}
		}
		require.Equal(t, taken, vitals)
		open, _, err := s.Latest(t.Context(), "p1")
		require.NoError(t, err)
		for _, e := range open {
			if a := (carewire.Alert{}); e.Kind == carewire.KindAlert && a.UnmarshalJSON(e.Data) == nil && a.Responsibility.State == carewire.ResponsibilityAccepted {
				accepted++
			}
		}
		require.Equal(t, alerts, accepted)
	})
}

// The file system is full when the store is opened for the first time.
func TestOpenOnAFullDisk(t *testing.T) {
	smalldisk.Run(t, "2m", func(t *testing.T, dir string) {
		path := filepath.Join(dir, "store")
		free := smalldisk.Fill(t, dir, 0)
		s, err := Open(path, small())
		if err == nil { // then it says so
			_, err = s.Append(t.Context(), []carewire.Entry{alert("a", "x", 1)})
			_ = s.Close()
		}
		require.Error(t, err)
		require.False(t, errors.Is(err, ErrCorrupt))
		free()
		add(t, open(t, path, small()), alert("a", "x", 1))
	})
}
