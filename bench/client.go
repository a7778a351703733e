package main

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A crowd is all clients of a run. They cost as little as can be: each has one
// goroutine, which counts frames and looks at nothing but the event's ID.
type crowd struct {
	server  *server
	nodes   []*server // client i goes to nodes[i%len(nodes)]; none: to server
	dialect dialect
	watch   int                            // patients that each client watches
	buffer  int                            // bytes that a client reads at once
	receive int                            // the socket's receive buffer; 0: the system's
	seen    func(cl *client, frame []byte) // called with each frame that is no event; nil: not

	mayBeCut bool // a server may end the connections
	follows  bool // clients note alerts and their position

	clients []*client
	got     atomic.Int64 // events
	bytes   atomic.Int64 // of frames with events
	gaps    atomic.Int64 // events that were left out
	repeats atomic.Int64 // events that came twice or in the wrong order
	lost    atomic.Int64 // connections that ended by themselves
	cut     atomic.Int64 // the same, of those that may be
	afresh  atomic.Int64 // clients that were not recovered

	alerts     atomic.Int64 // alerts, each counted once
	alertDelay histogram    // from sending to receipt

	alertGaps atomic.Int64 // alerts that were left out
	old       atomic.Int64 // events that were older than a second
	delay     histogram    // from sending to receipt
}

type client struct {
	crowd  *crowd
	index  int // its place in the crowd
	conn   net.Conn
	rest   []byte  // read and not looked at
	last   []int32 // the last event's number of each patient
	raised []int32 // the last alert's number of each patient
	ready  atomic.Int32
	ended  atomic.Bool // by us
	over   atomic.Bool // by whomever

	mode   atomic.Int32 // how it reads
	newest atomic.Int32 // the last event's number
	sent   atomic.Int64 // when it last sent something, unix nanoseconds
	alert  atomic.Int32 // the last alert's number

	mu            sync.Mutex
	epoch, number []byte // the position in its patient's log
}

// position returns where a client that watches one patient has come to.
func (cl *client) position() (epoch, number string) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return string(cl.epoch), string(cl.number)
}

// join connects n more clients and waits until all get events. A server that
// says so may need a moment more: centrifuge drops events that are published
// between its reply and its own note of it.
func (c *crowd) join(n int) error {
	if err := c.connect(n); err != nil {
		return err
	}
	time.Sleep(100 * time.Millisecond)
	return nil
}

// connect connects n more clients and waits until all are told that they get events.
func (c *crowd) connect(n int) error {
	first := len(c.clients)
	c.clients = append(c.clients, make([]*client, n)...)
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	next := atomic.Int64{}
	for range 32 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && failed.Load() == nil; i = int(next.Add(1)) - 1 {
				cl, err := c.dial(first + i)
				if err != nil {
					failed.Store(&err)
					return
				}
				c.clients[first+i] = cl
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return c.until(func() bool {
		for _, cl := range c.clients[first:] {
			if cl.ready.Load() < c.readies() {
				return false
			}
		}
		return true
	}, patience, "clients that are ready")
}

func (c *crowd) readies() int32 {
	switch {
	case c.dialect.ready == "" || c.dialect.each && c.watch == 0:
		return 0
	case c.dialect.each:
		return int32(c.watch)
	}
	return 1
}

// patience is how long the benchmark waits, on a machine that may be very busy.
// The time that an operation took is measured apart.
const patience = time.Minute

// until waits for done by polling, which costs less than being told. It gives
// up once nothing has come for half a minute, or a line was lost.
func (c *crowd) until(done func() bool, within time.Duration, what string) error {
	end, got := time.Now().Add(within), int64(-1)
	for heard := time.Now(); !done(); time.Sleep(2 * time.Millisecond) {
		if n := c.got.Load(); n != got {
			got, heard = n, time.Now()
		}
		if time.Now().After(end) || time.Since(heard) > patience/2 || c.lost.Load() > 0 {
			return fmt.Errorf("waited in vain for %s: %d events, %d left out, %d lines lost", what, c.got.Load(), c.gaps.Load(), c.lost.Load())
		}
	}
	return nil
}

// dial connects one client from one of several addresses of this machine, for each has only so many ports.
func (c *crowd) dial(i int) (*client, error) {
	dialer := net.Dialer{Timeout: 20 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%8))}}
	if c.receive > 0 {
		dialer.Control = func(_, _ string, raw syscall.RawConn) (err error) {
			raw.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, c.receive)
			})
			return err
		}
	}
	server := c.server
	if len(c.nodes) > 0 {
		server = c.nodes[i%len(c.nodes)]
	}
	conn, err := dialer.Dial("tcp", server.addr)
	if err != nil {
		return nil, err
	}
	if server.TLS {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}) // the server's own certificate, made at its start
	}
	cl := &client{crowd: c, index: i, conn: conn, last: make([]int32, max(c.watch, 1)), raised: make([]int32, max(c.watch, 1))}
	header := ""
	if c.dialect.header != nil {
		header = c.dialect.header(i, c.watch)
	}
	if err := cl.handshake(server.addr, header); err != nil {
		conn.Close()
		return nil, err
	}
	if c.dialect.hello != nil {
		for _, text := range c.dialect.hello(i, c.watch) {
			if err := cl.send(0x1, []byte(text)); err != nil {
				return nil, err
			}
		}
	}
	go cl.read()
	return cl, nil
}

