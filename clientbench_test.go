package carewire

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// serverFrame makes a whole text message of a server.
func serverFrame(text string) []byte {
	head := []byte{0x81, byte(len(text))}
	if len(text) > 125 {
		head = binary.BigEndian.AppendUint16([]byte{0x81, 126}, uint16(len(text)))
	}
	return append(head, text...)
}

// A feed is a server that answers one watch and then sends what it is told, so that
// whatever is allocated meanwhile is the client's.
type feed struct {
	conn chan net.Conn
}

func (f *feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: %s\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		Protocol, base64.StdEncoding.EncodeToString(sum[:]))
	conn.Write(serverFrame(`{"type":"welcome","protocol":"` + Protocol + `","principal":{"id":"n","role":"clinician"},"heartbeat_s":20,"time":"2026-03-01T08:00:00.000Z"}`))
	in := bufio.NewReader(conn)
	if _, err := in.Peek(1); err != nil {
		return
	}
	for _, text := range []string{
		`{"type":"ok","req":"1","patients":["p-1"]}`,
		`{"type":"sync","patient":"p-1","epoch":"e","seq":0,"must":0,"recovered":false}`,
		`{"type":"synced","patient":"p-1","epoch":"e","seq":0,"must":0}`,
	} {
		conn.Write(serverFrame(text))
	}
	f.conn <- conn
	io.Copy(io.Discard, in)
}

// The Go client takes few allocations for an event: the frame, the Vital, the Event
// and its place in the queue.
func TestClientReadsCheaply(t *testing.T) {
	require.LessOrEqual(t, testing.Benchmark(BenchmarkClientReads).AllocsPerOp(), int64(8))
}

// BenchmarkClientReads counts what the Go client allocates for an event.
func BenchmarkClientReads(b *testing.B) {
	f := &feed{conn: make(chan net.Conn, 1)}
	srv := httptest.NewServer(f)
	b.Cleanup(srv.Close)
	c, err := Dial(b.Context(), "ws"+strings.TrimPrefix(srv.URL, "http"), nil)
	require.NoError(b, err)
	b.Cleanup(func() { c.Close() })
	_, err = c.Watch(b.Context(), WatchOptions{Patients: []string{"p-1"}, Delivery: DeliverEvery})
	require.NoError(b, err)
	conn := <-f.conn
	const together = 500
	var parts [][]byte
	for i := range b.N {
		if i%together == 0 {
			parts = append(parts, nil)
		}
		part := &parts[len(parts)-1]
		*part = append(*part, serverFrame(fmt.Sprintf(`{"type":"vital","patient":"p-1","epoch":"e","seq":%d,"must":0,"vital":{"code":"8867-4","value":72,"unit":"/min",`+
			`"time":"2026-03-01T08:00:00.000Z","device":"monitor-7","vital_id":"monitor-7.%06d","received":"2026-03-01T08:00:00.100Z"}}`, i+1, i))...)
	}
	n := 0
	b.ReportAllocs()
	b.ResetTimer()
	conn.Write(parts[0])
	for ev, err := range c.Events(b.Context()) {
		if err != nil {
			b.Fatal(err)
		}
		if ev.Vital == nil {
			continue
		}
		if n++; n == b.N {
			return
		}
		if n%together == 0 {
			conn.Write(parts[n/together])
		}
	}
}
