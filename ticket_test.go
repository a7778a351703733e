package carewire

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const page = "Origin: https://ehr.test"

// ticket asks for one, as a page of the EHR.
func (p *poster) ticket() string {
	p.w.t.Helper()
	res := p.do(p.w.t.Context(), `{"type":"ticket","req":"1"}`, page)
	require.Equal(p.w.t, http.StatusOK, res.StatusCode)
	text, ok := newReply(p.w.t, res)["ticket"].(string)
	require.True(p.w.t, ok, "no ticket")
	return text
}

// withTicket is a handshake of a browser.
func withTicket(ticket string, more ...string) string {
	return upgrade + strings.Join(append(more, "Sec-WebSocket-Protocol: "+Protocol+", "+ticketProtocol+ticket, "", ""), "\r\n")
}

// bothWays runs f with tickets in memory and in the Store.
func bothWays(t *testing.T, o Options, f func(t *testing.T, w *world)) {
	for _, stored := range []bool{false, true} {
		t.Run(map[bool]string{false: "in memory", true: "in the Store"}[stored], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := o
				o.TicketsInStore, o.Origins = stored, []string{"https://ehr.test", "https://other.test"}
				w := newWorld(t, nil, &o)
				t.Cleanup(w.close)
				f(t, w)
			})
		})
	}
}

// A ticket stands for the token: the same principal, until the token ends, and
// the token can be renewed as on any connection.
func TestTicket(t *testing.T) {
	for _, renew := range []bool{false, true} {
		bothWays(t, Options{}, func(t *testing.T, w *world) {
			w.hub.auth = AuthenticatorFunc(leases)
			begun := time.Now()
			p := shake(t, dialler(w, w.net, nil)(), withTicket(w.poster("nurse2").ticket(), page))
			require.Equal(t, 101, p.status.StatusCode)
			require.Equal(t, []string{Protocol}, p.status.Header.Values("Sec-WebSocket-Protocol"))
			welcome := p.text("welcome")
			require.Equal(t, "nurse", valueAt(welcome, "principal", "id"))
			require.Contains(t, welcome["features"], "tickets")
			require.Equal(t, milliseconds(begun.Add(2*time.Minute)), welcome["expires"])
			p.send(watchP1)
			p.text("synced")
			p.send(`{"type":"ticket","req":"2"}`)
			require.Equal(t, "type", p.text("error")["field"], "tickets are given by POST only")
			last := 2 * time.Minute
			if renew {
				p.send(`{"type":"token","req":"3","token":"nurse5"}`)
				require.Equal(t, milliseconds(begun.Add(5*time.Minute)), p.text("ok")["expires"])
				last = 5 * time.Minute
			}
			l := p.listen()
			time.Sleep(last - time.Second)
			require.Zero(t, l.closeCode())
			time.Sleep(2 * time.Second)
			require.Equal(t, CloseUnauthorized, l.closeCode())
		})
	}
}

func milliseconds(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// A ticket is good once, soon, from the page that asked for it.
func TestTicketRefusals(t *testing.T) {
	var log lockedBuffer
	bothWays(t, Options{Hosts: []string{"localhost"}, Logger: slog.New(slog.NewTextHandler(&log, nil))}, func(t *testing.T, w *world) {
		var brief time.Time
		try := func(request string) int {
			return shake(t, dialler(w, w.net, nil)(), request).status.StatusCode
		}
		w.hub.auth = AuthenticatorFunc(func(r *http.Request) (Principal, error) {
			p, err := byToken(r)
			p.Expires = brief
			return p, err
		})
		nurse := w.poster("nurse")
		for _, c := range []struct {
			name  string
			first func(ticket string) // before it is shown
			with  func(ticket string) string
			code  int
		}{
			{"good", nil, nil, 101},
			{"at the last moment", func(string) { time.Sleep(ticketWithin - time.Millisecond) }, nil, 101},
			{"expired", func(string) { time.Sleep(ticketWithin) }, nil, 401},
			{"twice", func(s string) { require.Equal(t, 101, try(withTicket(s, page))) }, nil, 401},
			{"after another origin's try", func(s string) { require.Equal(t, 401, try(withTicket(s, "Origin: https://other.test"))) }, nil, 401},
			{"another allowed origin", nil, func(s string) string { return withTicket(s, "Origin: https://other.test") }, 401},
			{"no origin", nil, func(s string) string { return withTicket(s) }, 401},
			{"a foreign origin", nil, func(s string) string { return withTicket(s, "Origin: https://evil.test") }, 403},
			{"after a foreign origin's try", func(s string) { require.Equal(t, 403, try(withTicket(s, "Origin: https://evil.test"))) }, nil, 101},
			{"another letter", nil, func(s string) string { return withTicket(s[1:]+"A", page) }, 401},
			{"after the token's end", func(string) { time.Sleep(10 * time.Second) }, nil, 401},
			{"without another protocol", nil, func(s string) string { return strings.Replace(withTicket(s, page), Protocol+", ", "", 1) }, 101},
			{"none", nil, func(string) string { return withTicket("", page) }, 401},
			{"beside a bad token", nil, func(s string) string { return withTicket(s, page, "Authorization: Bearer thief") }, 401},
			{"beside a good token, which counts", nil, func(string) string { return withTicket("x", page, "Authorization: Bearer nurse") }, 101},
			{"as a token", nil, func(s string) string { return upgrade + page + "\r\nAuthorization: Bearer " + s + "\r\n\r\n" }, 401},
			{"in the URL", nil, func(s string) string {
				return strings.Replace(upgrade, "GET /", "GET /?ticket="+s, 1) + page + "\r\n\r\n"
			}, 401},
		} {
			if brief = (time.Time{}); strings.Contains(c.name, "token's end") {
				brief = time.Now().Add(10 * time.Second)
			}
			s := nurse.ticket()
			if c.first != nil {
				c.first(s)
			}
			request := withTicket(s, page)
			if c.with != nil {
				request = c.with(s)
			}
			require.Equal(t, c.code, try(request), c.name)
		}
		s := nurse.ticket()
		require.Equal(t, http.StatusUnauthorized, w.poster("").do(t.Context(), "", "Authorization", page, "Sec-WebSocket-Protocol: "+ticketProtocol+s).StatusCode, "not for a POST")
		require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "nurse"}))
		require.Equal(t, 403, try(withTicket(s, page)), "revoked")
		for line := range strings.Lines(log.String()) {
			require.Regexp(t, "carewire: (audit|how long)", line, "nothing else is logged")
			require.NotContains(t, line, s)
			require.NotContains(t, line, "nurse")
		}
	})
}

