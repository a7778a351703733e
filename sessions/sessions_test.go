package sessions_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/carewiretest"
	"github.com/carewire/carewire/sessions"
)

// table is a host's sessions of one nurse, by the values of their cookies.
type table struct {
	mu  sync.Mutex
	all map[string]carewire.Principal
}

func (h *table) find(_ context.Context, value string) (carewire.Principal, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.all[value]
	if !ok || !p.Expires.After(time.Now()) {
		return p, carewire.ErrUnauthenticated
	}
	return p, nil
}

// touch begins a session, or prolongs it by ten minutes.
func (h *table) touch(value string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.all[value]
	if !ok {
		p = carewire.Principal{ID: "ada", Role: carewire.RoleClinician, Patients: []string{"p1"}, Issued: time.Now()}
	}
	p.Expires = time.Now().Add(10 * time.Minute)
	h.all[value] = p
}

func (h *table) drop(value string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, value)
}

// hospital is a Hub with cookies, in memory.
func hospital(t *testing.T) (*table, *sessions.Cookies, *carewire.Hub, func(value string) (*carewire.Client, error)) {
	host := &table{all: make(map[string]carewire.Principal)}
	cookies := sessions.New("sid", host.find)
	hub, err := carewire.New(cookies, carewire.NewMemoryStore(nil), nil)
	require.NoError(t, err)
	t.Cleanup(func() { hub.Shutdown(context.Background()) })
	server := carewiretest.Serve(t, hub)
	return host, cookies, hub, func(value string) (*carewire.Client, error) {
		return server.TryDial("/", &carewire.DialOptions{Header: carewiretest.Browser(&http.Cookie{Name: "sid", Value: value})})
	}
}

// A live connection goes on while its session slides, and ends with it.
func TestSlidingSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, _, hub, dial := hospital(t)
		host.touch("one")
		c, err := dial("one")
		require.NoError(t, err)
		defer c.Close()
		for range 12 {
			time.Sleep(5 * time.Minute)
			host.touch("one")
		}
		require.EqualValues(t, 1, hub.Stats().Handshakes.Tried, "it has never come back: one connection for an hour")
		time.Sleep(11 * time.Minute)
		require.Zero(t, hub.Stats().Connections, "nobody has done anything for ten minutes")
		require.NotZero(t, hub.Stats().Handshakes.Unauthenticated, "the client has tried to come back")
	})
}

// Logging out ends that session's connections, and nothing else; everywhere, all
// sessions that there were.
func TestLogout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, cookies, hub, dial := hospital(t)
		host.touch("one")
		host.touch("two")
		one, err := dial("one")
		require.NoError(t, err)
		defer one.Close()
		two, err := dial("two")
		require.NoError(t, err)
		defer two.Close()
		r := httptest.NewRequest("POST", "/logout", nil)
		require.NoError(t, cookies.Logout(r, hub), "without a cookie")
		r.AddCookie(&http.Cookie{Name: "sid", Value: "one"})
		require.NoError(t, cookies.Logout(r, hub))
		synctest.Wait()
		require.Equal(t, 1, hub.Stats().Connections)
		_, err = dial("one")
		require.ErrorIs(t, err, carewire.ErrForbidden, "though the host has not ended it yet")
		host.drop("one")
		require.NoError(t, cookies.Logout(r, hub), "again")

		time.Sleep(time.Second)
		require.NoError(t, hub.Revoke(t.Context(), carewire.Revocation{Principal: "ada"}))
		synctest.Wait()
		require.Zero(t, hub.Stats().Connections)
		_, err = dial("two")
		require.ErrorIs(t, err, carewire.ErrForbidden)
		time.Sleep(time.Second)
		host.touch("three")
		three, err := dial("three")
		require.NoError(t, err)
		three.Close()
	})
}

// A host with sessions of its own gives its users carewire by their cookies.
func Example() {
	find := func(ctx context.Context, value string) (carewire.Principal, error) {
		if value != "4711" { // look into the host's own table
			return carewire.Principal{}, carewire.ErrUnauthenticated
		}
		return carewire.Principal{ID: "ada", Role: carewire.RoleClinician, Patients: []string{"p-17"}, Issued: time.Now().Add(-time.Hour), Expires: time.Now().Add(time.Hour)}, nil
	}
	cookies := sessions.New("sid", find)
	hub, err := carewire.New(cookies, carewire.NewMemoryStore(nil), nil)
	if err != nil {
		panic(err)
	}
	defer hub.Shutdown(context.Background())

	mux := http.NewServeMux()
	mux.Handle("/carewire", hub)
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if err := cookies.Logout(r, hub); err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "sid", MaxAge: -1})
	})
	r := httptest.NewRequest("POST", "/logout", nil)
	r.AddCookie(&http.Cookie{Name: "sid", Value: "4711"})
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	fmt.Println(w.Code)
	// Output: 200
}
