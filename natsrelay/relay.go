package natsrelay

import (
	"errors"
	"strings"
	"sync"

	"github.com/carewire/carewire"
	"github.com/nats-io/nats.go"
)

// ErrDisconnected is the error of Send while the connection is down. The message is
// lost; nothing is kept for later.
var ErrDisconnected = errors.New("natsrelay: not connected")

// DefaultPrefix is the first part of all subjects, unless Options says otherwise.
const DefaultPrefix = "carewire"

// Options configure a Relay. Nil Options and zero fields mean the defaults.
type Options struct {
	// Prefix begins all subjects: a message goes to Prefix.DIGEST. The NATS user needs
	// the right to publish and subscribe to Prefix.*. The default is DefaultPrefix.
	// Hubs on one Store need the same.
	Prefix string
	// Pending bounds the received messages that wait for the Hub. NATS drops further
	// ones. The default is 8,192; a negative value means the default.
	Pending int
}

// A Relay is a [carewire.Relay] over one NATS connection. It is safe for concurrent
// use, and several Hubs of a process may share it.
type Relay struct {
	conn    *nats.Conn
	prefix  string
	arrived chan *nats.Msg
	closing chan struct{}
	closed  chan struct{}

	mu       sync.Mutex
	over     bool
	receives map[*nats.Subscription]func([]byte)
}

var _ carewire.Relay = (*Relay)(nil)

// New returns a Relay over a connection, which may still be connecting. The
// connection remains the caller's: its options decide on TLS, credentials and
// reconnecting, and the caller closes it after [Relay.Close]. Use nats.MaxReconnects(-1),
// so that the connection comes back after any outage, and nats.NoEcho() if only one Hub
// uses it. The server must take messages of [carewire.MaxRelayMessage] bytes; NATS's
// default is more. New returns an error for a Prefix that is no NATS subject.
func New(conn *nats.Conn, o *Options) (*Relay, error) {
	if conn == nil {
		return nil, nats.ErrInvalidConnection
	}
	r := &Relay{conn: conn, prefix: DefaultPrefix, closing: make(chan struct{}), closed: make(chan struct{}),
		receives: make(map[*nats.Subscription]func([]byte))}
	pending := 8192
	if o != nil {
		if o.Prefix != "" {
			r.prefix = o.Prefix
		}
		if o.Pending > 0 {
			pending = o.Pending
		}
	}
	for _, token := range strings.Split(r.prefix, ".") {
		if token == "" || strings.ContainsAny(token, "*> \t\r\n") {
			return nil, errors.New("natsrelay: Prefix must be a NATS subject without wildcards")
		}
	}
	r.arrived = make(chan *nats.Msg, pending)
	go r.handOver()
	return r, nil
}

// Send publishes a message. It does not wait for the server, except while the
// connection's buffer is full. It returns ErrDisconnected or the connection's error.
func (r *Relay) Send(subject string, message []byte) error {
	if !r.conn.IsConnected() {
		return ErrDisconnected // a message that waits until it is connected comes too late
	}
	return r.conn.Publish(r.prefix+"."+subject, message)
}

// Subscribe has receive called with the messages of a subject, from one goroutine for
// all subjects. The subscription outlives reconnecting. After Close it returns
// carewire.ErrClosed.
func (r *Relay) Subscribe(subject string, receive func(message []byte)) (stop func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return nil, carewire.ErrClosed
	}
	sub, err := r.conn.ChanSubscribe(r.prefix+"."+subject, r.arrived)
	if err != nil {
		return nil, err
	}
	r.receives[sub] = receive
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.receives[sub] != nil {
			delete(r.receives, sub)
			_ = sub.Unsubscribe() // it fails only if the connection is closed
		}
	}, nil
}

// handOver hands messages to their receivers, until Close.
func (r *Relay) handOver() {
	defer close(r.closed)
	for {
		select {
		case m := <-r.arrived:
			r.mu.Lock()
			receive := r.receives[m.Sub]
			r.mu.Unlock()
			if receive != nil {
				receive(m.Data)
			}
		case <-r.closing:
			return
		}
	}
}

// Close ends all subscriptions. No message is handed over after it has returned. It
// does not close the connection. Call it after the Hub's Shutdown, and not from a
// receive function. Further calls have no effect.
func (r *Relay) Close() {
	r.mu.Lock()
	if !r.over {
		r.over = true
		close(r.closing)
		for sub := range r.receives {
			_ = sub.Unsubscribe() // it fails only if the connection is closed
		}
		clear(r.receives)
	}
	r.mu.Unlock()
	<-r.closed
}
