package carewire

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"
)

// What one bad client does costs others nothing: one test for each way.

func TestRefusedDevicesAreNotListenedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxKeys: 10})
		defer w.close()
		refused := 0
		for i := range 50 {
			var list []Vital
			for k := range 10 {
				v := HeartRate.Of("p1", 60)
				v.Device, v.Every = fmt.Sprint("d", i, "-", k), time.Second
				list = append(list, v)
			}
			results, _ := w.hub.Publish(t.Context(), list...)
			for _, r := range results {
				if r.Err != nil {
					refused++
				}
			}
		}
		require.Equal(t, 490, refused)
		time.Sleep(time.Minute)
		require.LessOrEqual(t, w.hub.open.alertsOf("p1"), 10)
	})
}

func TestRefusalsDisplaceNothingThatWasDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		done, counted := 0, 0
		a := newTestQueue(func(_ context.Context, r Record) error {
			mu.Lock()
			defer mu.Unlock()
			if r.Event == AuditAnswer && r.Outcome == OutcomeDone {
				done++
			}
			if r.Event == AuditClear {
				counted += max(r.Count, 1)
			}
			return nil
		})
		const floods = 200000
		for i := range floods {
			a.record(Record{Event: AuditClear, Outcome: OutcomeRefused, Code: CodeForbidden, Who: Person{ID: fmt.Sprint("bad", i%50)}, Conn: "c"})
			if i%2000 == 0 {
				a.record(Record{Event: AuditAnswer, Who: Person{ID: "nurse"}, Conn: "n"})
			}
		}
		a.work.start(a.run)
		time.Sleep(2 * time.Minute)
		a.recordTallies(0)
		time.Sleep(time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, 100, done)
		require.EqualValues(t, floods, counted+int(a.lost.Load()), "each is recorded, counted, or said to be lost")
		require.NoError(t, a.work.end(context.Background()))
	})
}

func TestPlacesAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSharedPlaces[string](2, 3, time.Second)
		first, ok := p.take(t.Context(), "a")
		require.True(t, ok)
		second, ok := p.take(t.Context(), "a")
		require.True(t, ok)
		_, ok = p.take(t.Context(), "a")
		require.False(t, ok, "no more for one")
		other, ok := p.take(t.Context(), "b")
		require.True(t, ok)
		_, ok = p.take(t.Context(), "c")
		require.False(t, ok, "no more for all")
		first()
		third, ok := p.take(t.Context(), "c")
		require.True(t, ok)
		second()
		other()
		third()
		require.Empty(t, p.by, "nothing stays")
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
		w.hub.doors.mu.Lock()
		defer w.hub.doors.mu.Unlock()
		require.Empty(t, w.hub.doors.by)
	})
}

func TestInventedGroupsDoNotStay(t *testing.T) {
	o := (&Options{}).withDefaults()
	x := newGroups(directoryFunc(func(context.Context, string) ([]string, error) { return nil, nil }), newHostCalls(&o, new(counters)).directory)
	for i := range 2 * groupsMost {
		_, err := x.members(t.Context(), fmt.Sprint("g", i))
		require.NoError(t, err)
		require.LessOrEqual(t, len(x.all), groupsMost)
	}
}

func TestPacesOfOthersAreKept(t *testing.T) {
	var p posters
	busy := p.pace("busy", 10)
	require.True(t, busy.requests.AllowN(time.Now(), 20))
	for i := range 3 * postersMost {
		p.paces[fmt.Sprint(i)] = pace{requests: rate.NewLimiter(10, 20)}
		if i%5000 == 0 {
			p.pace(fmt.Sprint("new", i), 10)
		}
	}
	require.False(t, p.pace("busy", 10).requests.AllowN(time.Now(), 19), "a flood of others is no new beginning")
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

func TestTimesAreStrict(t *testing.T) {
	for text, good := range map[string]bool{
		`"2026-01-02T01:00:00Z"`: true, `"2026-01-02T01:00:00.5Z"`: true, `"2026-01-02T01:00:00+05:45"`: true, `"2026-01-02T01:00:00-23:59"`: true,
		`"2026-01-02T1:00:00Z"`: false, `"2026-01-02T01:00:00,5Z"`: false, `"2026-01-02T01:00:00+24:00"`: false, `"2026-01-02T01:00:00+23:60"`: false,
	} {
		s := scanner{b: []byte(text)}
		s.time()
		require.Equal(t, good, s.err == nil, text)
	}
}

// A prolongation by seconds is not written again and again.
func TestEmergencyIsNotWrittenForSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		h := w.hub
		nurse := people["nurse"]
		for i := range 100 {
			require.NoError(t, h.access.emergencies.begin(t.Context(), &nurse, "p9", "x", h.now().Add(time.Hour+time.Duration(i)*time.Millisecond)))
		}
		_, head, err := w.store.Latest(t.Context(), "p9")
		require.NoError(t, err)
		require.EqualValues(t, 1, head.Seq)
	})
}

func TestHandshakesWithMoreThanOneMeaning(t *testing.T) {
	good := func() *http.Request {
		r, err := http.NewRequest(http.MethodGet, "http://localhost/", nil)
		require.NoError(t, err)
		for name, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
			r.Header.Set(name, v)
		}
		return r
	}
	status, _ := checkUpgrade(good())
	require.Zero(t, status)
	for name, spoil := range map[string]func(*http.Request){
		"a body":       func(r *http.Request) { r.ContentLength = 5 },
		"chunks":       func(r *http.Request) { r.TransferEncoding, r.ContentLength = []string{"chunked"}, -1 },
		"two versions": func(r *http.Request) { r.Header.Add("Sec-WebSocket-Version", "13") },
	} {
		r := good()
		spoil(r)
		status, _ := checkUpgrade(r)
		require.Equal(t, http.StatusBadRequest, status, name)
	}
}
