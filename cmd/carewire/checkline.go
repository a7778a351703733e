package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/carewire/carewire"
)

const protocol = carewire.Protocol

// welcome is a Hub's first frame.
type welcome struct {
	Type    string    `json:"type"`
	Expires time.Time `json:"expires"`
	Time    time.Time `json:"time"`
	Durable bool      `json:"durable"`
	Limits  struct{ Frame int }
}

// dial connects by WebSocket. resp is the answer if it was no connection.
func (c *checker) dial(ctx context.Context, header http.Header, protocols ...string) (*websocket.Conn, *http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, c.ws, &websocket.DialOptions{HTTPClient: c.client, HTTPHeader: header, Subprotocols: protocols})
	if err != nil && resp != nil && resp.Body != nil {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return nil, resp, body, err
	}
	if ws != nil {
		ws.SetReadLimit(1 << 20)
	}
	return ws, nil, nil, err
}

func (c *checker) bearer() http.Header {
	return http.Header{"Authorization": {"Bearer " + c.token}}
}

// upgrade is a proxy's part in a WebSocket handshake.
const upgrade = "Let the proxy pass the handshake on. nginx:\n" +
	"proxy_http_version 1.1;\nproxy_set_header Upgrade $http_upgrade;\nproxy_set_header Connection $connection_upgrade;\n" +
	"docs/deployment/nginx.conf has it whole."

// handshake says why a handshake has failed.
func handshake(resp *http.Response, body []byte, err error) (saw, change string) {
	switch {
	case resp == nil:
		return "the handshake is not answered: " + cause(err), upgrade
	case resp.StatusCode == http.StatusUpgradeRequired, resp.StatusCode == http.StatusBadRequest, resp.StatusCode == http.StatusSwitchingProtocols:
		return "the handshake does not come through as it was sent (" + resp.Status + ")", upgrade
	}
	return status(resp, body)
}

// websocket connects, reads welcome, and asks something.
func (c *checker) websocket(ctx context.Context) bool {
	ws, resp, body, err := c.dial(ctx, c.bearer(), protocol)
	if err != nil {
		saw, change := handshake(resp, body, err)
		c.report(finding{"WebSocket", bad, saw, change})
		return false
	}
	defer ws.CloseNow()
	if ws.Subprotocol() != protocol {
		c.report(finding{"WebSocket", bad, "the subprotocol " + protocol + " is not confirmed", "Let the proxy pass Sec-WebSocket-Protocol on, both ways. Or it is no Hub that answers."})
		return false
	}
	w, err := readWelcome(ctx, ws)
	if err == nil {
		err = ws.Write(ctx, websocket.MessageText, []byte(`{"type":"check","req":"check"}`))
	}
	if err == nil {
		err = readUntil(ctx, ws, isReply)
	}
	if err != nil {
		c.report(finding{"WebSocket", bad, "the connection is set up, but then: " + cause(err), "Look whether the proxy holds WebSocket frames back, and at its log."})
		return false
	}
	c.report(finding{"WebSocket", good, "connected; a request and its reply come through", ""})
	c.limit = w.Limits.Frame
	c.said(w)
	return true
}

// said checks the Hub's own description of itself.
func (c *checker) said(w welcome) {
	if skew := time.Until(w.Time).Round(time.Second); skew.Abs() > 5*time.Second {
		c.report(finding{"clock", warning, fmt.Sprintf("this machine's clock and the host's differ by %s", skew.Abs()), "Set both by NTP: times of vitals come from devices' clocks."})
	} else {
		c.report(finding{"clock", good, "this machine's clock agrees with the host's", ""})
	}
	if !w.Durable {
		c.report(finding{"store", warning, "the host keeps events in memory: they are gone when it ends", "Use boltstore or pgstore."})
	} else {
		c.report(finding{"store", good, "confirmed events survive a crash", ""})
	}
	if left := time.Until(w.Expires).Round(time.Second); !w.Expires.IsZero() && left < 2*time.Minute {
		c.report(finding{"expiry", warning, fmt.Sprintf("the token ends in %s", left), "Clients must renew it; for this command use CAREWIRE_TOKEN_FILE."})
	}
}

// browser connects as a page of the host's own origin does: with the token in a
// subprotocol.
func (c *checker) browser(ctx context.Context) {
	scheme := "https://"
	if c.plain {
		scheme = "http://"
	}
	header := http.Header{"Origin": {scheme + c.host}}
	ws, resp, body, err := c.dial(ctx, header, protocol, "carewire.bearer."+base64.RawURLEncoding.EncodeToString([]byte(c.token)))
	if err == nil {
		defer ws.CloseNow()
		_, err = readWelcome(ctx, ws)
	}
	switch {
	case err == nil:
		c.report(finding{"browser", good, "a page of " + header.Get("Origin") + " can connect", ""})
	case resp != nil && resp.StatusCode == http.StatusForbidden:
		c.report(finding{"browser", bad, "a page of " + header.Get("Origin") + " is refused for its origin (403)",
			"Have the proxy pass the name on with its port (nginx: proxy_set_header Host $http_host), or list the origin in Options.Origins."})
	case resp != nil && resp.StatusCode == http.StatusUnauthorized:
		c.report(finding{"browser", warning, "the token is not taken as a subprotocol (401)",
			"Browsers cannot set Authorization. Read the token by carewire.Token in the Authenticator, and let the proxy pass Sec-WebSocket-Protocol on; or sign pages in by cookies."})
	default:
		saw, change := handshake(resp, body, err)
		c.report(finding{"browser", bad, saw, change})
	}
}

