package hl7v2

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/memnet"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

// sink is a Sink that does as it is told.
type sink struct {
	mu   sync.Mutex
	got  []carewire.Vital
	fail func(v carewire.Vital) error
	hang bool
	wait chan struct{} // if it hangs: Publish waits for it; made in the bubble
}

func (s *sink) Publish(ctx context.Context, vitals ...carewire.Vital) ([]carewire.PublishResult, error) {
	if s.wait != nil {
		select {
		case <-s.wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	results := make([]carewire.PublishResult, len(vitals))
	for i, v := range vitals {
		if s.fail != nil {
			results[i].Err = s.fail(v)
		}
		if results[i].Err == nil {
			s.got = append(s.got, v)
		}
	}
	return results, nil
}

// peer is a sender on a connection.
type peer struct {
	t    *testing.T
	conn net.Conn
	in   frames
}

func newPeer(t *testing.T, conn net.Conn) *peer {
	return &peer{t, conn, frames{bufio.NewReader(conn), 1 << 20}}
}

func (p *peer) send(message []byte) {
	p.t.Helper()
	_, err := p.conn.Write(frame(message))
	require.NoError(p.t, err)
}

// answer reads one acknowledgement.
func (p *peer) answer() *Message {
	p.t.Helper()
	require.NoError(p.t, p.in.begin())
	b, err := p.in.rest()
	require.NoError(p.t, err)
	m, err := Parse(b, nil)
	require.NoError(p.t, err)
	return m
}

// gone requires that the server has ended the connection.
func (p *peer) gone() {
	p.t.Helper()
	for {
		c, err := p.in.r.ReadByte()
		if err != nil {
			return
		}
		require.EqualValues(p.t, cr, c, "the end of the last answer")
	}
}

// served runs f with a server in a bubble.
func served(t *testing.T, s Sink, o *ServerOptions, f func(t *testing.T, server *Server, dial func() *peer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if h, ok := s.(*sink); ok && h.hang {
			h.wait = make(chan struct{})
		}
		if o == nil {
			o = new(ServerOptions)
		}
		o.Logger = silent
		server, err := NewServer(s, o)
		require.NoError(t, err)
		ln := memnet.Listen()
		done := make(chan error, 1)
		go func() { done <- server.Serve(ln) }()
		f(t, server, func() *peer {
			conn, err := ln.Dial(t.Context())
			require.NoError(t, err)
			t.Cleanup(func() { _ = conn.Close() })
			return newPeer(t, conn)
		})
		_ = server.Shutdown(context.Background())
		require.ErrorIs(t, <-done, net.ErrClosed)
	})
}

// oru is a message with the given control ID and heart rates.
func oru(id string, rates ...string) []byte {
	segments := []string{strings.Replace(msh, "|M1|", "|"+id+"|", 1), "PID|||p-17", "OBR|1"}
	for i, rate := range rates {
		segments = append(segments, fmt.Sprintf("OBX|%d|NM|%s||%s|%s|||||R|||%s", i+1, hr, rate, bpm, minute))
	}
	return lines(segments...)
}

// acked reads one answer and returns its code, the control ID it names, and its errors.
func (p *peer) acked() (code AckCode, id string, errs []*Error) {
	p.t.Helper()
	a, ok := parseAck(p.answer())
	require.True(p.t, ok)
	return a.Code, a.ControlID, a.Errors
}

// A message is acknowledged when it is stored, and not before.
func TestAckAfterStoring(t *testing.T) {
	t.Parallel()
	s := &sink{hang: true}
	served(t, s, nil, func(t *testing.T, _ *Server, dial func() *peer) {
		p := dial()
		answers := make(chan *Message, 1)
		p.send(oru("M-1", "72"))
		go func() { answers <- p.answer() }()
		synctest.Wait()
		require.Empty(t, answers, "nothing is stored yet")
		close(s.wait)
		m := <-answers
		require.Len(t, s.got, 1)
		require.Equal(t, "AA", m.Segment("MSA").Field(1).String())
		require.Equal(t, "M-1", m.Segment("MSA").Field(2).String())
		require.Equal(t, "CW", m.Header(3).String(), "from the receiver of the message")
		require.Equal(t, "MON", m.Header(5).String())
		require.Equal(t, "ACK^R01^ACK", m.Header(9).Raw())
		require.Equal(t, "2.6", m.Header(12).String())
	})
}

// One bad OBX refuses itself only, and ERR names it.
func TestOneBadObservation(t *testing.T) {
	t.Parallel()
	s := &sink{fail: func(v carewire.Vital) error {
		if v.Value == "99" {
			return carewire.ErrForbidden
		}
		return nil
	}}
	served(t, s, nil, func(t *testing.T, server *Server, dial func() *peer) {
		p := dial()
		p.send(oru("1", "72", "fast", "-1", "99", "73"))
		code, id, errs := p.acked()
		require.Equal(t, AckError, code)
		require.Equal(t, "1", id)
		var places []string
		for _, e := range errs {
			places = append(places, fmt.Sprintf("%s[%d]-%d %s", e.Segment, e.Index, e.Field, e.Code))
		}
		require.Equal(t, []string{"OBX[2]-5 102", "OBX[3]-5 102", "OBX[4]-0 102"}, places)
		require.Len(t, s.got, 2)
		require.Equal(t, ServerStats{Connections: 1, Messages: 1, Vitals: 2, Errors: 1}, server.Stats())
	})
}

// A message that may be taken later is rejected as a whole, with 207, to be
// sent again.
func TestLater(t *testing.T) {
	t.Parallel()
	for _, fault := range []error{carewire.ErrUnavailable, carewire.ErrUnknownOutcome, carewire.ErrBusy, carewire.ErrFull, carewire.ErrUndecided, carewire.ErrClosed, errors.New("other")} {
		s := &sink{fail: func(v carewire.Vital) error {
			if v.Value == "73" {
				return fault
			}
			return nil
		}}
		served(t, s, nil, func(t *testing.T, _ *Server, dial func() *peer) {
			p := dial()
			p.send(oru("1", "72", "73"))
			code, _, errs := p.acked()
			require.Equal(t, AckReject, code, fault)
			require.Len(t, errs, 1)
			require.Equal(t, "207", errs[0].Code)
		})
	}
	served(t, &sink{hang: true}, nil, func(t *testing.T, _ *Server, dial func() *peer) {
		p, began := dial(), time.Now()
		p.send(oru("1", "72"))
		code, _, _ := p.acked()
		require.Equal(t, AckReject, code, "a store that hangs")
		require.Equal(t, 30*time.Second, time.Since(began))
	})
}

// A message that is not taken at all is rejected with the reason.
func TestRejected(t *testing.T) {
	t.Parallel()
	head := func(n int, value string) []byte {
		f := strings.Split(msh, "|")
		for len(f) < n {
			f = append(f, "")
		}
		f[n-1] = value
		return lines(strings.Join(f, "|"), "PID|||1")
	}
	served(t, &sink{}, nil, func(t *testing.T, _ *Server, dial func() *peer) {
		p := dial()
		for _, row := range []struct {
			name    string
			message []byte
			id      string
			code    string
		}{
			{"another event", head(9, "ORU^R40"), "M1", "201"},
			{"another type", head(9, "QRY^Q01"), "M1", "200"},
			{"ADT", head(9, "ADT^A01"), "M1", "200"},
			{"another version", head(12, "3"), "M1", "203"},
			{"no processing ID", head(11, ""), "M1", "101"},
			{"no processing ID of an ADT", []byte(strings.Replace(string(head(11, "")), "ORU^R01^ORU_R01", "ADT^A03", 1)), "M1", "101"},
			{"no type", head(9, ""), "M1", "101"},
			{"no control ID", head(10, ""), "", "101"},
			{"an ID that cannot be given back", head(10, "M\x01"), "", "102"},
			{"a charset that is not taken", head(18, "UNICODE UTF-16"), "M1", "103"},
			{"one in which a letter may hold a separator", head(18, "ISO IR87"), "M1", "103"},
			{"and which does", []byte(strings.Replace(string(head(18, "GB 18030-2000")), "|MON|", "|\x81|\x81|", 1)), "", "101"},
			{"a segment that is none", lines(msh, "?"), "M1", "100"},
			{"no message", []byte("hello"), "", "100"},
			{"nothing", nil, "", "100"},
		} {
			p.send(row.message)
			m := p.answer()
			require.Equal(t, "AR", m.Segment("MSA").Field(1).String(), row.name)
			require.Equal(t, row.id, m.Segment("MSA").Field(2).String(), row.name)
			require.Equal(t, row.code, m.Segment("ERR").Field(3).Component(1).String(), row.name)
		}
		p.send(oru("after", "72"))
		code, id, _ := p.acked()
		require.Equal(t, "AA after", string(code)+" "+id, "the connection goes on")
	})
}

// The messages of one connection are done in order, those of two side by side.
func TestOrder(t *testing.T) {
	t.Parallel()
	s := &sink{}
	served(t, s, nil, func(t *testing.T, _ *Server, dial func() *peer) {
		p, q := dial(), dial()
		go func() {
			for i := range 50 {
				_, _ = p.conn.Write(frame(oru(fmt.Sprint(i), fmt.Sprint(i+1)))) // without waiting for answers
			}
		}()
		for i := range 50 {
			_, id, _ := p.acked()
			require.Equal(t, fmt.Sprint(i), id)
		}
		for i, v := range s.got {
			require.Equal(t, fmt.Sprint(i+1), string(v.Value))
		}
		q.send(oru("q", "99"))
		_, id, _ := q.acked()
		require.Equal(t, "q", id)
	})
}

// Limits hold, and a fault that ends a connection ends that one only.
func TestLimits(t *testing.T) {
	t.Parallel()
	served(t, &sink{}, &ServerOptions{MaxConnections: 3, MaxMessage: 1000}, func(t *testing.T, server *Server, dial func() *peer) {
		p, q, r := dial(), dial(), dial()
		synctest.Wait()
		dial().gone() // the fourth
		p.send(oru("1", "72"))
		_, id, _ := p.acked()
		require.Equal(t, "1", id)

		go func() { _, _ = q.conn.Write(frame(make([]byte, 2000))) }()
		require.Equal(t, "AR", q.answer().Segment("MSA").Field(1).String(), "too long, and not even a message")
		q.gone()
		go func() { _, _ = r.conn.Write([]byte("GET / HTTP/1.1\r\n")) }()
		r.gone() // no frame

		began := time.Now()
		slow := dial()
		_, err := slow.conn.Write([]byte("\x0bMSH|"))
		require.NoError(t, err)
		slow.gone()
		require.Equal(t, 10*time.Second, time.Since(began), "a message that does not end")
		idle := dial()
		began = time.Now()
		idle.gone()
		require.Equal(t, time.Hour, time.Since(began), "nothing at all")
		require.EqualValues(t, 1, server.Stats().Refused)
	})
}

// A message that is too long is rejected by its name, and ends the connection.
func TestTooLong(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		sent []byte
		took time.Duration
	}{
		"a message":                    {frame(append(oru("M-7", "72"), make([]byte, 5000)...)), 0},
		"one that does not end":        {frame(append(oru("M-7", "72"), make([]byte, 5000)...))[:4000], 10 * time.Second},
		"one that goes on and on":      {append([]byte{vt}, append(oru("M-7", "72"), make([]byte, 1<<20)...)...), 0},
		"one with a message behind it": {append(frame(append(oru("M-7", "72"), make([]byte, 5000)...)), frame(oru("M-8", "73"))...), 0},
	} {
		s := &sink{}
		served(t, s, &ServerOptions{MaxMessage: 1000}, func(t *testing.T, server *Server, dial func() *peer) {
			p, began := dial(), time.Now()
			if len(row.sent) > 1<<16 {
				go func() { _, _ = p.conn.Write(row.sent) }()
			} else { // as a sender does that reads no answer before it has sent all
				_, err := p.conn.Write(row.sent)
				require.NoError(t, err)
			}
			m := p.answer()
			require.Equal(t, "AR M-7", m.Segment("MSA").Field(1).String()+" "+m.Segment("MSA").Field(2).String(), name)
			require.Equal(t, "104", m.Segment("ERR").Field(3).Component(1).String(), name)
			p.gone()
			require.LessOrEqual(t, time.Since(began), row.took+lingerFor, name)
			require.Empty(t, s.got, name)
			require.EqualValues(t, 1, server.Stats().Rejected, name)
		})
	}
}

