package carewire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Connections without a request take a bounded number of places, in all and of one
// address. Excess ones are closed, and a request gives its place back.
func TestArrivals(t *testing.T) {
	t.Parallel()
	a := &Arrivals{Most: 8, PerAddress: 4}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") }))
	srv.Config.ConnState = a.ConnState
	srv.Start()
	defer srv.Close()
	dial := func(from byte) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, from)}}
		c, err := d.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Skip("needs several loopback addresses: ", err)
		}
		t.Cleanup(func() { c.Close() })
		require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
		return c
	}
	answered := func(c net.Conn) bool {
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return false
		}
		_, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.False(t, errors.Is(err, os.ErrDeadlineExceeded))
		return err == nil
	}
	var idle []net.Conn
	for range 4 {
		idle = append(idle, dial(2))
	}
	require.False(t, answered(dial(2)), "the fifth of one address")
	require.True(t, answered(dial(3)), "another address gets in")
	for range 4 {
		idle = append(idle, dial(4))
	}
	require.False(t, answered(dial(3)), "all places are taken")
	require.True(t, answered(idle[0]))
	require.True(t, answered(dial(3)), "a request gives its place back")
	require.Equal(t, uint64(2), a.Refused())
	for _, c := range idle {
		c.Close()
	}
	srv.CloseClientConnections()
	for { // the server notices each
		a.mu.Lock()
		left := len(a.waiting) + len(a.from)
		a.mu.Unlock()
		if left == 0 {
			break
		}
	}
}

// A stream that nobody reads leaves little in the kernel: writing waits, and
// newer events stay where they can be replaced.
func TestUnreadStreamIsBounded(t *testing.T) {
	t.Parallel()
	held := func(a *Arrivals) (n int) {
		done := make(chan int, 1)
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(w)
			n, some := 0, []byte(strings.Repeat("x", 16<<10))
			for {
				rc.SetWriteDeadline(time.Now().Add(500 * time.Millisecond)) // nobody reads: it comes
				if _, err := w.Write(some); err != nil || rc.Flush() != nil {
					done <- n
					return
				}
				n += len(some)
			}
		}))
		if a != nil {
			srv.Config.ConnState = a.ConnState
		}
		srv.Start()
		defer srv.Close()
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, c.(*net.TCPConn).SetReadBuffer(4<<10))
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		return <-done
	}
	bound, without := held(&Arrivals{}), held(nil)
	t.Logf("%d KB, without a bound %d KB", bound>>10, without>>10)
	require.Less(t, bound, 1<<20)
	require.Less(t, bound, without)
}
