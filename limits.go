package carewire

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// address returns the address of whoever sent r: that of the connection or,
// where this is one of Options.TrustedProxies, what they say in X-Forwarded-For.
// It is invalid where the connection has none.
func (h *Hub) address(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	at, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	at = at.Unmap().WithZone("")
	// Each proxy has added whom it got the request from: the last entry that was
	// written by one that is trusted counts.
	said := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, s := range slices.Backward(said) {
		if !h.trusted(at) {
			break
		}
		next, err := netip.ParseAddr(strings.TrimSpace(s))
		if err != nil {
			break
		}
		at = next.Unmap().WithZone("")
	}
	return at
}

func (h *Hub) trusted(a netip.Addr) bool {
	return slices.ContainsFunc(h.opt.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