// A peer that takes no answer is cut off.
func TestWriteTimeout(t *testing.T) {
	t.Parallel()
	served(t, &sink{}, nil, func(t *testing.T, server *Server, dial func() *peer) {
		p, began := dial(), time.Now()
		p.send(oru("1", "72"))
		time.Sleep(9 * time.Second)
		synctest.Wait()
		server.mu.Lock()
		held := len(server.conns)
		server.mu.Unlock()
		require.Equal(t, 1, held)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		server.mu.Lock()
		held = len(server.conns)
		server.mu.Unlock()
		require.Zero(t, held, "after %v", time.Since(began))
	})
}

// Shutdown ends idle connections and lets messages under way be stored and answered.
func TestShutdown(t *testing.T) {
	t.Parallel()
	s := &sink{hang: true}
	served(t, s, nil, func(t *testing.T, server *Server, dial func() *peer) {
		idle, busy := dial(), dial()
		busy.send(oru("1", "72"))
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- server.Shutdown(context.Background()) }()
		synctest.Wait()
		idle.gone()
		require.Empty(t, done)
		close(s.wait)
		code, id, _ := busy.acked()
		require.Equal(t, "AA 1", string(code)+" "+id)
		busy.gone()
		require.NoError(t, <-done)
	})
	served(t, &sink{hang: true}, nil, func(t *testing.T, server *Server, dial func() *peer) {
		p := dial()
		p.send(oru("1", "72"))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, server.Shutdown(ctx), context.DeadlineExceeded)
		p.gone()
		ln := memnet.Listen()
		require.ErrorIs(t, server.Serve(ln), net.ErrClosed)
	})
}

