package faults

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// An attack sends one kind of frames over connections of its own, and comes back
// a little later whenever it is cut off.
type attack struct {
	name  string
	token string // of the attacker; with %d, another one for each connection
	lines int
	deaf  bool                 // it reads nothing
	pace  float64              // frames a second of a line; a quarter of it in the short form
	frame func(n int64) string // the n-th frame
}

// The attacks are those that have once shut others out, at about the pace at which
// they did. Some stay within their principal's limits, others do not.
func attacksOf() []attack {
	ids := func(name string, n int) string { return `"` + strings.Join(numbered(name, n), `","`) + `"` }
	big := strings.Repeat("x", 3900)
	large := `{"type":"unwatch","req":"1","patients":["` + strings.Repeat("x", 70000) + `"]}`
	crowd, unwatch := `{"type":"watch","req":"1","groups":["huge"]}`, `{"type":"unwatch","req":"1","patients":[`+ids("n", 6000)+`]}`
	return []attack{
		{name: "inbox: notices of 3.9 KB to every clinician", token: "patient-noisy", lines: 2, pace: 100, frame: func(n int64) string {
			return fmt.Sprintf(`{"type":"notify","req":"1","notice":{"patient":"noisy","notice_id":"n%d","to":["role:clinician"],"text":"%s"}}`, n, big)
		}},
		{name: "inbox: low alerts to the ward", token: "device-noisy", lines: 2, pace: 100, frame: func(n int64) string {
			return fmt.Sprintf(`{"type":"raise","req":"1","event_id":"a%d","alert":{"patient":"noisy","text":"x","priority":"low","to":["group:ward","role:clinician"]}}`, n)
		}},
		{name: "states of one alert for everybody", token: "device-states", lines: 1, pace: 50, frame: func(n int64) string {
			return fmt.Sprintf(`{"type":"raise","req":"1","event_id":"s%d","alert":{"patient":"states","key":"k","text":"%d","priority":"medium","to":["role:clinician"]}}`, n, n)
		}},
		{name: "a group of 20,000", token: "crowd-%d", lines: 2, pace: 1, frame: func(int64) string { return crowd }},
		{name: "a device that changes its name", token: "device-renamed", lines: 1, pace: 10, frame: func(n int64) string {
			return publishes(100, func(i int) string {
				return fmt.Sprintf(`{"patient":"renamed","code":"8867-4","value":60,"unit":"/min","every":1,"device":"d%d-%d"}`, n, i)
			})
		}},
		{name: "vitals of unknown patients", token: "gateway-1", lines: 2, pace: 10, frame: func(n int64) string {
			return publishes(100, func(i int) string {
				return fmt.Sprintf(`{"patient":"unknown%d","code":"8867-4","value":60,"unit":"/min"}`, (n*100+int64(i))%5000)
			})
		}},
		{name: "refused vitals", token: "viewer-refused", lines: 4, pace: 10, frame: func(int64) string {
			return publishes(100, func(i int) string {
				return fmt.Sprintf(`{"patient":"other%d","code":"8867-4","value":60,"unit":"/min"}`, i)
			})
		}},
		{name: "ten years of history", token: "patient-noisy", lines: 32, pace: 5, frame: func(int64) string {
			return `{"type":"history","req":"1","patient":"noisy","kinds":["receipt"],"from":"2016-01-01T00:00:00Z"}`
		}},
		{name: "refused clears", token: "viewer-clears", lines: 1, pace: 950, frame: func(n int64) string {
			return fmt.Sprintf(`{"type":"clear","req":"1","patient":"bed%d","key":"k","alert_id":"a","event_id":"e%d"}`, n%wardBeds, n)
		}},
		{name: "long unwatches", token: "crowd-unwatch", lines: 1, pace: 5, frame: func(int64) string { return unwatch }},
		{name: "invented groups", token: "clinician-lost", lines: 1, pace: 100, frame: func(n int64) string {
			return fmt.Sprintf(`{"type":"watch","req":"1","groups":["g%d"]}`, n)
		}},
		{name: "frames that cannot be read", token: "device-wrong", lines: 2, pace: 20, frame: func(n int64) string {
			return fmt.Sprintf(`{"type":"publish","req":"%d","vitals":[null]}`, n)
		}},
		{name: "frames that are too large", token: "device-large", lines: 2, pace: 20, frame: func(int64) string { return large }},
		{name: "clients that read nothing", token: "clinician-deaf", lines: 20, deaf: true, pace: 20, frame: func(int64) string {
			return `{"type":"watch","req":"1","groups":["ward"],"delivery":"every"}`
		}},
	}
}

func publishes(n int, vital func(i int) string) string {
	var list []string
	for i := range n {
		list = append(list, vital(i))
	}
	return `{"type":"publish","req":"1","vitals":[` + strings.Join(list, ",") + `]}`
}

