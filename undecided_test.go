package carewire

import (
	"context"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

type allows func(context.Context, Access) ([]Decision, error)

func (f allows) Authorize(ctx context.Context, a Access) ([]Decision, error) { return f(ctx, a) }

// Where the host's code does not answer, a client hears that it may try again, and
// not that it may not.
func TestUndecidedIsNotForbidden(t *testing.T) {
	for name, fails := range map[string]func(context.Context) error{
		"hangs":  func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"panics": func(context.Context) error { panic("host") },
		"says":   func(context.Context) error { return ErrUndecided },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var failing atomic.Bool
				w := newWorld(t, nil, &Options{
					Resolve: func(ctx context.Context, _ Principal, v *Vital) error {
						if v.Device == "unknown" {
							return ErrNotFound
						}
						if failing.Load() {
							return fails(ctx)
						}
						v.Patient = "p1"
						return nil
					},
					Authorizer: allows(func(ctx context.Context, a Access) ([]Decision, error) {
						if failing.Load() && a.Action == ActionClear {
							return nil, fails(ctx)
						}
						list := make([]Decision, len(a.Patients))
						for i := range list {
							list[i].Allow = true
						}
						return list, nil
					})})
				defer w.close()
				_, err := w.hub.Raise(t.Context(), high("k"))
				require.NoError(t, err)
				d := w.dial("device")
				failing.Store(true)
				code := func(o object) any {
					list, ok := o["results"].([]any)
					if !ok {
						return o["code"]
					}
					e, _ := valueAt(list, 0, "error").(object)
					return e["code"]
				}
				vital := `{"type":"publish","req":"1","vitals":[{"code":"8867-4","value":60,"unit":"/min","device":"mon-1"}]}`
				require.Equal(t, "undecided", code(d.ask(vital)))
				require.Equal(t, "forbidden", code(d.ask(`{"type":"publish","req":"2","vitals":[{"code":"8867-4","value":60,"unit":"/min","device":"unknown"}]}`)))
				failing.Store(false)
				require.Nil(t, code(d.ask(vital)))
			})
		})
	}
}

// A notice to people who have left ends by itself; a negative life lets it stay.
func TestNoticesEnd(t *testing.T) {
	for life, want := range map[time.Duration]int{0: 1, time.Minute: 0, -1: 1} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil, &Options{NoticeLife: life})
			defer w.close()
			_, err := w.hub.Notify(t.Context(), Notice{Patient: "p1", To: []string{"person:gone"}, Text: "hello"})
			require.NoError(t, err)
			time.Sleep(59 * time.Second)
			items, _, err := w.hub.Open(t.Context(), OpenQuery{})
			require.NoError(t, err)
			require.Len(t, items, 1)
			time.Sleep(3 * time.Second)
			items, _, err = w.hub.Open(t.Context(), OpenQuery{})
			require.NoError(t, err)
			require.Len(t, items, want, life)
		})
	}
}

// While the Store fails, a retry costs one goroutine for each thing, and all of them
// end with Shutdown.
func TestFailingStoreGathersNoGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refused atomic.Bool
		store := &seam{Store: NewMemoryStore(nil), appending: func(next Store, ctx context.Context, entries []Entry) ([]AppendResult, error) {
			if refused.Load() && !slices.ContainsFunc(entries, func(e Entry) bool { return e.Kind != KindTimer }) {
				return nil, errInjected
			}
			return next.Append(ctx, entries)
		}}
		w := newWorld(t, store, nil)
		sends(t, w, "p1", "mon-0", 5*time.Second)
		synctest.Wait()
		before := runtime.NumGoroutine()
		refused.Store(true)
		for n := range 600 {
			sends(t, w, "p1", "mon-1", time.Duration(600-n)*time.Minute) // each brings the timer forward
			time.Sleep(time.Second)
		}
		synctest.Wait()
		require.Less(t, runtime.NumGoroutine(), before+10)
		w.close()
	})
}

// The Hub knows whether alerts reach anybody.
func TestNobodyToTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		require.True(t, w.hub.Stats().NobodyToTell)
		w.dial("device")
		require.True(t, w.hub.Stats().NobodyToTell)
		c := w.dial("nurse")
		c.until("welcome")
		require.False(t, w.hub.Stats().NobodyToTell)
		paged := newWorld(t, nil, &Options{Pager: &pager{}})
		defer paged.close()
		require.False(t, paged.hub.Stats().NobodyToTell)
	})
}

// An Origin that is the request's own is allowed, with or without the port that its
// scheme has by itself.
func TestOwnOrigins(t *testing.T) {
	for _, c := range []struct {
		origin, host string
		want         bool
	}{
		{"https://h:443", "h", true},
		{"https://h", "h:443", true},
		{"https://h:444", "h", false},
		{"https://h:80", "h", false},
		{"http://192.168.1.5:8080", "192.168.1.5:8080", true},
		{"http://10.0.0.1:80", "10.0.0.1", true},
		{"http://192.168.1.5", "192.168.1.6", false},
		{"http://8.8.8.8", "8.8.8.8", false},
		{"http://h", "h", false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = c.host
		r.Header.Set("Origin", c.origin)
		require.Equal(t, c.want, originAllowed(r, nil), c.origin)
	}
}
