package boltstore

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// A Hub whose store's file is deleted or replaced takes nothing more, and is not
// ready, unasked.
func TestHubWhoseFileIsGone(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(path string) error{
		"deleted":  os.Remove,
		"replaced": func(path string) error { return os.WriteFile(path+".new", nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			s := open(t, path, small())
			auth := carewire.AuthenticatorFunc(func(*http.Request) (carewire.Principal, error) {
				return carewire.Principal{}, carewire.ErrUnauthenticated
			})
			hub, err := carewire.New(auth, s, &carewire.Options{Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			defer hub.Shutdown(context.Background())
			_, err = hub.Publish(t.Context(), carewire.HeartRate.Of("a", 60))
			require.NoError(t, err)
			require.NoError(t, hub.Ready())
			require.NoError(t, harm(path))
			if name == "replaced" {
				require.NoError(t, os.Rename(path+".new", path))
			}
			deadline := time.After(time.Minute)
			for hub.Ready() == nil { // nobody appends: the Hub asks by itself
				select {
				case <-time.After(10 * time.Millisecond):
				case <-deadline:
					t.Fatal("the Hub goes on saying that it is ready")
				}
			}
			_, err = hub.Raise(t.Context(), carewire.Raise{Patient: "a", Text: "x", Priority: carewire.PriorityHigh})
			require.Error(t, err)
			_, err = hub.Publish(t.Context(), carewire.HeartRate.Of("a", 61))
			require.Error(t, err)
		})
	}
}