// prepareAttacks leaves behind the work of days: many open alerts and
// notices for the ward's clinicians, revocations, and a long log. It returns how
// much.
func prepareAttacks(t *testing.T, hub *carewire.Hub) (n int) {
	open, vitals := 500, 2000
	if *neighboursFor > 0 {
		open, vitals = 10000, 200000
	}
	var all sync.WaitGroup
	var failed atomic.Int64
	for part := range 16 {
		all.Go(func() {
			for i := part; i < open; i += 16 {
				_, err := hub.Raise(t.Context(), carewire.Raise{Patient: fmt.Sprint("past", i/1000), Text: "x", Priority: carewire.PriorityLow, To: []string{"role:clinician"}})
				if err == nil {
					_, err = hub.Notify(t.Context(), carewire.Notice{Patient: fmt.Sprint("past", i/1000), Text: "x", To: []string{"role:clinician"}})
				}
				if err == nil {
					err = hub.Revoke(t.Context(), carewire.Revocation{Principal: fmt.Sprint("left-", i)})
				}
				if err != nil {
					failed.Add(1)
				}
			}
			for i := part * 100; i < vitals; i += 1600 {
				var list []carewire.Vital
				for k := range 100 {
					list = append(list, carewire.HeartRate.Of("noisy", float64(60+k)))
				}
				if _, err := hub.Publish(t.Context(), list...); err != nil {
					failed.Add(1)
				}
			}
		})
	}
	all.Wait()
	require.Zero(t, failed.Load())
	return 2*open + vitals
}

// attacks are under way.
type attacks struct {
	end     context.CancelFunc
	running sync.WaitGroup
	mu      sync.Mutex
	sent    map[string]int // frames and requests, by attack
}

func (a *attacks) add(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sent[name]++
}

// startAttacks begins all attacks at once, from an address of their own.
func startAttacks(t *testing.T, hub *carewire.Hub, url string) *attacks {
	ctx, cancel := context.WithCancel(t.Context())
	a := &attacks{end: cancel, sent: make(map[string]int)}
	from := &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext,
		MaxIdleConnsPerHost: 64}}
	for _, one := range attacksOf() {
		a.mu.Lock()
		a.sent[one.name] = 0
		a.mu.Unlock()
		var n atomic.Int64
		for i := range one.lines {
			token := one.token
			if strings.Contains(token, "%d") {
				token = fmt.Sprintf(token, i)
			}
			a.running.Go(func() {
				for ctx.Err() == nil {
					a.line(ctx, from, url, token, &one, &n)
					after(ctx, 20*time.Millisecond) // a network takes longer
				}
			})
		}
	}
	plain := "http" + strings.TrimPrefix(url, "ws")
	for range 8 {
		a.running.Go(func() { a.posts(ctx, from, plain, "tickets", "viewer-tickets", `{"type":"ticket","req":"1"}`) })
		a.running.Go(func() { a.posts(ctx, from, plain, "bad tokens", "bad", `{"type":"ticket","req":"1"}`) })
	}
	a.running.Go(func() { // as the host does when many leave at once
		for i := 0; ctx.Err() == nil; i++ {
			if hub.Revoke(ctx, carewire.Revocation{Principal: fmt.Sprint("leaving-", i)}) == nil {
				a.add("revocations")
			}
			after(ctx, paced(100))
		}
	})
	return a
}

// line is one connection of an attacker.
func (a *attacks) line(ctx context.Context, from *http.Client, url, token string, one *attack, n *atomic.Int64) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: from, HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
	if err != nil {
		return
	}
	defer ws.CloseNow()
	ws.SetReadLimit(8 << 20)
	if !one.deaf {
		go func() {
			defer cancel()
			for {
				if _, r, err := ws.Reader(ctx); err != nil {
					return
				} else if _, err := io.Copy(io.Discard, r); err != nil {
					return
				}
			}
		}()
	}
	for ctx.Err() == nil {
		within, done := context.WithTimeout(ctx, 5*time.Second)
		err := ws.Write(within, websocket.MessageText, []byte(one.frame(n.Add(1))))
		done()
		if err != nil {
			return
		}
		a.add(one.name)
		after(ctx, paced(one.pace))
	}
}

// paced is the time between frames at a rate per second.
func paced(perSecond float64) time.Duration {
	if *neighboursFor == 0 {
		perSecond /= 4
	}
	return time.Duration(float64(time.Second) / perSecond)
}

// posts sends one request by POST again and again.
func (a *attacks) posts(ctx context.Context, from *http.Client, url, name, token, body string) {
	for ctx.Err() == nil {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
		if err != nil {
			return
		}
		r.Header = http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}}
		resp, err := from.Do(r)
		if err != nil {
			continue
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		a.add(name)
		after(ctx, paced(100))
	}
}

// stop ends the attacks, each of which must have been one.
func (a *attacks) stop(t *testing.T) {
	a.end()
	a.running.Wait()
	for name, n := range a.sent {
		t.Logf("%-48s %d", name, n)
		assert.NotZero(t, n, name)
	}
}
