package carewire

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// A guest is a client that was admitted, with the places that it takes: one
// among the connections, until the connection itself is counted or the request
// has been answered, and the seats of its address and its principal.
type guest struct {
	registry *registry
	seats    *seats
	address  netip.Addr
	who      *Principal
	name     string // the principal that has a seat; "" before

	seated bool // it has a seat for its address; false also once the connection has it
	once   sync.Once
}

// leave gives back the places.
func (g *guest) leave() {
	g.once.Do(func() {
		g.registry.depart()
		if g.seated {
			g.seats.leave(g.address, g.name)
		}
	})
}

// admit admits a request, or refuses it and returns nil. It is the only
// entrance. A status other than 0 refuses the request for its form.
func (h *Hub) admit(w http.ResponseWriter, r *http.Request, status int) *guest {
	s := &h.stats
	g := &guest{registry: h.registry, seats: h.seats, address: h.address(r), who: &Principal{}}
	before, closing := h.registry.arrive()
	no := func(status int, n *atomic.Uint64) *guest {
		g.leave() // before the reply: the client may come again at once
		h.refuse(w, r, g.who, status, n)
		return nil
	}
	switch {
	case closing:
		return no(http.StatusServiceUnavailable, &s.refused)
	case status != 0:
		return no(status, &s.badRequest)
	case !h.servesHost(r):
		return no(http.StatusMisdirectedRequest, &s.badRequest)
	case !originAllowed(r, h.opt.Origins):
		return no(http.StatusForbidden, &s.forbidden)
	case before >= h.opt.MaxConnections:
		s.limits.connections.Add(1)
		return no(http.StatusTooManyRequests, &s.tooMany)
	case !h.seats.takeAddress(g.address, h.opt.MaxPerAddress):
		s.limits.perAddress.Add(1)
		return no(http.StatusTooManyRequests, &s.tooMany)
	}
	g.seated = true
	if !h.isLoaded(r.Context()) {
		return no(http.StatusServiceUnavailable, &s.refused)
	}
	who, err := h.identify(r)
	g.who = &who
	switch {
	case errors.Is(err, ErrUnauthenticated):
		return no(http.StatusUnauthorized, &s.unauthenticated)
	case errors.Is(err, ErrForbidden):
		return no(http.StatusForbidden, &s.forbidden)
	case err != nil:
		return no(http.StatusServiceUnavailable, &s.refused)
	case h.access.revoked.covers(&who, "", h.now()):
		return no(http.StatusForbidden, &s.forbidden)
	case !h.seats.takePrincipal(who.ID, h.opt.MaxPerPrincipal):
		s.limits.perPrincipal.Add(1)
		return no(http.StatusTooManyRequests, &s.tooMany)
	}
	g.name = who.ID
	h.seats.share(&who)
	return g
}

// refuse answers a request that is refused, counts it and records it. p is its
// sender, as far as known.
func (h *Hub) refuse(w http.ResponseWriter, r *http.Request, p *Principal, status int, n *atomic.Uint64) {
	n.Add(1)
	h.audit.recordRefusal(status, p, addressText(h.address(r)))
	w.Header().Set("Cache-Control", "no-store")
	switch status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "5")
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusUpgradeRequired:
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Sec-WebSocket-Version", "13")
		w.Header().Set("Sec-WebSocket-Protocol", Protocol)
	}
	http.Error(w, http.StatusText(status), status)
}

// servesHost reports whether a request came under one of Options.Hosts.
func (h *Hub) servesHost(r *http.Request) bool {
	return len(h.opt.Hosts) == 0 || slices.ContainsFunc(h.opt.Hosts, func(host string) bool { return strings.EqualFold(host, r.Host) })
}
