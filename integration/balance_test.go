package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/process"
	"github.com/carewire/carewire/pgstore/pgtest"
)

const balanced = "p-13" // the patient of these tests

// post sends a request through the balancer.
func (f *front) post(ctx context.Context, t testing.TB, c *http.Client, token, body, accept string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, "POST", f.http()+"/carewire", strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", accept)
	r.Header.Set("X-Forwarded-For", "192.0.2.1") // counts for nothing
	resp, err := c.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// dialFront connects a Go client through a balancer.
func dialFront(t testing.TB, f *front, token string) *carewire.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), process.Patience)
	defer cancel()
	c, err := carewire.Dial(ctx, f.url(), &carewire.DialOptions{
		Token:      func(context.Context) (string, error) { return token, nil },
		HTTPClient: f.client("127.0.0.1"), MinBackoff: 50 * time.Millisecond, MaxBackoff: time.Second, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// connects are the handshakes that a node has let in, in its present run, by
// the address that its audit trail gives them.
func (w *ward) connects() (all int, byAddress map[string]int) {
	byAddress = map[string]int{}
	list, _ := w.last().Log.All()
	for _, line := range list {
		if m := connectLine.FindStringSubmatch(line); m != nil {
			all++
			byAddress[m[1]]++
		}
	}
	return all, byAddress
}

var connectLine = regexp.MustCompile(`event=connect outcome=done .*address=(\w+)`)

// A witness watches a patient through a balancer and keeps its events.
type witness struct {
	t      testing.TB
	f      *front
	client *carewire.Client
	mu     sync.Mutex
	first  uint64 // where it began
	last   uint64
	values map[uint64]carewire.Decimal
	live   bool
	lost   map[carewire.CloseCode]int
}

func newWitness(t testing.TB, f *front) *witness {
	c := dialFront(t, f, "dr-bell")
	w := &witness{t: t, f: f, client: c, values: map[uint64]carewire.Decimal{}, lost: map[carewire.CloseCode]int{}}
	watch(t, c, carewire.WatchOptions{Patients: []string{balanced}, Delivery: carewire.DeliverEvery})
	go func() {
		for e, err := range c.Events(t.Context()) {
			if err != nil {
				return
			}
			w.take(&e)
		}
	}()
	return w
}

func (w *witness) take(e *carewire.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case e.Type == carewire.EventLost:
		w.lost[e.Code]++
		w.live = false
	case e.Type == carewire.EventLive && e.Patient == balanced, e.Type == carewire.EventSynced:
		w.live = true
		if w.last = max(w.last, e.Seq); w.first == 0 {
			w.first = w.last
		}
	case e.Patient != balanced:
	case e.Type == carewire.EventSync && !e.Recovered && w.last > 0:
		w.t.Errorf("%s: a watch could not be resumed at %d", w.f.name, w.last)
	case e.Type == carewire.EventVital, e.Type == carewire.EventAlert, e.Type == carewire.EventGap, e.Type == carewire.EventReceipt:
		if w.first > 0 && e.Seq != w.last+1 {
			w.t.Errorf("%s: %s %d came after %d", w.f.name, e.Type, e.Seq, w.last)
		}
		if w.last = e.Seq; e.Vital != nil {
			w.values[e.Seq] = e.Vital.Value
		}
	}
}

// has reports whether everything up to a number has come.
func (w *witness) has(seq uint64) (bool, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.live && w.last >= seq, fmt.Sprintf("%s has brought %d of %d, live: %v, lost %v", w.f.name, w.last, seq, w.live, w.lost)
}

// A source publishes without a pause and keeps the confirmed vitals.
type source struct {
	mu        sync.Mutex
	confirmed map[uint64]carewire.Decimal
	newest    uint64
}

func (s *source) run(ctx context.Context, t testing.TB, c *carewire.Client) {
	for i := 0; ctx.Err() == nil; i++ {
		v := carewire.HeartRate.Of(balanced, float64(40+i%100))
		got, err := c.Publish(ctx, v)
		if ctx.Err() != nil {
			return
		}
		if assert.NoError(t, err) && assert.NoError(t, got[0].Err) {
			s.mu.Lock()
			s.confirmed[got[0].Seq], s.newest = v.Value, got[0].Seq
			s.mu.Unlock()
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *source) at() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest
}

// gives waits until the balancer gives a node clients.
func (f *front) gives(t testing.TB, w *ward) {
	t.Helper()
	before, _ := w.connects()
	process.Poll(t, process.Patience, func() (bool, string) {
		dialFront(t, f, "screen-5").Close()
		after, _ := w.connects()
		return after > before, f.name + " gives a node nobody"
	})
}

// atEachNode returns witnesses, at least one at each node.
func atEachNode(t testing.TB, f *front, nodes []*ward) (list []*witness) {
	t.Helper()
	connects := func() (each []int, sum int) {
		for _, w := range nodes {
			n, _ := w.connects()
			each, sum = append(each, n), sum+n
		}
		return each, sum
	}
	process.Poll(t, process.Patience, func() (bool, string) {
		before, sum := connects()
		list = nil
		for range nodes {
			list = append(list, newWitness(t, f))
		}
		var after []int
		process.Poll(t, process.Patience, func() (bool, string) {
			var n int
			after, n = connects()
			return n >= sum+len(nodes), "the nodes record the connections"
		})
		for i := range nodes {
			if after[i] == before[i] {
				for _, w := range list {
					w.client.Close()
				}
				return false, fmt.Sprintf("%s gives node %d nobody", f.name, i)
			}
		}
		return true, ""
	})
	return list
}

// Three nodes stand behind nginx and behind HAProxy, which send every request
// to the next one. Nodes are killed, updated one after the other, stand still
// and lose their database, and nobody misses anything.
func TestBalancedNodes(t *testing.T) {
	t.Parallel()
	need(t, needNginx, needHAProxy)
	dsn := pgtest.Database(t)
	host, rest, _ := strings.Cut(strings.TrimPrefix(dsn, "host="), " ")
	link := openProxy(t, "unix", host+"/.s.PGSQL.5432")
	linkHost, linkPort, _ := strings.Cut(link.listener.Addr().String(), ":")
	args := func(dsn string) []string {
		return []string{"-store", "postgres", "-dsn", dsn, "-quiet", "-proxy", "127.0.0.1/32"}
	}
	nodes := []*ward{openWard(t, args(dsn)...), openWard(t, args(dsn)...), openWard(t, args("host="+linkHost+" port="+linkPort+" "+rest)...)}
	fronts := []*front{openNginx(t, nodes), openHAProxy(t, nodes)}

	publish(t, dial(t, nodes[0].url(), "gateway-1"), carewire.HeartRate.Of(balanced, 39))
	var witnesses []*witness
	for _, f := range fronts {
		t.Run(f.name, func(t *testing.T) { f.balances(t, nodes) })
		witnesses = append(witnesses, atEachNode(t, f, nodes)...)
	}
	s := &source{confirmed: map[uint64]carewire.Decimal{}}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	gateway := dialFront(t, fronts[1], "gateway-1")
	running.Go(func() { s.run(ctx, t, gateway) })
	goOn := func(what string, within time.Duration, all []*witness) { // readings from now on reach all of them
		t.Helper()
		began, from := time.Now(), s.at()
		var newest uint64
		process.Poll(t, process.Patience, func() (bool, string) { newest = s.at(); return newest > from, "the source goes on: " + what })
		for _, w := range all {
			process.Poll(t, within, func() (bool, string) { return w.has(newest) })
		}
		t.Logf("%s: all have the newest after %v", what, time.Since(began).Round(10*time.Millisecond))
	}
	goOn("the beginning", process.Patience, witnesses)

	for i, w := range nodes {
		if i == 0 {
			w.kill()
			goOn("a node is killed", process.Patience, witnesses)
		} else { // a rolling update
			w.stop()
			goOn("a node has ended", process.Patience, witnesses)
		}
		w.start()
		for _, f := range fronts { // else all might be taken for dead at once
			f.gives(t, w)
		}
	}
	restarted := 0
	for _, w := range witnesses {
		w.mu.Lock()
		restarted += w.lost[carewire.CloseRestart]
		w.mu.Unlock()
	}
	require.NotZero(t, restarted, "nobody was asked to come back")

	// HAProxy asks /readyz. A node that stands still, and one that has lost its
	// database, lose their clients to the third; nginx leaves them where they are.
	var moved []*witness
	for _, f := range fronts {
		all := atEachNode(t, f, nodes)
		witnesses = append(witnesses, all...)
		if f == fronts[1] {
			moved = all
		}
	}
	raise(t, gateway, balanced, "to-all", "Everybody sees this")
	require.NoError(t, nodes[0].last().Cmd.Process.Signal(syscall.SIGSTOP))
	link.cut()
	goOn("a node stands still, and another has no database", 35*time.Second, moved) // by themselves clients would wait 50 s
	require.NoError(t, nodes[0].last().Cmd.Process.Signal(syscall.SIGCONT))
	process.Poll(t, process.Patience, func() (bool, string) {
		status := nodes[2].readyz(t)
		return status == http.StatusServiceUnavailable, fmt.Sprint(status)
	})
	before, _ := nodes[2].connects()
	for _, f := range fronts {
		for range 6 {
			dialFront(t, f, "screen-5").Close()
		}
	}
	after, _ := nodes[2].connects()
	require.Equal(t, before, after, "a node without database was given clients")
	link.mend()
	for _, f := range fronts {
		f.gives(t, nodes[2])
	}
	goOn("all is well again", process.Patience, witnesses)

	t.Run("browser", func(t *testing.T) {
		b := openBrowser(t)
		var tabs []tab
		for _, f := range fronts {
			p := b.open(f.name, f.http()+"/#token=nurse-ada")
			p.shows(lineWord, "Live")
			p.shows("#alerts li.row", "Everybody sees this")
			tabs = append(tabs, p)
		}
		for _, w := range nodes[:2] { // the third goes on
			w.kill()
		}
		raise(t, gateway, balanced, "after-kills", "One node is left")
		for _, p := range tabs {
			p.shows("#alerts li.row", "One node is left")
			p.shows(lineWord, "Live")
			p.shoot(p.name)
		}
	})

	stop()
	running.Wait()
	for _, w := range witnesses {
		process.Poll(t, process.Patience, func() (bool, string) { return w.has(s.at()) })
		w.mu.Lock()
		for seq, v := range s.confirmed {
			if seq <= w.first {
				continue
			}
			require.Equal(t, v, w.values[seq], "%s: number %d", w.f.name, seq)
		}
		t.Logf("%s: lost %v", w.f.name, w.lost)
		w.mu.Unlock()
	}
	t.Logf("confirmed %d", len(s.confirmed))
	for _, f := range fronts {
		log := f.requests(t)
		require.Contains(t, log, "POST /carewire")
		for _, secret := range []string{"dr-bell", "gateway-1", "carewire.", balanced} {
			require.NotContains(t, log, secret, "%s logs it", f.name)
		}
	}
}

// readyz is the node's answer to a health check.
func (w *ward) readyz(t testing.TB) int {
	client := &http.Client{Timeout: 2 * time.Second}
	resp, err := client.Get(w.http() + "/readyz")
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// balances checks that a client notices nothing of several nodes.
func (f *front) balances(t *testing.T, nodes []*ward) {
	const from = "127.0.0.5"
	client := f.client(from)
	for _, path := range []string{"/readyz", "/healthz"} {
		resp, err := client.Get(f.http() + path)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusNotFound, resp.StatusCode, "%s is for those inside", path)
	}

	// Without the balancer in between each node calls this address so (a hash).
	addresses := make([]string, len(nodes))
	counts := make([]int, len(nodes))
	connect := func(url string, header http.Header, protocol ...string) (*websocket.Conn, *http.Response, error) {
		return websocket.Dial(t.Context(), url, &websocket.DialOptions{HTTPClient: client, HTTPHeader: header, Subprotocols: append(protocol, "carewire.v1")})
	}
	for i, w := range nodes {
		_, before := w.connects()
		ws, _, err := connect(w.url(), http.Header{"Authorization": {"Bearer nurse-ada"}})
		require.NoError(t, err)
		defer ws.CloseNow()
		process.Poll(t, process.Patience, func() (bool, string) {
			_, now := w.connects()
			for a, n := range now {
				if n > before[a] {
					addresses[i], counts[i] = a, n
				}
			}
			return addresses[i] != "", fmt.Sprint(now)
		})
	}

	// A ticket, wherever it is bought, is good once, wherever it is used: each of
	// these handshakes comes to another node than the POST before it.
	let := 0
	for range 2 * len(nodes) {
		resp := f.post(t.Context(), t, client, "nurse-ada", `{"type":"ticket","req":"1"}`, "application/json")
		var reply struct{ Type, Ticket string }
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&reply))
		require.Equal(t, "ok", reply.Type)
		ws, _, err := connect(f.url(), http.Header{"X-Forwarded-For": {"192.0.2.1"}}, "carewire.ticket."+reply.Ticket)
		require.NoError(t, err)
		let++
		_, frame, err := ws.Read(t.Context())
		require.NoError(t, err)
		require.Contains(t, string(frame), `"nurse-ada"`)
		ws.CloseNow()
		for range nodes {
			_, refused, err := connect(f.url(), nil, "carewire.ticket."+reply.Ticket)
			require.Error(t, err)
			require.Equal(t, http.StatusUnauthorized, refused.StatusCode)
		}
	}
	// The nodes know the client's own address, not the balancer's or the client's own header.
	process.Poll(t, process.Patience, func() (bool, string) {
		sum, each := 0, true
		for i, w := range nodes {
			_, by := w.connects()
			sum += by[addresses[i]] - counts[i]
			each = each && by[addresses[i]] > counts[i]
		}
		return sum == let && each, fmt.Sprintf("of %d connections %d came to the nodes as from %s, to each some: %v", let, sum, from, each)
	})

	// A stream comes through at once, line by line.
	ctx, cancel := context.WithTimeout(t.Context(), process.Patience)
	defer cancel()
	stream := f.post(ctx, t, client, "nurse-ada", `{"type":"watch","req":"1","patients":["`+balanced+`"]}`, "text/event-stream")
	require.Equal(t, http.StatusOK, stream.StatusCode)
	lines := bufio.NewReader(stream.Body)
	untilLine(t, lines, `"synced"`)
	publish(t, dial(t, nodes[1].url(), "gateway-1"), carewire.HeartRate.Of(balanced, 137))
	untilLine(t, lines, `"value":137`)
	cancel()
	io.Copy(io.Discard, stream.Body)
}
