package faults

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/faults/drive"
	"github.com/carewire/carewire/internal/process"
)

// A node is set upon by three times as many clients as its limits let in from
// one address. Each watches everybody, reads nothing, and sends a message of
// the greatest length that it does not end. Those beyond the limit are refused,
// the node stays within 256 MB, and nobody else misses anything or is kept out.
func TestLittleMemory(t *testing.T) {
	t.Parallel()
	const most = 1000
	n := drive.NewNode(t, "-data", t.TempDir(), "-max-per-address", fmt.Sprint(most))
	n.Program = filepath.Join(t.TempDir(), "node")
	require.NoError(t, drive.Build(n.Program, "-race=false")) // the detector needs more by itself
	n.Wrap = []string{"env", "GOMEMLIMIT=200MiB"}
	w := drive.Open(t, drive.Options{Nodes: []*drive.Node{n}, Beds: 4})
	n.Start()
	w.Load()

	var patients []string
	for _, b := range w.Beds {
		patients = append(patients, b.Patient)
	}
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	var mu sync.Mutex
	var all []net.Conn
	refused := 0
	var coming sync.WaitGroup
	for one := range 20 {
		coming.Go(func() {
			for i := range 3 * most / 20 {
				c, err := from.DialContext(t.Context(), "tcp", n.Addr)
				if !assert.NoError(t, err) {
					return
				}
				status := greedy(c, fmt.Sprintf("greedy-%d-%d", one, i), patients)
				mu.Lock()
				all = append(all, c)
				if status == http.StatusTooManyRequests {
					refused++
				}
				mu.Unlock()
			}
		})
	}
	coming.Wait()
	w.Verify()
	highest := peak(t, n.Last().Cmd.Process.Pid)
	assert.Less(t, highest, 256<<10, "KB")
	for _, c := range all {
		c.Close()
	}
	process.Poll(t, process.Patience, func() (bool, string) {
		c, err := from.DialContext(t.Context(), "tcp", n.Addr)
		require.NoError(t, err)
		defer c.Close()
		status := greedy(c, "later", patients)
		return status == http.StatusSwitchingProtocols, http.StatusText(status)
	})
	w.Finish()
	t.Logf("%d refused, %d let in, %d KB at most", refused, len(all)-refused, highest)
}

// peak returns the most memory that a process has had at once, in KB.
func peak(t *testing.T, pid int) (kb int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip("needs Linux: ", err)
	}
	_, line, _ := strings.Cut(string(b), "VmHWM:")
	_, err = fmt.Sscan(line, &kb)
	require.NoError(t, err)
	return kb
}

// greedy connects, asks for everything, and sends a message that does not end.
// It returns the status of the handshake.
func greedy(c net.Conn, token string, patients []string) int {
	c.(*net.TCPConn).SetReadBuffer(4 << 10)
	c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(c, "GET /carewire HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer %s\r\n\r\n", c.RemoteAddr(), token)
	r, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil)
	if err != nil || r.StatusCode != http.StatusSwitchingProtocols {
		if r == nil {
			return 0
		}
		return r.StatusCode
	}
	watch := fmt.Sprintf(`{"type":"watch","req":"1","delivery":"every","patients":["%s"]}`, strings.Join(patients, `","`))
	const most = 64 << 10
	c.Write(append(masked(len(watch)), watch...))
	c.Write(append(masked(most), bytes.Repeat([]byte(" "), most-1)...))
	return r.StatusCode
}

// masked is the header of a text frame whose mask changes nothing.
func masked(length int) []byte {
	h := []byte{0x81, 0x80 | 127}
	h = binary.BigEndian.AppendUint64(h, uint64(length))
	if length < 1<<16 {
		h = binary.BigEndian.AppendUint16([]byte{0x81, 0x80 | 126}, uint16(length))
	}
	if length < 126 {
		h = []byte{0x81, 0x80 | byte(length)}
	}
	return append(h, 0, 0, 0, 0)
}
