package hl7v2

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"
)

// ErrNoAck means that a message was not acknowledged before the context ended.
// The receiver may have taken it.
var ErrNoAck = errors.New("hl7v2: not acknowledged")

// AckFault is the answer of a receiver that refuses a message.
type AckFault struct{ Ack Ack }

// Error returns the code of the answer and the first fault that it names.
func (e *AckFault) Error() string {
	text := "hl7v2: answered " + string(e.Ack.Code)
	if len(e.Ack.Errors) > 0 {
		text += ": " + e.Ack.Errors[0].Error()
	}
	return text
}

// ClientOptions are a host's choices for a Client. Dial is required.
type ClientOptions struct {
	// Dial connects to the receiver, by TCP or TLS.
	Dial func(context.Context) (net.Conn, error)
	// AckTimeout is how long an acknowledgement may take; then the connection is
	// ended and the message sent again on another. 0: 10 s.
	AckTimeout time.Duration
	// MaxPause is the longest wait before it is tried again; the first is a
	// hundredth of it. 0: 30 s.
	MaxPause time.Duration
	// Logger gets no health data. Nil: slog.Default().
	Logger *slog.Logger
}

// Client sends messages by MLLP, one at a time, and waits for each one's own
// acknowledgement. Its methods are safe for concurrent use.
type Client struct {
	opt  ClientOptions
	turn chan struct{} // held by the sender
	conn net.Conn
	in   frames
}

// NewClient returns a Client. It connects when it first sends.
func NewClient(o ClientOptions) (*Client, error) {
	if o.Dial == nil {
		return nil, errors.New("hl7v2: Dial is required")
	}
	if o.AckTimeout <= 0 {
		o.AckTimeout = 10 * time.Second
	}
	if o.MaxPause <= 0 {
		o.MaxPause = 30 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return &Client{opt: o, turn: make(chan struct{}, 1)}, nil
}

// Send sends a message until it is acknowledged, over new connections if need
// be, always with the same MSH-10, by which a receiver recognises it. Only an
// acknowledgement with that ID in MSA-2 counts; others are late ones of earlier
// messages, and ignored. After AR with 207 (the receiver has a problem of its
// own) Send waits and repeats. Any other refusal is an *AckFault. When ctx ends
// first, the error matches [ErrNoAck].
func (c *Client) Send(ctx context.Context, message []byte) (Ack, error) {
	m, err := Parse(message, nil)
	if err != nil {
		return Ack{}, err
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return Ack{}, errors.Join(ErrNoAck, ctx.Err())
	}
	for pause := c.opt.MaxPause / 100; ; pause = min(2*pause, c.opt.MaxPause) {
		ack, err := c.try(ctx, message, m.ControlID())
		switch {
		case err != nil:
			c.hangUp()
			c.opt.Logger.Warn("hl7v2: no acknowledgement, sending again", "error", err)
		case ack.Code.accepted():
			return ack, nil
		case ack.Code[1] != 'R' || len(ack.Errors) == 0 || ack.Errors[0].Code != codeInternal:
			return ack, &AckFault{ack}
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2+1)):
		case <-ctx.Done():
			return ack, errors.Join(ErrNoAck, ctx.Err())
		}
	}
}

// Close ends the connection, after the message in progress.
func (c *Client) Close() error {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	c.hangUp()
	return nil
}

// hangUp ends the connection. Later input on it is never read.
func (c *Client) hangUp() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// try sends a message once and waits for its acknowledgement.
func (c *Client) try(ctx context.Context, message []byte, id string) (Ack, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opt.AckTimeout)
	defer cancel()
	if c.conn == nil {
		conn, err := c.opt.Dial(ctx)
		if err != nil {
			return Ack{}, errors.New("hl7v2: cannot connect")
		}
		c.conn, c.in = conn, frames{bufio.NewReader(conn), 1 << 16}
	}
	conn := c.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_ = conn.SetDeadline(time.Time{})
	if _, err := conn.Write(frame(message)); err != nil {
		return Ack{}, errors.New("hl7v2: cannot send")
	}
	for {
		if err := c.in.begin(); err != nil {
			return Ack{}, errors.New("hl7v2: no acknowledgement came")
		}
		b, err := c.in.rest()
		if err != nil {
			return Ack{}, errors.New("hl7v2: no acknowledgement came")
		}
		m, err := Parse(b, &ParseOptions{Lenient: true})
		if err != nil {
			continue
		}
		if ack, ok := parseAck(m); ok && ack.ControlID == id {
			return ack, nil
		}
	}
}