// The host's code may panic and refuse.
func TestHostCode(t *testing.T) {
	t.Parallel()
	o := &ServerOptions{Patient: func(_ context.Context, v Visit) (string, error) {
		switch id := v.Identifiers()[0].ID; id {
		case "panic":
			panic("no")
		case "bed":
			return v.Location().Bed, nil
		}
		return "", errors.New("no")
	}, Allow: func(_ context.Context, p Peer, m *Message) error {
		if m.Header(3).String() != "MON" {
			return errors.New("no")
		}
		return nil
	}}
	s := &sink{}
	served(t, s, o, func(t *testing.T, _ *Server, dial func() *peer) {
		p := dial()
		with := func(patient string) []byte {
			return []byte(strings.Replace(string(oru("1", "72")), "PID|||p-17", "PID|||"+patient+"\rPV1|||W^1^B-4", 1))
		}
		for patient, want := range map[string]AckCode{"panic": AckReject, "other": AckError, "bed": AckAccept} {
			p.send(with(patient))
			code, _, _ := p.acked()
			require.Equal(t, want, code, patient)
		}
		require.Len(t, s.got, 1)
		require.Equal(t, "B-4", s.got[0].Patient)
		p.send([]byte(strings.Replace(string(oru("1", "72")), "|MON|", "|OTHER|", 1)))
		code, _, _ := p.acked()
		require.Equal(t, AckReject, code)
		p.gone()
	})
}

