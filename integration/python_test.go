package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/process"
)

const welcome = `{"type":"welcome","session":"s","principal":{"id":"x","role":"device"},"role":"device","time":"2026-03-01T08:00:00.000Z",` +
	`"heartbeat_s":20,"limits":{"frame":65536,"vitals":2,"patients":10,"keys":10,"history":10},"features":[],"durable":true}`

// serveScript is a server that calls f with each connection. The
// connection ends with the test.
func serveScript(t *testing.T, f func(ws *websocket.Conn)) (url string) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{carewire.Protocol}})
		if err != nil {
			return
		}
		defer ws.CloseNow()
		f(ws)
	}))
	t.Cleanup(srv.Close)
	return strings.Replace(srv.URL, "http", "ws", 1)
}

func sendText(t *testing.T, ws *websocket.Conn, text string) {
	if err := ws.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil && t.Context().Err() == nil {
		t.Logf("writing: %v", err)
	}
}

// The vitals that a Python device has kept while there was no line go out in as
// many publishes as the server's limit asks for.
func TestPythonDeviceHeedsTheLimit(t *testing.T) {
	need(t, needPython)
	sizes := make(chan int, 100)
	url := serveScript(t, func(ws *websocket.Conn) {
		time.Sleep(3500 * time.Millisecond) // four are waiting by then
		sendText(t, ws, welcome)
		for {
			_, b, err := ws.Read(t.Context())
			if err != nil {
				return
			}
			var q struct {
				Req    string
				Vitals []any
			}
			if json.Unmarshal(b, &q) != nil || q.Vitals == nil {
				continue
			}
			sizes <- len(q.Vitals)
			results := strings.TrimSuffix(strings.Repeat(`{"seq":1},`, len(q.Vitals)), ",")
			sendText(t, ws, fmt.Sprintf(`{"type":"ok","req":%q,"results":[%s]}`, q.Req, results))
		}
	})
	startPython(t, "../examples/python/device.py", "--url", url)
	for range 4 {
		select {
		case n := <-sizes:
			require.LessOrEqual(t, n, 2)
		case <-time.After(process.Patience):
			require.Fail(t, "nothing is published")
		}
	}
}

// A Python clinician asks again for a patient whose access could not be decided,
// shows 0 as 0, and accepts an alert again that its owner has lost.
func TestPythonClinicianGoesOn(t *testing.T) {
	need(t, needPython)
	answers := make(chan string, 100)
	url := serveScript(t, func(ws *websocket.Conn) {
		sendText(t, ws, welcome)
		alert := func(seq int, patient, state string) {
			sendText(t, ws, fmt.Sprintf(`{"type":"alert","patient":%q,"epoch":"E","seq":%d,"must":%[2]d,"alert":{"patient":%[1]q,"alert_id":"a",`+
				`"key":"k","priority":"high","text":"x","condition":"present","responsibility":{"state":%[3]q}}}`, patient, seq, state))
		}
		watches := 0
		for {
			_, b, err := ws.Read(t.Context())
			if err != nil {
				return
			}
			var q struct{ Type, Req, Patient string }
			if json.Unmarshal(b, &q) != nil {
				return
			}
			switch q.Type {
			case "watch":
				switch watches++; watches {
				case 1:
					sendText(t, ws, fmt.Sprintf(`{"type":"error","req":%q,"code":"unavailable","retry":"later"}`, q.Req))
				case 2:
					sendText(t, ws, fmt.Sprintf(`{"type":"ok","req":%q,"watching":[],"refused":[{"patient":"p","code":"undecided"}]}`, q.Req))
				default:
					sendText(t, ws, fmt.Sprintf(`{"type":"ok","req":%q,"watching":["p","q"],"refused":[]}`, q.Req))
					sendText(t, ws, `{"type":"vital","patient":"p","epoch":"E","seq":1,"must":0,"vital":{"patient":"p","code":"c","value":0,"unit":"u","time":"T"}}`)
					alert(2, "p", "undefined")
					alert(3, "p", "accepted")
					alert(4, "p", "undefined") // it has run out
					alert(5, "q", "undefined") // another's, of the same ID
				}
			case "answer":
				answers <- q.Patient
				sendText(t, ws, fmt.Sprintf(`{"type":"ok","req":%q,"alert":{"patient":%q,"key":"k"}}`, q.Req, q.Patient))
			}
		}
	})
	r := startPython(t, "../examples/python/clinician.py", "--url", url, "--patient", "p", "--patient", "q")
	r.Out.Await(t, 0, `^T p c 0 u$`)
	for _, want := range []string{"p", "p", "q"} {
		select {
		case got := <-answers:
			require.Equal(t, want, got)
		case <-time.After(process.Patience):
			require.Fail(t, "no answer", want)
		}
	}
}

// A line on which nothing moves any more, without an error, is given up.
func TestPythonNoticesADeadLine(t *testing.T) {
	need(t, needPython)
	tries := make(chan struct{}, 100)
	url := serveScript(t, func(ws *websocket.Conn) {
		sendText(t, ws, welcome)
		tries <- struct{}{}
		<-t.Context().Done() // pings are not read, and not answered
	})
	startPython(t, "../examples/python/clinician.py", "--url", url, "--patient", "p")
	for range 2 {
		select {
		case <-tries:
		case <-time.After(process.Patience):
			require.Fail(t, "it does not come back")
		}
	}
}
