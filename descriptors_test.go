//go:build linux

package carewire

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const descriptors = 256

// serveWithFewDescriptors is the child: a Hub whose MaxConnections is more than
// it has descriptors. It ends with its input.
func serveWithFewDescriptors(t *testing.T) {
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: descriptors, Max: descriptors}))
	h, err := New(AuthenticatorFunc(byToken), NewMemoryStore(nil), nil)
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go srv.Serve(l)
	ctx, stop := context.WithCancel(context.Background())
	publishing := make(chan struct{})
	go func() {
		defer close(publishing)
		for range time.Tick(10 * time.Millisecond) {
			if _, err := h.Publish(ctx, HeartRate.Of("p1", 60)); err != nil {
				return
			}
		}
	}()
	os.Stdout.WriteString("serving " + l.Addr().String() + "\n")
	bufio.NewReader(os.Stdin).ReadString('\n')
	stop()
	<-publishing
	end, cancel := context.WithTimeout(context.Background(), patienceOfTests)
	defer cancel()
	assert.NoError(t, h.Shutdown(end))
	srv.Close()
}

// A process that has no descriptors left takes nobody in for a while; connected
// clients miss nothing, and it goes on when there are some again.
func TestDescriptorsExhausted(t *testing.T) {
	if os.Getenv("CAREWIRE_FEW_DESCRIPTORS") != "" {
		serveWithFewDescriptors(t)
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*patienceOfTests)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestDescriptorsExhausted$", "-test.v")
	child.Env = append(os.Environ(), "CAREWIRE_FEW_DESCRIPTORS=1")
	in, err := child.StdinPipe()
	require.NoError(t, err)
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	var complaints lockedBuffer
	child.Stderr = &complaints
	require.NoError(t, child.Start())
	address := ""
	lines := bufio.NewScanner(out)
	for address == "" && lines.Scan() {
		_, address, _ = strings.Cut(lines.Text(), "serving ")
	}
	require.NotEmpty(t, address)
	var rest sync.WaitGroup
	rest.Go(func() {
		for lines.Scan() {
		}
	})

	var control *raw
	eventually(t, "somebody is taken in", func() bool {
		control = dialAt(ctx, t, address)
		return control != nil
	})
	defer control.ws.CloseNow()
	control.ask(`{"type":"watch","req":"1","patients":["p1"],"delivery":"every"}`)
	control.until("synced")
	seq := 0
	follow := func(n int) { // the next n vitals come, each
		for range n {
			now := seqOf(control.until("vital"))
			if seq != 0 {
				require.Equal(t, seq+1, now)
			}
			seq = now
		}
	}
	follow(3)

	var open []net.Conn
	for range descriptors + 50 { // the kernel takes them, and the process cannot
		c, err := net.Dial("tcp", address)
		require.NoError(t, err)
		defer c.Close()
		open = append(open, c)
		c.Write([]byte(hello("viewer")))
	}
	eventually(t, "it runs out", func() bool {
		follow(1)
		return strings.Contains(complaints.String(), "too many open files")
	})
	follow(100)
	answered := make(map[net.Conn]bool)
	eventually(t, "most of the connections that it has room for are accepted", func() bool {
		follow(1)
		for _, c := range open {
			c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if n, _ := c.Read(make([]byte, 12)); n > 0 {
				answered[c] = true
			}
		}
		return len(answered) > descriptors/2
	})
	assert.Less(t, len(answered), descriptors)
	follow(100)
	for _, c := range open {
		c.Close()
	}
	eventually(t, "it takes somebody in again", func() bool {
		r := dialAt(ctx, t, address)
		if r != nil {
			r.ws.CloseNow()
		}
		return r != nil
	})
	follow(100)
	in.Close()
	require.NoError(t, control.gone(ctx))
	rest.Wait()
	assert.NoError(t, child.Wait(), "it has lived, and ends in order")
}

// dialAt connects as the nurse; nil if that does not work within two seconds.
func dialAt(ctx context.Context, t *testing.T, address string) *raw {
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(short, "ws://"+address, &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer nurse"}}, Subprotocols: []string{Protocol},
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}})
	if err != nil {
		return nil
	}
	return &raw{t: t, ws: ws}
}

// gone reads until the Hub says that it ends.
func (r *raw) gone(ctx context.Context) error {
	for {
		if _, _, err := r.ws.Read(ctx); websocket.CloseStatus(err) == websocket.StatusCode(CloseRestart) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
