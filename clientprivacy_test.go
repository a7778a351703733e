package carewire

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/internal/memnet"
)

// canaryServer answers each handshake in another way, with a canary wherever
// the server has a say.
func canaryServer(w http.ResponseWriter, r *http.Request, n int) {
	accept := func(frames ...string) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{Protocol}})
		if err != nil {
			return
		}
		for _, f := range frames {
			ws.Write(context.Background(), websocket.MessageText, []byte(f))
		}
		ws.Close(websocket.StatusCode(CloseRestart), "canary reason")
	}
	switch n % 6 {
	case 0:
		accept(plainWelcome, `{"type":"canary","canary":`, `{"type":"vital","vital":{"canary":[}}`, `{"type":"alert","alert":{"text":71937193}}`,
			`{"type":"head","heads":[{"patient":71937193,"canary":"canary"}]}`, `{"type":"canary`)
	case 1:
		w.Header().Set("Location", "https://canary.test/canary")
		http.Error(w, "canary", http.StatusServiceUnavailable)
	case 2:
		conn, _, _ := w.(http.Hijacker).Hijack()
		go func() {
			io.WriteString(conn, "HTTP/1.1 101 canary\r\nUpgrade: canary\r\nConnection: Upgrade\r\n\r\n")
			conn.Close()
		}()
	case 3:
		accept()
	case 4:
		accept(`{"type":"canary","canary":71937193}`)
	case 5:
		accept(`{"type":"welcome","canary":canary`)
	}
}

// A Client repeats no text of its server, its token's issuer or its URL in its log,
// nor in its errors, except for the error of its host's Token.
func TestClientShowsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &exposure{t: t}
		var n, tokens atomic.Int64
		l := memnet.Listen()
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { canaryServer(w, r, int(n.Add(1)-1)) })}
		go srv.Serve(l)
		defer srv.Close()
		transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) }, DisableKeepAlives: true}
		o := &DialOptions{HTTPClient: &http.Client{Transport: transport}, Logger: x.logger(), Token: func(context.Context) (string, error) {
			if tokens.Add(1)%10 == 9 {
				return "", errors.New("no token for canary")
			}
			return "canary-token", nil
		}}
		n.Store(1)
		for range 5 {
			_, err := Dial(t.Context(), "ws://localhost/carewire?patient=canary", o)
			require.Error(t, err)
			x.error(err, "Dial")
		}
		broken := *o
		broken.HTTPClient = &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no route") }}}
		_, err := Dial(t.Context(), "ws://localhost/carewire?patient=canary", &broken)
		require.ErrorContains(t, err, "no route")
		x.error(err, "Dial")
		_, err = Dial(t.Context(), "canary://canary", o)
		x.error(err, "Dial")
		_, err = Dial(t.Context(), "ws://canary.test/canary", o)
		x.error(err, "Dial")
		c, err := Dial(t.Context(), "ws://localhost/carewire?patient=canary", o)
		require.NoError(t, err)
		time.Sleep(10 * time.Minute) // it comes back again and again
		c.Close()
		text := x.log.String()
		for _, said := range []string{"could not connect", "unreadable frame", "connection lost", "no token"} {
			assert.Contains(t, text, said)
		}
		for line := range strings.Lines(text) {
			x.clean(line, "log")
		}
	})
}
