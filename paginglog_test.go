package carewire

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A mistake of the host's in its Policy, and a page that its Pager does not take,
// are counted and logged at once: by the page's key and the type of the cause,
// with no name, on lines that say the time once.
func TestPagingFaultsAreLoggedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		var key string
		policy := func(_ context.Context, a Alert, _ int) (Step, error) {
			if a.Patient == SystemPatient { // the complaint about it
				return Step{To: []string{"role:service"}, After: time.Minute}, nil
			}
			return Step{To: []string{"kim", "person:nurse"}, After: time.Minute}, nil
		}
		w := newWorld(t, nil, &Options{Policy: policy, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Pager: pagerFunc(func(_ context.Context, p Page) error {
				if p.To == "role:service" {
					return nil
				}
				key = p.Key
				return &net.OpError{Op: "dial", Err: errors.New("canary.gateway.example is down")}
			})})
		defer w.close()
		start := time.Now()
		_, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		synctest.Wait()
		require.Zero(t, time.Since(start))
		s := w.hub.Stats()
		require.Equal(t, [3]uint64{1, 1, 1}, [3]uint64{s.BadAddressees, s.PagesFailed, s.LevelsUnreached})
		for _, want := range []string{
			`level=ERROR msg="carewire: a Step of the Policy names somebody in an unknown form, or too many" step=1 place=0`,
			`level=WARN msg="carewire: a page could not be sent" page=` + sealedKey(key) + ` cause=*net.OpError`,
			`level=ERROR msg="carewire: a level of an alert has reached nobody" level=1 priority=high`,
		} {
			require.Equal(t, 1, strings.Count(log.String(), want), want)
		}
		for _, name := range []string{"kim", "nurse", "canary", key} {
			require.NotContains(t, log.String(), name)
		}
		for line := range strings.Lines(log.String()) {
			require.True(t, strings.HasPrefix(line, "time="), line)
			require.Equal(t, 1, strings.Count(line, start.Format("2006-01-02T15:04:05")), line)
		}
	})
}