func (cl *client) handshake(host, header string) error {
	cl.conn.SetDeadline(time.Now().Add(30 * time.Second))
	defer cl.conn.SetDeadline(time.Time{})
	_, err := io.WriteString(cl.conn, "GET / HTTP/1.1\r\nHost: "+host+"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"+header+"\r\n")
	if err != nil {
		return err
	}
	var b []byte
	for !bytes.Contains(b, []byte("\r\n\r\n")) {
		chunk := make([]byte, 1024)
		n, err := cl.conn.Read(chunk)
		if b = append(b, chunk[:n]...); err != nil {
			return fmt.Errorf("handshake: %w", err)
		}
	}
	head, rest, _ := bytes.Cut(b, []byte("\r\n\r\n"))
	if !strings.HasPrefix(string(head), "HTTP/1.1 101") {
		line, _, _ := strings.Cut(string(head), "\r\n")
		return fmt.Errorf("handshake: %s", line)
	}
	cl.rest = rest
	return nil
}

// send writes one frame, masked with zeros.
func (cl *client) send(opcode byte, b []byte) error {
	frame := []byte{0x80 | opcode}
	if len(b) < 126 {
		frame = append(frame, 0x80|byte(len(b)))
	} else {
		frame = binary.BigEndian.AppendUint16(append(frame, 0x80|126), uint16(len(b)))
	}
	_, err := cl.conn.Write(append(append(frame, 0, 0, 0, 0), b...))
	return err
}

func (cl *client) close() {
	cl.ended.Store(true)
	cl.conn.Close()
}

func (cl *client) read() {
	buf := make([]byte, max(cl.crowd.buffer, 2048))
	n := copy(buf, cl.rest)
	cl.rest = nil
	for {
		done := cl.take(buf[:n])
		n = copy(buf, buf[done:n])
		if n == len(buf) {
			buf = append(buf, make([]byte, len(buf))...)
		}
		m, err := cl.some(buf[n:])
		if err != nil {
			cl.over.Store(true)
			switch {
			case cl.ended.Load():
			case cl.crowd.mayBeCut:
				cl.crowd.cut.Add(1)
			default:
				cl.crowd.lost.Add(1)
			}
			return
		}
		n += m
	}
}

// some reads as it is told to.
func (cl *client) some(b []byte) (int, error) {
	for cl.mode.Load() == stuck {
		time.Sleep(10 * time.Millisecond)
	}
	if cl.mode.Load() == dripping {
		for begin := time.Now(); cl.mode.Load() == dripping && time.Since(begin) < time.Second; {
			time.Sleep(10 * time.Millisecond)
		}
		b = b[:1]
	}
	return cl.conn.Read(b)
}

// take looks at the whole frames in b and returns how many bytes they have.
func (cl *client) take(b []byte) (done int) {
	now, events, size := time.Now().UnixNano()%clockRound, int64(0), int64(0)
	for len(b)-done >= 2 {
		f := b[done:]
		head, length := 2, int(f[1]&0x7f)
		switch {
		case length == 126 && len(f) >= 4:
			head, length = 4, int(binary.BigEndian.Uint16(f[2:]))
		case length == 127 && len(f) >= 10:
			head, length = 10, int(binary.BigEndian.Uint64(f[2:]))
		case length >= 126:
			length = len(f) // more has to come
		}
		if len(f) < head+length {
			break
		}
		if n := cl.frame(f[0]&0xf, f[head:head+length], now); n > 0 {
			events += n
			size += int64(head + length)
		}
		done += head + length
	}
	if events > 0 {
		cl.crowd.got.Add(events)
		cl.crowd.bytes.Add(size)
	}
	return done
}

