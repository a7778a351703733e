package carewire

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Two Hubs on one Store that change a value at once lose no change.
func TestShareLosesNoChange(t *testing.T) {
	store := NewMemoryStore(nil)
	var hubs []*Hub
	for range 2 {
		h, err := New(AuthenticatorFunc(byToken), store, &Options{Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		t.Cleanup(func() { h.Shutdown(context.Background()) })
		hubs = append(hubs, h)
	}
	one := func(old []byte) []byte {
		n, _ := strconv.Atoi(string(old))
		return strconv.AppendInt(nil, int64(n+1), 10)
	}
	var wg sync.WaitGroup
	var failed sync.Map
	for _, h := range hubs {
		wg.Go(func() {
			for done := 0; done < 50; {
				switch _, err := h.Share(t.Context(), "count", one); err {
				case nil:
					done++
				case ErrBusy: // twenty races lost in a row
				default:
					failed.Store(err, true)
					return
				}
			}
		})
	}
	wg.Wait()
	failed.Range(func(err, _ any) bool { t.Errorf("Share: %v", err); return true })
	got, err := hubs[0].Share(t.Context(), "count", func([]byte) []byte { return nil })
	require.NoError(t, err)
	require.Equal(t, "100", string(got))
}

func TestShareRefusesInvalidValues(t *testing.T) {
	h := benchHub(t)
	for name, value := range map[string]string{"a b": "1", "": "1", "broken": "{", "long": `"` + strings.Repeat("x", maxShared) + `"`} {
		_, err := h.Share(t.Context(), name, func([]byte) []byte { return []byte(value) })
		require.ErrorAs(t, err, new(*ValidationError), name)
	}
	got, err := h.Share(t.Context(), "none", func([]byte) []byte { return nil })
	require.NoError(t, err)
	require.Nil(t, got)
}
