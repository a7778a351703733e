package carewire

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// Who tries tokens on a connection is answered twenty times, then it ends.
func TestFailedTokensArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		for i := range mistakes {
			require.Equal(t, "unauthorized", nurse.ask(fmt.Sprintf(`{"type":"token","req":"%d","token":"guess"}`, i))["code"])
		}
		nurse.send(`{"type":"token","req":"x","token":"guess"}`)
		_, code := nurse.all()
		require.Equal(t, websocket.StatusPolicyViolation, code)

		good := w.dial("nurse")
		defer good.ws.CloseNow()
		for i := range 2 * mistakes { // one in ten seconds is somebody's old token
			require.Equal(t, "unauthorized", good.ask(fmt.Sprintf(`{"type":"token","req":"%d","token":"guess"}`, i))["code"])
			time.Sleep(11 * time.Second)
		}
	})
}

// With MaxBytes a principal's requests are bounded in bytes, over all connections
// together; others' are not concerned.
func TestBytesOfRequestsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxBytes: 4000, MaxNotices: -1})
		defer w.close()
		n := 0
		send := func(c *raw) any {
			n++
			return c.ask(fmt.Sprintf(`{"type":"notify","req":"1","notice":{"patient":"p1","notice_id":"n%d","to":["patient"],"text":"%s"}}`, n, strings.Repeat("x", 1900)))["code"]
		}
		one, other, doctor := w.dial("nurse"), w.dial("nurse"), w.dial("doctor")
		for _, c := range []*raw{one, other, doctor} {
			defer c.ws.CloseNow()
		}
		var codes []any
		for range 3 {
			codes = append(codes, send(one), send(other))
		}
		require.Equal(t, []any{nil, nil, nil, nil, "busy", "busy"}, codes)
		require.Nil(t, send(doctor))
		time.Sleep(10 * time.Second)
		require.Nil(t, send(other))
	})
}

// A principal whose connections are ended with 1013 again and again is logged, once
// in a while and not by name, and counted.
func TestSlowAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		w := newWorld(t, nil, &Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		slow := func(token string) {
			c := w.dial(token)
			defer c.ws.CloseNow()
			synctest.Wait() // it has joined
			w.hub.registry.of(token)[0].tooSlow()
			_, code := c.all()
			require.Equal(t, websocket.StatusCode(CloseTryLater), code)
			synctest.Wait()
		}
		for range 5 {
			slow("nurse")
		}
		slow("doctor")
		require.Equal(t, uint64(6), w.hub.Stats().SlowClients)
		require.Equal(t, uint64(3), w.hub.Stats().SlowAgain)
		time.Sleep(slowWithin + time.Minute)
		slow("nurse")
		require.Equal(t, uint64(3), w.hub.Stats().SlowAgain)
		w.close()
		require.Equal(t, 1, strings.Count(log.String(), "again and again"))
		require.NotContains(t, log.String(), "nurse")
	})
	var s slowness
	for i := range 3 * slowMost {
		s.note(fmt.Sprint(i), 0)
	}
	require.LessOrEqual(t, len(s.of), slowMost)
}

// After a close frame what still comes is read slowly: a flood costs nothing, and
// ends with the connection.
func TestFloodBehindACloseFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		p := join(t, dialler(w, w.net, nil)(), "nurse")
		p.text("inbox")
		w.hub.registry.of("nurse")[0].close(ClosePolicy)
		taken := 0
		some := bytes.Repeat(masked(opText, "[]"), 500)
		for {
			p.conn.SetWriteDeadline(time.Now().Add(time.Minute))
			n, err := p.conn.Write(some)
			if taken += n; err != nil {
				break
			}
		}
		require.Less(t, taken, 5<<20, "bytes in five seconds")
	})
}
