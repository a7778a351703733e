package fhir

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/internal/memnet"
)

// stuck connects strangers that send frames and then the header of a frame of 1 GB
// with nothing in it, and read everything that comes.
func (w *world) stuck() func(frames ...string) net.Conn {
	l := memnet.Listen()
	srv := &http.Server{Handler: w}
	go srv.Serve(l)
	w.t.Cleanup(func() { srv.Close() })
	return func(frames ...string) (raw net.Conn) {
		w.t.Helper()
		_, _, err := websocket.Dial(w.t.Context(), "ws://ehr.test/fhir/"+socketPath, &websocket.DialOptions{HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (_ net.Conn, err error) {
				raw, err = l.Dial(ctx)
				return raw, err
			}}}})
		require.NoError(w.t, err)
		go io.Copy(io.Discard, raw)
		go func() { // until the Server cuts it
			for _, f := range append(frames, "\x82\xff\x00\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00") {
				io.WriteString(raw, f)
			}
		}()
		return raw
	}
}

const (
	binaryFrame = "\x82\x81\x00\x00\x00\x00x"
	badToken    = "\x81\x93\x00\x00\x00\x00bind-with-token x.y"
)

// A client that begins a long message and sends none of it is cut off when its
// socket is closed, for any reason.
func TestStuckClientsAreCut(t *testing.T) {
	for name, frames := range map[string][]string{"a message of the wrong type": {binaryFrame}, "tokens that are not good": slices.Repeat([]string{badToken}, refusedMost),
		"nothing bound": nil} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil, nil, nil)
			defer w.close()
			raw := w.stuck()(frames...)
			defer raw.Close()
			time.Sleep(writeWithin / 2)
			assert.Equal(t, 1, w.server.Stats().Sockets, name)
			time.Sleep(bindWithin + writeWithin)
			assert.Zero(t, w.server.Stats().Sockets, name)
		})
	}
}

// A Server closes in time, though clients do not let it close their sockets.
func TestCloseCutsStuckClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil, nil)
		dial := w.stuck()
		for _, frames := range [][]string{{binaryFrame}, nil} {
			raw := dial(frames...)
			defer raw.Close()
		}
		synctest.Wait()
		began := time.Now()
		w.close()
		assert.LessOrEqual(t, time.Since(began), writeWithin)
	})
}

// A socket that has given its place to another counts until it is gone, and there
// is a limit to how many wait for that.
func TestSocketsBeingClosedCount(t *testing.T) {
	w := newWorld(t, nil, nil, &Options{MaxSockets: 2})
	defer w.close()
	x := &w.server.sockets
	var list []*socket
	add := func() bool {
		k := &socket{s: w.server, end: func() {}}
		if !x.add(k) {
			return false
		}
		list = append(list, k)
		return true
	}
	for range 2 + idleMost {
		require.True(t, add())
	}
	assert.Equal(t, 2+idleMost, w.server.Stats().Sockets)
	assert.Equal(t, 2, x.places)
	assert.False(t, add())
	x.remove(list[0])
	require.True(t, add(), "one is gone")
	assert.False(t, add())
	for _, k := range list[1:] {
		x.remove(k)
	}
	assert.Zero(t, x.places)
	assert.Zero(t, w.server.Stats().Sockets)
}
