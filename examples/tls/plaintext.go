package main

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// onlyOverTLS lets a request in that came over TLS, or without it from this
// machine, or from one of the proxies; not if a proxy says that it got the
// request without TLS itself. A proxy elsewhere must say that it did not.
func onlyOverTLS(next http.Handler, proxies prefixes) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, _ := netip.ParseAddrPort(r.RemoteAddr)
		said := r.Header.Values("X-Forwarded-Proto")
		https := len(said) == 1 && strings.EqualFold(said[0], "https")
		switch {
		case r.TLS != nil,
			from.Addr().Unmap().IsLoopback() && (len(said) == 0 || https),
			proxies.contain(from.Addr().Unmap()) && https:
			next.ServeHTTP(w, r)
		default:
			http.Error(w, "TLS is required.", http.StatusForbidden)
		}
	})
}

// prefixes are the addresses of proxies, as a flag has them.
type prefixes []netip.Prefix

func (p prefixes) contain(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(n netip.Prefix) bool { return n.Contains(a) })
}

// String writes p as Set reads it.
func (p *prefixes) String() string {
	var list []string
	for _, n := range *p {
		list = append(list, n.String())
	}
	return strings.Join(list, ",")
}

// Set reads addresses and ranges of addresses, with commas between them.
func (p *prefixes) Set(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		if a, err := netip.ParseAddr(part); err == nil {
			*p = append(*p, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		n, err := netip.ParsePrefix(part)
		if err != nil {
			return err
		}
		*p = append(*p, n)
	}
	return nil
}