var (
	idMark    = []byte(`"vital_id":"`)
	alertMark = []byte(`"alert_id":"`)
)

// frame looks at one frame and returns how many events it has: some servers
// put several into one.
func (cl *client) frame(opcode byte, b []byte, now int64) (events int64) {
	if opcode == 0x9 {
		cl.send(0xa, b)
		return 0
	}
	for rest := b; ; events++ {
		i := bytes.Index(rest, idMark)
		if i < 0 || len(rest)-i < len(idMark)+idLength {
			break
		}
		id := rest[i+len(idMark):]
		patient, number, sent := int(digits(id[:5])), int32(digits(id[5:11])), digits(id[11:idLength])
		delay := time.Duration((now - sent + clockRound) % clockRound)
		if cl.crowd.delay.add(delay); delay > time.Second {
			cl.crowd.old.Add(1)
		}
		last := &cl.last[patient%len(cl.last)]
		if number <= *last {
			cl.crowd.repeats.Add(1)
		} else {
			cl.crowd.gaps.Add(int64(number - *last - 1))
			*last = number
		}
		cl.newest.Store(number)
		rest = id[idLength:]
	}
	if _, id, ok := bytes.Cut(b, alertMark); ok && len(id) >= idLength && opcode == 0x1 {
		cl.alerted(id, now)
	}
	if cl.crowd.follows {
		cl.follow(b)
	}
	if cl.ready.Load() < cl.crowd.readies() {
		cl.ready.Add(int32(bytes.Count(b, []byte(cl.crowd.dialect.ready))))
	}
	switch {
	case events > 0:
	case cl.crowd.seen != nil:
		cl.crowd.seen(cl, b)
	case string(b) == "{}": // centrifuge's ping
		cl.send(0x1, b)
	}
	return events
}

// alerted counts an alert when it comes for the first time.
func (cl *client) alerted(id []byte, now int64) {
	patient, number, sent := int(digits(id[:5])), int32(digits(id[5:11])), digits(id[11:idLength])
	if last := &cl.raised[patient%len(cl.raised)]; number > *last {
		*last = number
		cl.crowd.alerts.Add(1)
		cl.crowd.alertDelay.add(time.Duration((now - sent + clockRound) % clockRound))
	}
}

// follow notes alerts and the position.
func (cl *client) follow(b []byte) {
	for rest := b; ; {
		_, id, ok := bytes.Cut(rest, alertMark)
		if !ok || len(id) < idLength {
			break
		}
		if number, last := int32(digits(id[5:11])), cl.alert.Load(); number > last {
			cl.crowd.alertGaps.Add(int64(number - last - 1))
			cl.alert.Store(number)
		}
		rest = id
	}
	if bytes.Contains(b, []byte(`"synced"`)) && bytes.Contains(b, []byte(`"recovered":false`)) {
		cl.crowd.afresh.Add(1)
	}
	epoch, number := text(b, `"epoch":"`), text(b, `"seq":`)
	if number == nil {
		number = text(b, `"offset":`)
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if epoch != nil {
		cl.epoch = append(cl.epoch[:0], epoch...)
	}
	if number != nil {
		cl.number = append(cl.number[:0], number...)
	}
}

// text returns the text behind the last mark, up to the next quotation mark, comma or brace.
func text(b []byte, mark string) []byte {
	at := bytes.LastIndex(b, []byte(mark))
	if at < 0 {
		return nil
	}
	rest := b[at+len(mark):]
	return rest[:max(0, bytes.IndexAny(rest, `",}`))]
}

func digits(b []byte) (n int64) {
	for _, c := range b {
		n = n*10 + int64(c-'0')
	}
	return n
}

// leave ends all clients.
func (c *crowd) leave() {
	for _, cl := range c.clients {
		if cl != nil {
			cl.close()
		}
	}
}
