package carewire

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/internal/memnet"
)

// people are the principals of the tests; the token is the key.
var people = map[string]Principal{
	"nurse":   {ID: "nurse", Name: "Nora Nurse", Role: RoleClinician, Patients: []string{"p1", "p2", "p3", SystemPatient}, Groups: []string{"icu"}},
	"doctor":  {ID: "doctor", Name: "Dora Doctor", Role: RoleClinician, Patients: []string{"p1", "p2"}, Groups: []string{"icu"}},
	"device":  {ID: "device", Role: RoleDevice, Patients: []string{"p1", "p2", "p3"}},
	"pat":     {ID: "pat", Name: "Pat", Role: RolePatient, Patients: []string{"p1"}},
	"family":  {ID: "family", Role: RolePatient, Patients: []string{"p1", "p2"}},
	"viewer":  {ID: "viewer", Role: RoleViewer, Patients: []string{"p1"}},
	"service": {ID: "service", Role: RoleService, Patients: []string{"p1", "p2"}},
	"nobody":  {ID: "nobody", Role: RoleClinician},
}

func byToken(r *http.Request) (Principal, error) {
	p, ok := people[Token(r)]
	if !ok {
		return Principal{}, ErrUnauthenticated
	}
	return p, nil
}

// world is a Hub behind an http.Server in memory.
type world struct {
	t     *testing.T
	hub   *Hub
	store Store
	net   *memnet.Listener
	srv   *http.Server
}

func newWorld(t *testing.T, store Store, o *Options) *world {
	t.Helper()
	if store == nil {
		store = NewMemoryStore(nil)
	}
	quiet := Options{}
	if o != nil {
		quiet = *o
	}
	if quiet.Logger == nil {
		quiet.Logger = slog.New(slog.DiscardHandler)
	}
	h, err := New(AuthenticatorFunc(byToken), store, &quiet)
	require.NoError(t, err)
	w := &world{t: t, hub: h, store: store, net: memnet.Listen(), srv: &http.Server{Handler: h}}
	go w.srv.Serve(w.net)
	return w
}

// close shuts everything down and waits for it.
func (w *world) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(w.t, w.hub.Shutdown(ctx))
	w.srv.Close()
}

// raw is a client that shows every frame as it comes.
type raw struct {
	t    *testing.T
	ws   *websocket.Conn
	conn net.Conn
}

func (w *world) dial(token string) *raw {
	w.t.Helper()
	r, err := w.tryDial(token)
	require.NoError(w.t, err)
	return r
}

func (w *world) tryDial(token string) (*raw, error) {
	r := &raw{t: w.t}
	ws, _, err := websocket.Dial(context.Background(), "ws://localhost/", &websocket.DialOptions{
		HTTPHeader:   http.Header{"Authorization": {"Bearer " + token}},
		Subprotocols: []string{Protocol},
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := w.net.Dial(ctx)
			r.conn = c
			return c, err
		}}},
	})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(1 << 20)
	r.ws = ws
	return r, nil
}

type object = map[string]any

// read returns the next frame.
func (r *raw) read() object {
	r.t.Helper()
	_, b, err := r.ws.Read(context.Background())
	require.NoError(r.t, err)
	var o object
	require.NoError(r.t, json.Unmarshal(b, &o))
	return o
}

// until reads up to the first frame of the given type, and returns it.
func (r *raw) until(typ string) object {
	r.t.Helper()
	for range 1000 {
		if o := r.read(); o["type"] == typ {
			return o
		}
	}
	require.Fail(r.t, "no "+typ)
	return nil
}

func (r *raw) send(text string) {
	r.t.Helper()
	require.NoError(r.t, r.ws.Write(context.Background(), websocket.MessageText, []byte(text)))
}

// ask sends a request and returns its reply, dropping events before it.
func (r *raw) ask(text string) object {
	r.t.Helper()
	r.send(text)
	for range 1000 {
		if o := r.read(); o["type"] == "ok" || o["type"] == "error" {
			return o
		}
	}
	require.Fail(r.t, "no reply")
	return nil
}

func TestVitalAlertAndAnswerEndToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		nurse, device := w.dial("nurse"), w.dial("device")
		defer nurse.ws.CloseNow()
		defer device.ws.CloseNow()

		require.Equal(t, "welcome", nurse.read()["type"])
		require.Equal(t, object{"type": "inbox", "items": []any{}, "done": true}, nurse.read())
		require.Equal(t, []any{"p1"}, nurse.ask(`{"type":"watch","req":"1","patients":["p1"]}`)["watching"])
		require.Equal(t, false, nurse.read()["recovered"])
		require.Equal(t, "synced", nurse.read()["type"])

		ok := device.ask(`{"type":"publish","req":"a","vitals":[{"patient":"p1","code":"8867-4","value":72.0,"unit":"/min"}]}`)
		require.Equal(t, []any{object{"seq": 1.0}}, ok["results"])
		v := nurse.read()
		require.Equal(t, "vital", v["type"])
		require.EqualValues(t, 72, v["vital"].(object)["value"])

		raised := device.ask(`{"type":"raise","req":"b","event_id":"e1","alert":{"patient":"p1","key":"hr","text":"HR high","priority":"high"}}`)
		require.Equal(t, "ok", raised["type"], raised)
		a := nurse.until("alert")
		require.Equal(t, "e1", a["alert"].(object)["alert_id"])

		done := nurse.ask(`{"type":"answer","req":"2","patient":"p1","key":"hr","alert_id":"e1","event_id":"e2","do":"accept"}`)
		require.Equal(t, "accepted", done["alert"].(object)["responsibility"].(object)["state"])
	})
}