// Tickets cannot be guessed, and nobody can fill the memory with them.
func TestTicketsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{Origins: []string{"https://ehr.test"}})
		t.Cleanup(w.close)
		seen := make(map[string]bool)
		for range ticketsEach {
			s := w.poster("nurse").ticket()
			require.GreaterOrEqual(t, len(s), 26) // of 32 letters: 130 bits
			require.False(t, seen[s])
			seen[s] = true
		}
		res := w.poster("nurse").do(t.Context(), `{"type":"ticket","req":"1"}`)
		require.Equal(t, "busy", newReply(t, res)["code"])
		w.poster("doctor").ticket()
		time.Sleep(ticketWithin)
		w.poster("nurse").ticket()
		require.Len(t, w.hub.tickets.kept, 1, "those that are over are forgotten")
		require.Len(t, w.hub.tickets.each, 1)

		now := time.Now()
		s := newTickets(nil, false)
		for i := range ticketsKept {
			require.NoError(t, s.keep(fmt.Sprint(i), ticket{Who: Principal{ID: fmt.Sprint(i)}, Until: now.Add(time.Second)}, now))
		}
		require.ErrorIs(t, s.keep("x", ticket{Who: Principal{ID: "x"}}, now), ErrBusy)
		require.NoError(t, s.keep("x", ticket{Who: Principal{ID: "x"}}, now.Add(time.Second)))
	})
}

// Of several nodes on one Store any takes a ticket, and only one.
func TestTicketAtSeveralNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &seam{Store: NewMemoryStore(nil)}
		var nodes []*world
		for range 3 {
			w := newWorld(t, store, &Options{TicketsInStore: true, Origins: []string{"https://ehr.test"}})
			t.Cleanup(w.close)
			nodes = append(nodes, w)
		}
		for range 10 {
			s := nodes[0].poster("nurse").ticket()
			var in, out atomic.Int64
			var wg sync.WaitGroup
			for range 4 {
				for _, w := range nodes {
					wg.Go(func() {
						switch shake(t, dialler(w, w.net, nil)(), withTicket(s, page)).status.StatusCode {
						case 101:
							in.Add(1)
						case 401:
							out.Add(1)
						}
					})
				}
			}
			wg.Wait()
			require.EqualValues(t, 1, in.Load())
			require.EqualValues(t, 11, out.Load())
		}
		s := nodes[0].poster("nurse").ticket()
		store.failing.Store(true)
		p := shake(t, dialler(nodes[1], nodes[1].net, nil)(), withTicket(s, page))
		require.Equal(t, 503, p.status.StatusCode, "a Store that fails lets nobody in")
		require.Equal(t, "unknown", newReply(t, nodes[0].poster("nurse").do(t.Context(), `{"type":"ticket","req":"1"}`))["code"])
		store.failing.Store(false)
		log, err := store.Read(t.Context(), SystemPatient, Position{}, ReadQuery{Limit: 1000})
		require.NoError(t, err)
		require.NotEmpty(t, log)
		for _, e := range log {
			require.NotContains(t, string(e.Data)+e.Key, s, "the Store has only the digest")
		}
		codes := []int{}
		for _, w := range nodes {
			codes = append(codes, shake(t, dialler(w, w.net, nil)(), withTicket(s, page)).status.StatusCode)
		}
		require.Equal(t, []int{101, 401, 401}, codes)
	})
}

// Tickets that wait in the Store are bounded as those in memory are.
func TestTicketsInStoreAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{TicketsInStore: true})
		defer w.close()
		viewer := people["viewer"]
		taken := 0
		for range 10 * ticketsEach {
			if _, _, err := w.hub.tickets.give(t.Context(), &viewer, "https://ehr.example"); err == nil {
				taken++
			}
		}
		require.Equal(t, ticketsEach, taken)
	})
}

// A ticket that another node has used gives its place back at the node that gave it.
func TestTicketUsedElsewhereGivesItsPlaceBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore(nil)
		here := newWorld(t, store, &Options{TicketsInStore: true})
		defer here.close()
		there := newWorld(t, store, &Options{TicketsInStore: true})
		defer there.close()
		viewer := people["viewer"]
		const origin = "https://ehr.example"
		give := func() (string, error) {
			text, _, err := here.hub.tickets.give(t.Context(), &viewer, origin)
			return text, err
		}
		var last string
		for range ticketsEach {
			var err error
			last, err = give()
			require.NoError(t, err)
		}
		_, err := give()
		require.ErrorIs(t, err, ErrBusy)
		p, err := there.hub.tickets.use(t.Context(), last, origin)
		require.NoError(t, err)
		require.Equal(t, viewer.ID, p.ID)
		_, err = give()
		require.ErrorIs(t, err, ErrBusy, "the Store is asked once a second")
		time.Sleep(time.Second)
		_, err = give()
		require.NoError(t, err)
		_, err = give()
		require.ErrorIs(t, err, ErrBusy)
	})
}
