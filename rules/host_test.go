package rules

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// A mistake of the host keeps no other patient from being judged: an ID that is none,
// or a callback that panics.
func TestHostsMistakes(t *testing.T) {
	good := func(context.Context) ([]string, error) { return []string{"p1"}, nil }
	calls := 0
	for name, o := range map[string]Options{
		"an ID that is none": {Patients: func(context.Context) ([]string, error) {
			return []string{"p 0", "", "p1", strings.Repeat("x", 65)}, nil
		}},
		"Patients panics, once": {Poll: time.Second, Patients: func(ctx context.Context) ([]string, error) {
			if calls++; calls == 2 {
				panic("p1")
			}
			return good(ctx)
		}},
		"To panics": {Patients: good, To: func(string) []string { panic("p1") }},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			synctest.Test(t, func(t *testing.T) {
				w := newWard(t, carewire.NewMemoryStore(nil))
				defer w.close()
				o.Logger = slog.New(slog.NewTextHandler(&out, nil))
				j, err := New(w.hub, mustSet(t, high(Timing{})), &o)
				require.NoError(t, err)
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- j.Run(ctx) }()
				time.Sleep(5 * time.Second)
				w.rate(100, 200)
				stop()
				<-done
				require.Len(t, w.alerts("hr-high"), 1)
			})
			require.Contains(t, out.String(), "level=WARN")
			require.NotContains(t, out.String(), "p1")
			require.NotContains(t, out.String(), "p 0")
		})
	}
}
