package hl7v2

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// lingerFor is how long a connection is still read after its last answer.
const lingerFor = time.Second

// Peer is the other end of a connection.
type Peer struct {
	Addr net.Addr
	TLS  *tls.ConnectionState // nil without TLS; PeerCertificates are verified if the listener's config says so
}

func (p Peer) addr() string {
	if p.Addr == nil {
		return ""
	}
	return p.Addr.String()
}

// Serve takes connections from ln until it is closed or Shutdown is called; it
// then returns net.ErrClosed. For TLS with client certificates, give it a
// listener of tls.NewListener with ClientAuth: tls.RequireAndVerifyClientCert.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		_ = ln.Close()
		return net.ErrClosed
	}
	s.listeners[ln] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, ln)
		s.mu.Unlock()
	}()
	for pause := time.Duration(0); ; {
		conn, err := ln.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return net.ErrClosed
		case err != nil: // such as too many open files: others may close some
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.opt.Logger.Warn("hl7v2: cannot accept a connection", "error", err)
			time.Sleep(pause)
			continue
		}
		pause = 0
		if !s.enter(conn) {
			_ = conn.Close()
			continue
		}
		go s.serve(conn)
	}
}

// enter notes a connection, if there is room for it.
func (s *Server) enter(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || len(s.conns) >= s.opt.MaxConnections {
		s.stats.refused.Add(1)
		return false
	}
	s.stats.connections.Add(1)
	s.conns[conn] = false
	s.wg.Add(1)
	return true
}

// work notes whether a message of conn is being worked on, and reports whether
// the connection may go on.
func (s *Server) work(conn net.Conn, busy bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[conn] = busy
	return !s.closing
}

// serve does the messages of one connection, in order.
func (s *Server) serve(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
		s.wg.Done()
	}()
	peer := Peer{Addr: conn.RemoteAddr()}
	if t, ok := conn.(*tls.Conn); ok {
		ctx, cancel := context.WithTimeout(context.Background(), s.opt.ReadTimeout)
		err := t.HandshakeContext(ctx)
		cancel()
		if err != nil {
			s.opt.Logger.Warn("hl7v2: TLS handshake failed", "peer", peer.addr())
			return
		}
		state := t.ConnectionState()
		peer.TLS = &state
	}
	in := frames{bufio.NewReader(conn), s.opt.MaxMessage}
	for {
		_ = conn.SetReadDeadline(time.Now().Add(s.opt.IdleTimeout))
		err := in.begin()
		if err == nil {
			if !s.work(conn, true) {
				return
			}
			_ = conn.SetReadDeadline(time.Now().Add(s.opt.ReadTimeout))
			var message []byte
			switch message, err = in.rest(); {
			case err == nil:
				answer, keep := s.handle(context.Background(), peer, message)
				if !s.reply(conn, answer) || !keep || !s.work(conn, false) {
					return
				}
				continue
			case errors.Is(err, ErrTooLong):
				in.skip()
				s.reply(conn, s.tooLong(peer, message))
				s.linger(conn, in.r)
			}
		}
		if errors.Is(err, ErrFrame) || errors.Is(err, ErrTooLong) {
			s.opt.Logger.Warn("hl7v2: connection ended", "peer", peer.addr(), "error", err)
		}
		return
	}
}

// reply sends an acknowledgement, if there is one, and reports whether the
// connection may go on.
func (s *Server) reply(conn net.Conn, answer []byte) bool {
	if answer == nil {
		return true
	}
	_ = conn.SetWriteDeadline(time.Now().Add(s.opt.WriteTimeout))
	_, err := conn.Write(frame(answer))
	return err == nil
}

// linger takes a peer's last input, for a moment: a connection that is closed
// with something unread may lose the answer that was sent last.
func (s *Server) linger(conn net.Conn, r io.Reader) {
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	_ = conn.SetReadDeadline(time.Now().Add(lingerFor))
	_, _ = io.Copy(io.Discard, io.LimitReader(r, int64(s.opt.MaxMessage)))
}

// Shutdown refuses new connections, ends idle ones, and waits until the
// messages in progress are stored and acknowledged. If ctx ends first, it cuts
// the remaining connections and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	for ln := range s.listeners {
		_ = ln.Close()
	}
	for conn, busy := range s.conns {
		if !busy {
			_ = conn.Close()
		}
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.mu.Lock()
		for conn := range s.conns {
			_ = conn.Close()
		}
		s.mu.Unlock()
		return ctx.Err()
	}
}
