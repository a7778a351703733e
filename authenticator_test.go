package carewire

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A logbook keeps the log.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logbook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// Each result of an Authenticator becomes a status, a reply to a renewed token, a
// count and a line in the log that names nobody.
func TestResultsOfAnAuthenticator(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
		code   string
		logged string
	}{
		"not known":         {ErrUnauthenticated, 401, "unauthorized", ""},
		"known, not let in": {fmt.Errorf("canary-nurse: %w", ErrForbidden), 403, "forbidden", "forbidden=true"},
		"cannot say":        {errors.New("canary-nurse"), 503, "undecided", "forbidden=false"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				book := &logbook{}
				w := newWorld(t, nil, &Options{Logger: book.logger()})
				defer w.close()
				nurse := w.dial("nurse")
				defer nurse.ws.CloseNow()
				w.hub.auth = AuthenticatorFunc(func(*http.Request) (Principal, error) { return Principal{}, c.err })
				_, err := w.tryDial("nurse")
				require.ErrorContains(t, err, fmt.Sprint(c.status))
				r := httptest.NewRequest("POST", "/", strings.NewReader(`{"type":"history","req":"1","patient":"p1"}`))
				r.Header.Set("Content-Type", "application/json")
				rec := httptest.NewRecorder()
				w.hub.ServeHTTP(rec, r)
				assert.Equal(t, c.status, rec.Code)
				require.Equal(t, c.code, nurse.ask(`{"type":"token","req":"t","token":"x"}`)["code"])
				lines := strings.Count(book.String(), "the Authenticator")
				if c.logged == "" {
					assert.Zero(t, lines)
				} else {
					assert.Equal(t, 3, lines)
					assert.Contains(t, book.String(), c.logged)
				}
				assert.NotContains(t, book.String(), "canary")
				assert.Equal(t, map[int]uint64{401: 2}[c.status], w.hub.Stats().Handshakes.Unauthenticated)
				assert.Equal(t, map[int]uint64{403: 2}[c.status], w.hub.Stats().Handshakes.Forbidden)
				for range 1000 {
					w.tryDial("nurse")
				}
				assert.LessOrEqual(t, strings.Count(book.String(), "the Authenticator"), 11, "a flood is logged in part")
			})
		})
	}
}

// The host learns that an alert never existed; a client does not.
func TestAlertsThatNeverWere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		ref := AlertRef{Patient: "p1", Key: "k"}
		_, err := w.hub.Clear(t.Context(), ref)
		require.ErrorIs(t, err, ErrNotFound)
		_, err = w.hub.Answer(t.Context(), people["nurse"], ref, Answer{Do: AnswerAccept})
		require.ErrorIs(t, err, ErrNotFound)
		_, err = w.hub.Answer(t.Context(), people["nurse"], AlertRef{Patient: "p9", Key: "k"}, Answer{Do: AnswerAccept})
		require.ErrorIs(t, err, ErrForbidden, "not the person's patient")
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		for request, want := range map[string][2]string{`"answer","do":"accept"`: {"forbidden", "never"}, `"clear"`: {"undecided", "later"}} { // its raise may be on its way
			reply := nurse.ask(`{"type":` + request + `,"req":"1","event_id":"e","patient":"p1","key":"k","alert_id":"a"}`)
			require.Equal(t, want, [2]string{reply["code"].(string), reply["retry"].(string)})
		}
	})
}

// Strangers of one address do not keep others from the Authenticator.
func TestAuthenticatorPlacesAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := AuthenticatorFunc(func(r *http.Request) (Principal, error) {
			time.Sleep(4 * time.Second)
			return byToken(r)
		})
		w := newWorld(t, nil, &Options{MaxAuthenticating: 16})
		defer w.close()
		w.hub.auth = slow
		sign := func(address string) (time.Duration, error) {
			r, err := http.NewRequest(http.MethodGet, "http://localhost/", nil)
			require.NoError(t, err)
			r.RemoteAddr = address + ":1234"
			r.Header.Set("Authorization", "Bearer nurse")
			begun := time.Now()
			_, err = w.hub.authenticate(r)
			return time.Since(begun), err
		}
		for range 100 {
			go sign("192.0.2.1")
		}
		synctest.Wait()
		took, err := sign("192.0.2.2")
		require.NoError(t, err)
		require.Equal(t, 4*time.Second, took)
		time.Sleep(time.Minute)
		w.hub.doors.places.mu.Lock()
		defer w.hub.doors.places.mu.Unlock()
		require.Empty(t, w.hub.doors.places.byKey)
	})
}

