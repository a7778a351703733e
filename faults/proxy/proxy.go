// Package proxy stands between a client and a server, on loopback, and treats
// their connections as networks do: it delays, slices, slows down, withholds
// and resets. Its behaviour can be changed at any time, each way by itself.
package proxy

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// Way is a direction of bytes.
type Way int

// The two ways.
const (
	Up   Way = iota // from the client to the server
	Down            // from the server to the client
)

// Fault is the treatment of the bytes in one direction. The zero Fault is a good line.
type Fault struct {
	Delay time.Duration // before each piece that is passed on
	Slice int           // bytes in a piece, which is a write of its own; 0: as many as there are
	Rate  int           // bytes in a second; 0: as fast as can be
	Limit int           // bytes of a connection, after which it is reset; 0: any number

	// Hold passes nothing on, not even an end: a black hole, in which bytes pile
	// up as unacknowledged ones would. When it ends they go on, as TCP's do,
	// unless the connection was reset meanwhile.
	Hold bool
}

// Proxy passes connections on to one server. All methods may be called
// concurrently.
type Proxy struct {
	network, address string
	listener         net.Listener
	serving          sync.WaitGroup

	mu      sync.Mutex
	faults  [2]Fault
	changed chan struct{} // closed when the faults are others
	refuse  bool
	conns   map[*conn]bool
	taken   int
}

// conn is a connection that is passed on.
type conn struct {
	ctx    context.Context // ends with it
	cancel context.CancelFunc
	ends   [2]net.Conn // by Way: where it is read from

	forgotten bool
}

// New starts a proxy for the server at an address. Close ends it.
func New(network, address string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{network: network, address: address, listener: l, changed: make(chan struct{}), conns: make(map[*conn]bool)}
	p.serving.Go(p.serve)
	return p, nil
}

// Addr is where the proxy listens, as host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Target changes the server that later connections go to.
func (p *Proxy) Target(network, address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.network, p.address = network, address
}

// Set puts a fault on one way of all connections, present and future ones.
func (p *Proxy) Set(w Way, f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults[w] = f
	p.change()
}

func (p *Proxy) change() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// SetBoth puts the same fault on both ways.
func (p *Proxy) SetBoth(f Fault) {
	p.Set(Up, f)
	p.Set(Down, f)
}

// Refuse resets connections as soon as they are made, or no more.
func (p *Proxy) Refuse(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = yes
}

// Reset resets all present connections, and returns how many they were.
func (p *Proxy) Reset() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.close(true)
	}
	return len(p.conns)
}

// Forget lets nothing more through on the present connections, for ever, and tells
// nobody: so does a firewall that was restarted, or an address that has moved.
// Later ones are as good as the faults allow.
func (p *Proxy) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.forgotten = true
	}
	p.change()
}

// Heal ends every fault. Lines that were reset or forgotten stay so.
func (p *Proxy) Heal() {
	p.Refuse(false)
	p.SetBoth(Fault{})
}

// Taken returns how many connections there have been.
func (p *Proxy) Taken() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}

// Close resets all connections, takes no more, and waits until they are gone.
func (p *Proxy) Close() {
	_ = p.listener.Close()
	p.Reset()
	p.serving.Wait()
}

func (p *Proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			p.Reset() // one that came with Close
			return
		}
		c := &conn{ends: [2]net.Conn{client, nil}}
		c.ctx, c.cancel = context.WithCancel(context.Background())
		p.mu.Lock()
		p.taken++
		p.conns[c] = true
		network, address, refuse := p.network, p.address, p.refuse
		p.mu.Unlock()
		p.serving.Go(func() {
			if !refuse {
				p.pass(c, network, address)
			}
			p.end(c, true)
		})
	}
}

// pass passes a connection on until it ends: by itself both ways, or by being reset.
func (p *Proxy) pass(c *conn, network, address string) {
	server, err := (&net.Dialer{}).DialContext(c.ctx, network, address)
	if err != nil {
		return
	}
	p.mu.Lock()
	c.ends[Down] = server
	p.mu.Unlock()
	if c.ctx.Err() != nil { // reset while it was dialled
		return
	}
	var ways sync.WaitGroup
	for _, w := range []Way{Up, Down} {
		ways.Go(func() {
			if !p.oneWay(c, w) {
				p.end(c, true)
			}
		})
	}
	ways.Wait()
	p.end(c, false)
}

// oneWay reports whether the connection came to its own end this way.
func (p *Proxy) oneWay(c *conn, w Way) bool {
	from, to := c.ends[w], c.ends[1-w]
	buf := make([]byte, 32<<10)
	passed := 0
	for {
		n, err := from.Read(buf)
		for rest := buf[:n]; len(rest) > 0; {
			if !c.wait(p.fault(c, w).Delay) {
				return false
			}
			f := p.fault(c, w)
			if c.ctx.Err() != nil {
				return false
			}
			piece := rest
			if f.Slice > 0 {
				piece = piece[:min(f.Slice, len(piece))]
			}
			if f.Limit > 0 {
				piece = piece[:max(min(f.Limit-passed, len(piece)), 0)]
			}
			if _, err := to.Write(piece); err != nil {
				return false
			}
			rest, passed = rest[len(piece):], passed+len(piece)
			if f.Limit > 0 && passed >= f.Limit {
				return false
			}
			if f.Rate > 0 && !c.wait(time.Duration(len(piece))*time.Second/time.Duration(f.Rate)) {
				return false
			}
		}
		if err != nil {
			p.fault(c, w) // an end is held, too
			half, ok := to.(interface{ CloseWrite() error })
			return ok && err == io.EOF && half.CloseWrite() == nil
		}
	}
}

// fault returns the fault of this way, once it is not held.
func (p *Proxy) fault(c *conn, w Way) Fault {
	for {
		p.mu.Lock()
		f, changed := p.faults[w], p.changed
		f.Hold = f.Hold || c.forgotten
		p.mu.Unlock()
		if !f.Hold {
			return f
		}
		select {
		case <-changed:
		case <-c.ctx.Done():
			return f
		}
	}
}

// end closes a connection, hard by resetting it.
func (p *Proxy) end(c *conn, hard bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.close(hard)
	delete(p.conns, c)
}

// close is called under the proxy's lock.
func (c *conn) close(hard bool) {
	c.cancel()
	for _, end := range c.ends {
		if end == nil {
			continue
		}
		if tcp, ok := end.(*net.TCPConn); ok && hard {
			_ = tcp.SetLinger(0)
		}
		_ = end.Close()
	}
}

// wait reports whether the connection is still there after d.
func (c *conn) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	select {
	case <-time.After(d):
		return true
	case <-c.ctx.Done():
		return false
	}
}