// census notes its calls.
type census struct {
	told []string
	err  error
}

func (c *census) note(what string, m Movement) error {
	c.told = append(c.told, fmt.Sprintf("%s %s %s>%s %v %s", what, m.Patient, m.From.Ward, m.To.Ward+"/"+m.To.Bed, m.Cancels, m.At.Format(time.RFC3339)))
	return c.err
}
func (c *census) Admit(_ context.Context, m Movement) error     { return c.note("admit", m) }
func (c *census) Transfer(_ context.Context, m Movement) error  { return c.note("transfer", m) }
func (c *census) Discharge(_ context.Context, m Movement) error { return c.note("discharge", m) }

func adt(event, mode string) []byte {
	return lines(`MSH|^~\&|ADT|H|CW|HOSP|20260105120001+0000||ADT^`+event+`|1|`+mode+`|2.5`, "EVN|"+event+"|20260105110000+0000", "PID|||p-17^^^H^MR", "PV1||I|5^1^B|||4^2^A")
}

func TestMovements(t *testing.T) {
	t.Parallel()
	c := &census{}
	server, err := NewServer(&sink{}, &ServerOptions{Census: c, Logger: silent})
	require.NoError(t, err)
	send := func(message []byte) (AckCode, string) {
		m, err := Parse(server.Handle(t.Context(), Peer{}, message), nil)
		require.NoError(t, err)
		a, ok := parseAck(m)
		require.True(t, ok)
		if len(a.Errors) == 0 {
			return a.Code, ""
		}
		return a.Code, a.Errors[0].Code
	}
	for _, row := range []struct{ event, told string }{
		{"A01", "admit p-17 4>5/B false 2026-01-05T11:00:00Z"}, {"A02", "transfer p-17 4>5/B false 2026-01-05T11:00:00Z"},
		{"A03", "discharge p-17 4>5/B false 2026-01-05T11:00:00Z"}, {"A11", "discharge p-17 4>5/B true 2026-01-05T11:00:00Z"},
		{"A12", "transfer p-17 4>5/B true 2026-01-05T11:00:00Z"}, {"A13", "admit p-17 4>5/B true 2026-01-05T11:00:00Z"},
	} {
		c.told = nil
		code, _ := send(adt(row.event, "P"))
		require.Equal(t, AckAccept, code, row.event)
		require.Equal(t, []string{row.told}, c.told)
	}
	c.told = nil
	code, reason := send(adt("A08", "P"))
	require.Equal(t, "AR 201", string(code)+" "+reason)
	code, reason = send(adt("A03", "T"))
	require.Equal(t, "AR 202", string(code)+" "+reason, "a test discharges nobody")
	code, reason = send([]byte(strings.Replace(string(adt("A03", "P")), "p-17", "", 1)))
	require.Equal(t, "AE 204", string(code)+" "+reason)
	require.Empty(t, c.told)
	for _, id := range []string{"12/345", "12 345", "@system", "a/b<script>"} {
		code, reason = send([]byte(strings.Replace(string(adt("A03", "P")), "p-17", id, 1)))
		require.Equal(t, "AE 204", string(code)+" "+reason, "a sender that sends it again would never go on")
	}
	require.Empty(t, c.told)
	again := func(event string) []byte {
		return []byte(strings.Replace(string(adt(event, "P")), "|1|P|", "|2|P|", 1))
	}
	c.err = errors.New("database down")
	code, reason = send(again("A03"))
	require.Equal(t, "AR 207", string(code)+" "+reason)
	c.err = &Error{Segment: "PV1", Index: 1, Field: 3, Code: "103", Reason: "no such ward"}
	code, reason = send(again("A01"))
	require.Equal(t, "AE 103", string(code)+" "+reason)
	c.err = (&carewire.AlertRef{}).Validate() // it does not become right by waiting
	code, reason = send(again("A01"))
	require.Equal(t, "AE 204", string(code)+" "+reason)

	server, err = NewServer(&sink{}, &ServerOptions{Census: c, TestMovements: true, Logger: silent})
	require.NoError(t, err)
	c.told, c.err = nil, nil
	code, _ = send(adt("A03", "T"))
	require.Equal(t, AckAccept, code)
	require.Len(t, c.told, 1)
}

