package carewire

import (
	"bufio"
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// After any bytes that a stranger sends behind the handshake, the Hub goes on
// serving others, and the stranger's connection ends.
func FuzzRawFrames(f *testing.F) {
	masked := func(first byte, text string) []byte {
		b := []byte{first, 0x80 | byte(len(text)), 0, 0, 0, 0}
		if len(text) > 125 {
			b = []byte{first, 0x80 | 126, byte(len(text) >> 8), byte(len(text)), 0, 0, 0, 0}
		}
		return append(b, text...)
	}
	join := func(parts ...[]byte) (b []byte) {
		for _, p := range parts {
			b = append(b, p...)
		}
		return b
	}
	f.Add(masked(0x81, `{"type":"watch","req":"1","patients":["p1"]}`))
	f.Add(masked(0x81, `{"type":"publish","req":"1","vitals":[{"patient":"p1","code":"8867-4","value":72,"unit":"/min"}]}`))
	f.Add(join(masked(0x01, `{"type":"unwatch",`), masked(0x89, "ping"), masked(0x80, `"req":"1","patients":["p1"]}`)))
	f.Add(masked(0x82, "binary"))
	f.Add(masked(0x81, "\xff"))
	f.Add(masked(0x88, "\x03\xe8bye"))
	f.Add(masked(0x88, "\x00"))
	f.Add([]byte{0x81, 0x05, 'h', 'e', 'l', 'l', 'o'})
	f.Add([]byte{0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0})
	f.Add([]byte{0xf1, 0x80, 0, 0, 0, 0})
	f.Add(join(masked(0x81, `{"type":"raise","req":"1","event_id":"e","alert":{"patient":"p1","key":"k","text":"x","priority":"high"}}`),
		masked(0x81, `{"type":"answer","req":"2","patient":"p1","key":"k","alert_id":"e","event_id":"f","do":"accept"}`),
		masked(0x81, `{"type":"history","req":"3","patient":"p1"}`), masked(0x81, `{"type":"token","req":"4","token":"nurse"}`)))

	w := newWorld(&testing.T{}, nil, nil)
	f.Cleanup(w.close)
	f.Fuzz(func(t *testing.T, b []byte) {
		conn, err := w.net.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patienceOfTests))
		go conn.Write(append([]byte("GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer nurse\r\n\r\n"), append(b, 0x88, 0x80, 0, 0, 0, 0)...))
		r := bufio.NewReader(conn)
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%v %v", resp, err)
		}
		for { // until the server has had enough, or waits for the rest of a frame
			if _, err := r.ReadByte(); err != nil {
				break
			}
			if r.Buffered() == 0 {
				conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			}
		}
		control, err := w.tryDial("nurse")
		if err != nil {
			t.Fatal(err)
		}
		defer control.ws.CloseNow()
		ctx, cancel := context.WithTimeout(t.Context(), patienceOfTests)
		defer cancel()
		if err := control.ws.Write(ctx, websocket.MessageText, []byte(`{"type":"unwatch","req":"c","patients":["p1"]}`)); err != nil {
			t.Fatal(err)
		}
		for {
			_, b, err := control.ws.Read(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if string(b) == `{"type":"ok","req":"c"}` {
				return
			}
		}
	})
}