// closeCode sends a frame that a Hub refuses with 1003, and looks whether that
// code arrives.
func (c *checker) closeCode(ctx context.Context) {
	ws, _, _, err := c.dial(ctx, c.bearer(), protocol)
	if err == nil {
		defer ws.CloseNow()
		err = ws.Write(ctx, websocket.MessageBinary, []byte("check"))
	}
	if err == nil {
		err = readUntil(ctx, ws, func([]byte) bool { return false })
	}
	if code := websocket.CloseStatus(err); code == websocket.StatusUnsupportedData {
		c.report(finding{"close codes", good, "the host's reason for ending a connection arrives (1003)", ""})
		return
	}
	c.report(finding{"close codes", bad, "the host's reason for ending a connection does not arrive: " + cause(err),
		"Something between swallows close frames, so clients cannot tell a restart from access that was taken. Have it pass WebSocket frames on as they are."})
}

// stream asks for events by POST, and looks whether they come at once.
func (c *checker) stream(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	resp, err := c.watch(ctx)
	if err != nil {
		c.stuck(cause(err))
		return
	}
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || !strings.HasPrefix(kind, "text/event-stream") {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		saw, change := status(resp, body)
		if resp.StatusCode == http.StatusNotImplemented {
			saw, change = "the host cannot stream (501)", "A middleware hides Flush or SetWriteDeadline of http.ResponseWriter: let it have an Unwrap method."
		}
		c.report(finding{"stream", bad, saw, change})
		return
	}
	if coding := resp.Header.Get("Content-Encoding"); coding != "" {
		c.report(finding{"stream", bad, "something between compresses the stream (" + coding + ")", "Switch compression off for this path (nginx: gzip off)."})
		return
	}
	first, err := bufio.NewReader(io.LimitReader(resp.Body, 64<<10)).ReadString('\n')
	if err != nil || !strings.Contains(first, `"welcome"`) {
		c.stuck(cause(errors.Join(err)))
		return
	}
	c.report(finding{"stream", good, "events by POST come at once", ""})
}

func (c *checker) stuck(why string) {
	c.report(finding{"stream", bad, "the first event by POST does not come: " + why,
		"Something between holds the reply back. nginx: proxy_buffering off, and no proxy_ignore_headers X-Accel-Buffering."})
}

// watch asks for a stream, of a patient that nobody has.
func (c *checker) watch(ctx context.Context) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.http, bytes.NewReader([]byte(`{"type":"watch","req":"check","patients":["carewire-check"]}`)))
	if err != nil {
		return nil, err
	}
	r.Header = http.Header{"Authorization": {"Bearer " + c.token}, "Content-Type": {"application/json"}, "Accept": {"text/event-stream"}, "Accept-Encoding": {"gzip"}}
	return c.client.Do(r)
}

// hold looks whether a connection and a stream on which little comes stay.
func (c *checker) hold(ctx context.Context, long time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	const change = "Something between ends quiet lines. Something comes every 20 s: let timeouts be 75 s (nginx: proxy_read_timeout, proxy_send_timeout; HAProxy: timeout tunnel, timeout server)."
	lines := map[string]func() error{
		"held line": func() error {
			ws, _, _, err := c.dial(ctx, c.bearer(), protocol)
			if err == nil {
				defer ws.CloseNow()
				err = readUntil(ctx, ws, func([]byte) bool { return false })
			}
			return err
		},
		"held stream": func() error {
			resp, err := c.watch(ctx)
			if err == nil {
				defer resp.Body.Close()
				if _, err = io.Copy(io.Discard, resp.Body); err == nil {
					err = io.EOF
				}
			}
			return err
		},
	}
	type ended struct {
		name  string
		err   error
		after time.Duration
	}
	all := make(chan ended)
	began := time.Now()
	for name, line := range lines {
		go func() { all <- ended{name, line(), time.Since(began)} }()
	}
	for range lines {
		e := <-all
		if ctx.Err() != nil {
			c.report(finding{e.name, good, "it has stayed for " + long.String(), ""})
		} else {
			c.report(finding{e.name, bad, fmt.Sprintf("it has ended after %s: %s", e.after.Round(time.Second), cause(e.err)), change})
		}
	}
}

func readWelcome(ctx context.Context, ws *websocket.Conn) (w welcome, err error) {
	err = readUntil(ctx, ws, func(b []byte) bool { return json.Unmarshal(b, &w) == nil && w.Type == "welcome" })
	return w, err
}

// readUntil reads messages until one is the right one, for ten seconds, or for as
// long as ctx says if none can be.
func readUntil(ctx context.Context, ws *websocket.Conn, right func([]byte) bool) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
	}
	for {
		_, b, err := ws.Read(ctx)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return errors.Join(ctx.Err(), err)
			}
			return err
		}
		if right(b) {
			return nil
		}
	}
}
