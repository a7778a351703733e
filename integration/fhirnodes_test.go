package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/process"
	"github.com/carewire/carewire/pgstore"
	"github.com/carewire/carewire/pgstore/pgtest"
)

// A subscriber has one subscription at two nodes, and keeps count of its events.
type subscriber struct {
	t      *testing.T
	random *rand.Rand
	nodes  [2]*fhirWard
	id     string
	seen   []string // the identifier of each event, in the order of their numbers
}

func (s *subscriber) node() *fhirWard { return s.nodes[s.random.IntN(2)] }

// request asks a node over the network, again while it is busy.
func (s *subscriber) request(node *fhirWard, method, path, body string, answer any) {
	s.t.Helper()
	process.Poll(s.t, process.Patience, func() (bool, string) {
		r, err := http.NewRequestWithContext(s.t.Context(), method, node.base+"/"+path, strings.NewReader(body))
		require.NoError(s.t, err)
		r.Header.Set("Authorization", "Bearer nurse")
		r.Header.Set("Content-Type", "application/fhir+json")
		res, err := http.DefaultClient.Do(r)
		require.NoError(s.t, err)
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		require.NoError(s.t, err)
		if res.StatusCode == http.StatusTooManyRequests { // tokens that were not used are kept for 30 s
			return false, path
		}
		require.Less(s.t, res.StatusCode, 300, "%s", b)
		require.NoError(s.t, json.Unmarshal(b, answer), "%s", b)
		return true, ""
	})
}

// A notification is as R4B has it.
type notification struct {
	Entry []struct {
		Resource struct {
			Type                         string
			EventsSinceSubscriptionStart any
			NotificationEvent            []struct{ EventNumber any }
			Identifier                   []struct{ Value string }
		}
	}
}

// count is the number of events that a notification says there were.
func (n *notification) count() (count int) {
	fmt.Sscan(fmt.Sprint(n.Entry[0].Resource.EventsSinceSubscriptionStart), &count)
	return count
}

// take notes the events of a notification, which must follow the last one.
func (s *subscriber) take(n *notification) {
	s.t.Helper()
	for i, e := range n.Entry[0].Resource.NotificationEvent {
		require.Equal(s.t, fmt.Sprint(len(s.seen)+1), fmt.Sprint(e.EventNumber))
		s.seen = append(s.seen, n.Entry[1+i].Resource.Identifier[0].Value)
	}
}

// fill fetches the events up to a number that were missed.
func (s *subscriber) fill(upTo int) {
	s.t.Helper()
	for len(s.seen) < upTo {
		before := len(s.seen)
		var n notification
		s.request(s.node(), "GET", fmt.Sprintf("Subscription/%s/$events?eventsSinceNumber=%d&eventsUntilNumber=%d", s.id, before+1, upTo), "", &n)
		s.take(&n)
		require.Greater(s.t, len(s.seen), before)
	}
}

// session connects to a node, fills the gap and takes some events until it is cut,
// at any of these points.
func (s *subscriber) session(events int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), process.Patience)
	defer cancel()
	var token struct {
		Parameter []struct{ ValueString string }
	}
	at := s.node()
	s.request(at, "GET", "Subscription/"+s.id+"/$get-ws-binding-token", "", &token)
	ws, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(at.base, "http")+"/subscription-websocket", nil)
	require.NoError(s.t, err)
	defer ws.CloseNow()
	ws.SetReadLimit(1 << 20)
	if s.random.IntN(8) == 0 {
		return
	}
	require.NoError(s.t, ws.Write(ctx, websocket.MessageText, []byte("bind-with-token "+token.Parameter[0].ValueString)))
	if s.random.IntN(8) == 0 {
		return
	}
	for greeted := false; events > 0; {
		_, b, err := ws.Read(ctx)
		require.NoError(s.t, err)
		var n notification
		require.NoError(s.t, json.Unmarshal(b, &n))
		switch kind := n.Entry[0].Resource.Type; {
		case kind == "handshake":
			greeted = true
			s.fill(n.count())
			events-- // perhaps nothing more happens
		case kind == "event-notification":
			require.True(s.t, greeted)
			s.take(&n)
			events--
		}
	}
}

// A client that is cut a hundred times at random, and comes back to either of two
// nodes on one PostgreSQL, misses and doubles no event: each has its number, which
// both nodes count alike, and is told in order.
func TestSubscriberIsCutOverTwoNodes(t *testing.T) {
	const seed = 16
	s := &subscriber{t: t, random: rand.New(rand.NewPCG(seed, 0))}
	dsn := pgtest.Database(t)
	for i := range s.nodes {
		pool, err := pgxpool.New(t.Context(), dsn)
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		require.NoError(t, pgstore.Migrate(t.Context(), pool, ""))
		store, err := pgstore.Open(t.Context(), pool, &pgstore.Options{Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		t.Cleanup(func() { store.Close() })
		s.nodes[i] = serveFHIR(t, store)
	}
	var made struct{ ID string }
	s.request(s.node(), "POST", "Subscription", `{"resourceType":"Subscription","status":"requested","reason":"x","criteria":"Observation?patient=Patient/p1&code=8867-4",
 "channel":{"type":"websocket","payload":"application/fhir+json; fhirVersion=4.3",
 "_payload":{"extension":[{"url":"http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-payload-content","valueCode":"full-resource"}]}}}`, &made)
	s.id = made.ID

	var enough atomic.Bool
	sent := make(chan int, 1)
	defer func() { enough.Store(true); <-sent }()
	go func() { // events go on meanwhile, at either node
		random := rand.New(rand.NewPCG(seed, 1))
		pace := time.NewTicker(10 * time.Millisecond)
		defer pace.Stop()
		n := 0
		for ; !enough.Load(); n++ {
			<-pace.C
			v := carewire.HeartRate.Of("p1", float64(60+n%40))
			v.ID = fmt.Sprint("m", n)
			if _, err := s.nodes[random.IntN(2)].hub.Publish(context.Background(), v, carewire.SpO2.Of("p1", 97)); err != nil {
				t.Error(err)
			}
		}
		sent <- n
		close(sent)
	}()
	for range 100 {
		s.session(s.random.IntN(8))
	}
	enough.Store(true)
	all := <-sent
	require.Greater(t, all, 100)
	var n notification
	s.request(s.node(), "GET", "Subscription/"+s.id+"/$events?eventsSinceNumber=1&eventsUntilNumber=1", "", &n)
	require.Equal(t, all, n.count())
	s.fill(all)
	got := make(map[string]int)
	for _, id := range s.seen {
		got[id]++
	}
	assert.Len(t, got, all)
	for i := range all {
		assert.Equal(t, 1, got[fmt.Sprint("m", i)])
	}
	t.Log(all, "events, seed", seed)
}