func TestForwardedAddresses(t *testing.T) {
	for said, want := range map[string]string{"192.0.2.1": "192.0.2.1", "192.0.2.1:443": "192.0.2.1", "[2001:db8::1]:443": "2001:db8::1", "[2001:db8::1]": "2001:db8::1", "2001:db8::1": "2001:db8::1"} {
		got, err := parseForwarded(said)
		require.NoError(t, err, said)
		require.Equal(t, netip.MustParseAddr(want), got)
	}
	for _, said := range []string{"", "unknown", "192.0.2.1:x", "[2001:db8::1", "_hidden"} {
		_, err := parseForwarded(said)
		require.Error(t, err, said)
	}
}

// Strangers of many addresses do not keep out addresses from which somebody has
// signed in before.
func TestKnownAddressesHavePlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := AuthenticatorFunc(func(r *http.Request) (Principal, error) {
			time.Sleep(4 * time.Second)
			return byToken(r)
		})
		w := newWorld(t, nil, &Options{MaxAuthenticating: 16})
		defer w.close()
		w.hub.auth = slow
		sign := func(address, token string) (time.Duration, error) {
			r, err := http.NewRequest(http.MethodGet, "http://localhost/", nil)
			require.NoError(t, err)
			r.RemoteAddr = address + ":1234"
			r.Header.Set("Authorization", "Bearer "+token)
			begun := time.Now()
			_, err = w.hub.authenticate(r)
			return time.Since(begun), err
		}
		_, err := sign("192.0.2.1", "nurse")
		require.NoError(t, err)
		for i := range 500 {
			go sign(fmt.Sprint("198.51.100.", i%250), "bad")
		}
		synctest.Wait()
		took, err := sign("192.0.2.1", "nurse")
		require.NoError(t, err)
		require.Equal(t, 4*time.Second, took)
		time.Sleep(time.Minute)
		w.hub.doors.places.mu.Lock()
		defer w.hub.doors.places.mu.Unlock()
		require.Empty(t, w.hub.doors.places.byKey)
		require.Empty(t, w.hub.doors.strangers)
	})
}

// A nurse whose token was good before gets in while strangers behind the same NAT try
// thousands of bad ones.
func TestKnownCredentialsHavePlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxAuthenticating: 16})
		defer w.close()
		sign := func(token string) (time.Duration, error) {
			r, err := http.NewRequest(http.MethodGet, "http://localhost/", nil)
			require.NoError(t, err)
			r.RemoteAddr = "192.0.2.1:1234"
			r.Header.Set("Authorization", "Bearer "+token)
			begun := time.Now()
			_, err = w.hub.authenticate(r)
			return time.Since(begun), err
		}
		_, err := sign("nurse")
		require.NoError(t, err)
		for i := range 2000 {
			go sign(fmt.Sprint("bad", i))
		}
		synctest.Wait()
		took, err := sign("nurse")
		require.NoError(t, err)
		require.Zero(t, took)
		_, err = sign("doctor")
		require.Error(t, err, "a token that is new shares the strangers' places")
		time.Sleep(time.Hour)
		_, err = sign("doctor")
		require.NoError(t, err)
	})
}

// Callers without a credential in the headers, as with client certificates, are not
// taken for each other: the sign-in of one makes no others known.
func TestNoCredentialIsNoKnownOne(t *testing.T) {
	d := newDoors(256, 5*time.Second)
	at := netip.MustParseAddr("192.0.2.1")
	for _, c := range []struct {
		headers http.Header
		known   bool
	}{
		{http.Header{"User-Agent": {"x"}}, false},
		{http.Header{"Cookie": {"session=1"}}, true},
	} {
		leave, ok := d.enter(t.Context(), at, c.headers)
		require.True(t, ok)
		leave(nil)
		_, good := d.isKnown(at, d.hashOf(c.headers))
		require.Equal(t, c.known, good)
	}
}

// Failed sign-ins of one address are answered more and more slowly; those of other
// addresses are not.
func TestFailedSignInsArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoors(256, 5*time.Second)
		try := func(at string, err error) time.Duration {
			begun := time.Now()
			leave, ok := d.enter(t.Context(), netip.MustParseAddr(at), nil)
			require.True(t, ok)
			leave(err)
			return time.Since(begun)
		}
		begun := time.Now()
		for range failuresBurst + 100 {
			try("192.0.2.1", ErrUnauthenticated)
		}
		require.InDelta(t, 100/failuresRate, time.Since(begun).Seconds(), 0.01)
		require.Zero(t, try("192.0.2.2", ErrUnauthenticated))
		require.Zero(t, try("192.0.2.1", nil))
		for i := range 3 * doorsMost {
			try(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), nil)
		}
		require.LessOrEqual(t, len(d.known), doorsMost)
	})
}
