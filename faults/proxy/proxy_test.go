package proxy

import (
	"bytes"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// echo answers every byte with itself, and ends when its client does.
func echo(t *testing.T) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

func start(t *testing.T) (*Proxy, func() net.Conn) {
	p, err := New("tcp", echo(t))
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p, func() net.Conn {
		c, err := net.Dial("tcp", p.Addr())
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
		return c
	}
}

// says sends text and reads it back.
func says(t *testing.T, c net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(c, text)
	require.NoError(t, err)
	got := make([]byte, len(text))
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
}

// silent reads for a while and gets nothing, and the connection stays.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	n, err := c.Read(make([]byte, 1))
	require.Zero(t, n)
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	require.True(t, timeout.Timeout(), "%v", err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
}

// All bytes come through in pieces of any size, and so does the end.
func TestGoodAndSlicedLines(t *testing.T) {
	p, dial := start(t)
	text := bytes.Repeat([]byte("0123456789"), 20000)
	for _, f := range []Fault{{}, {Slice: 777}, {Slice: 1 << 20, Rate: 10 << 20}, {Delay: time.Millisecond}} {
		p.SetBoth(f)
		c := dial()
		go func() {
			c.Write(text)
			c.(*net.TCPConn).CloseWrite()
		}()
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.True(t, bytes.Equal(text, got), "%+v: %d of %d bytes", f, len(got), len(text))
	}
	require.Equal(t, 4, p.Taken())
}

func TestDelayAndRate(t *testing.T) {
	p, dial := start(t)
	c := dial()
	says(t, c, "quick")
	for _, f := range []Fault{{Delay: 100 * time.Millisecond}, {Slice: 1, Rate: 50}} { // 6 bytes of which the last is not waited for
		p.Set(Down, f)
		before := time.Now()
		says(t, c, "slowly")
		require.GreaterOrEqual(t, time.Since(before), 95*time.Millisecond)
	}
}

// Held bytes go on in their place when the hole closes: one way or both.
func TestHold(t *testing.T) {
	p, dial := start(t)
	c := dial()
	for _, ways := range [][]Way{{Up}, {Down}, {Up, Down}} {
		for _, w := range ways {
			p.Set(w, Fault{Hold: true})
		}
		_, err := io.WriteString(c, "a")
		require.NoError(t, err)
		silent(t, c)
		later := dial()
		_, err = io.WriteString(later, "b")
		require.NoError(t, err)
		silent(t, later)
		p.Heal()
		got := make([]byte, 1)
		_, err = io.ReadFull(c, got)
		require.NoError(t, err)
		require.Equal(t, "a", string(got))
		says(t, c, "c")
	}
}

func TestForget(t *testing.T) {
	p, dial := start(t)
	c := dial()
	says(t, c, "a")
	p.Forget()
	_, err := io.WriteString(c, "b")
	require.NoError(t, err)
	says(t, dial(), "c")
	p.Heal()
	silent(t, c)
}

func TestReset(t *testing.T) {
	p, dial := start(t)
	isReset := func(c net.Conn) {
		t.Helper()
		_, err := io.ReadAll(c)
		require.ErrorIs(t, err, syscall.ECONNRESET)
	}
	c, held := dial(), dial()
	says(t, c, "a")
	says(t, held, "a")
	p.Set(Up, Fault{Hold: true})
	require.Equal(t, 2, p.Reset())
	isReset(c)
	isReset(held)
	p.Heal()
	says(t, dial(), "a")

	refused := func() {
		t.Helper()
		c, err := net.Dial("tcp", p.Addr())
		if err == nil { // else it was reset even sooner
			defer c.Close()
			_, err = io.ReadAll(c)
		}
		require.ErrorIs(t, err, syscall.ECONNRESET)
	}
	p.Refuse(true)
	refused()
	p.Refuse(false)
	p.Set(Down, Fault{Limit: 3})
	c = dial()
	_, err := io.WriteString(c, "abcd")
	require.NoError(t, err)
	got, _ := io.ReadAll(c)
	require.LessOrEqual(t, len(got), 3)
	p.Heal()

	p.Target("tcp", "127.0.0.1:1") // nobody
	refused()
	p.Close()
	_, err = net.Dial("tcp", p.Addr())
	require.Error(t, err)
}