// With TLS only clients with a trusted certificate get in.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	authority, key := certificate(t, "authority", nil, nil)
	pool := x509.NewCertPool()
	pool.AddCert(authority.Leaf)
	host, _ := certificate(t, "127.0.0.1", &authority, key)
	monitor, _ := certificate(t, "monitor", &authority, key)
	stranger, _ := certificate(t, "stranger", nil, nil)

	var name string
	server, err := NewServer(&sink{}, &ServerOptions{Logger: silent, Allow: func(_ context.Context, p Peer, _ *Message) error {
		name = p.TLS.PeerCertificates[0].Subject.CommonName
		return nil
	}})
	require.NoError(t, err)
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ln := tls.NewListener(plain, &tls.Config{Certificates: []tls.Certificate{host}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert})
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	dial := func(certs ...tls.Certificate) error {
		conn, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{RootCAs: pool, Certificates: certs})
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := conn.Write(frame(oru("1", "72"))); err != nil {
			return err
		}
		in := frames{bufio.NewReader(conn), 1 << 20}
		return in.begin()
	}
	assert.NoError(t, dial(monitor))
	assert.Equal(t, "monitor", name)
	assert.Error(t, dial(), "no certificate")
	assert.Error(t, dial(stranger), "one that nobody vouches for")
	assert.EqualValues(t, 1, server.Stats().Messages)
	conn, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write(frame(oru("1", "72")))
	require.NoError(t, err)
	_, err = io.ReadAll(conn)
	assert.EqualValues(t, 1, server.Stats().Messages, "without TLS: %v", err)
	require.NoError(t, server.Shutdown(t.Context()))
	require.ErrorIs(t, <-done, net.ErrClosed)
}

// certificate makes a certificate, signed by parent or by itself.
func certificate(t *testing.T, name string, parent *tls.Certificate, parentKey *ecdsa.PrivateKey) (tls.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: parent == nil, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	issuer, signer := template, key
	if parent != nil {
		issuer, signer = parent.Leaf, parentKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, key
}
