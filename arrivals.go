package carewire

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// Arrivals bounds the connections of an http.Server whose first request has not
// been read yet: a Hub knows nothing of them, and each holds a descriptor for
// as long as ReadHeaderTimeout. It also bounds the kernel's send buffer of each
// connection, which a Hub cannot do for event streams.
//
//	arrivals := &carewire.Arrivals{}
//	server := &http.Server{ConnState: arrivals.ConnState, …}
//
// A connection beyond a bound is closed at once, so that later ones get in. The
// zero value is ready for use. The fields must not be changed afterwards. It is
// safe for concurrent use, also by several servers.
type Arrivals struct {
	// Most bounds all of them together. 0 means 1,024; a negative value means
	// no bound.
	Most int
	// PerAddress bounds those of one address, or of one /64 of IPv6. 0 means a
	// quarter of Most; a negative value means no bound, as it must be where all
	// come from one proxy.
	PerAddress int

	mu      sync.Mutex
	waiting map[net.Conn]netip.Addr
	from    map[netip.Addr]int
	refused uint64
}

const (
	arrivalsMost = 1024
	arrivalsPart = 4
	kernelHolds  = 128 << 10 // bytes that are written and not read, of one connection
)

// ConnState is for http.Server.ConnState.
func (a *Arrivals) ConnState(c net.Conn, state http.ConnState) {
	if state == http.StateNew {
		boundSendBuffer(c)
		if !a.arrive(c) {
			c.Close()
		}
		return
	}
	a.leave(c)
}

// Refused returns how many connections were closed because of a bound.
func (a *Arrivals) Refused() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.refused
}

// arrive takes a place; false if there is none.
func (a *Arrivals) arrive(c net.Conn) bool {
	most, each := a.Most, a.PerAddress
	if most == 0 {
		most = arrivalsMost
	}
	if each == 0 {
		each = most / arrivalsPart
	}
	at := addressOf(c)
	a.mu.Lock()
	defer a.mu.Unlock()
	if most > 0 && len(a.waiting) >= most || each > 0 && a.from[at] >= each {
		a.refused++
		return false
	}
	if a.waiting == nil {
		a.waiting, a.from = make(map[net.Conn]netip.Addr), make(map[netip.Addr]int)
	}
	a.waiting[c] = at
	addCount(a.from, at, 1)
	return true
}

func (a *Arrivals) leave(c net.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at, ok := a.waiting[c]; ok {
		delete(a.waiting, c)
		addCount(a.from, at, -1)
	}
}

func addressOf(c net.Conn) netip.Addr {
	at, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return countedAddress(at.Addr().Unmap().WithZone(""))
}

// boundSendBuffer bounds the kernel's send buffer of a TCP connection, if c is one,
// or TLS over one.
func boundSendBuffer(c net.Conn) {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn()
	}
	if t, ok := c.(*net.TCPConn); ok {
		t.SetWriteBuffer(kernelHolds)
	}
}
