package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A result says how a check went.
type result string

const (
	good    result = "ok"
	warning result = "warn"
	bad     result = "FAIL"
)

// A finding is the result of one check.
type finding struct {
	Check  string `json:"check"`
	Result result `json:"result"`
	Saw    string `json:"saw"`
	Change string `json:"change,omitempty"` // the suggested change
}

// A checker connects in each way that clients do, and reports the faults that it meets.
type checker struct {
	ws, http string // the Hub's URL
	host     string // its name and port
	plain    bool   // without TLS
	token    string
	client   *http.Client
	report   func(finding)

	failed bool
	limit  int // bytes of a request, as welcome says; 0: not known
}

// check says whether the token, the host and the proxies in between are right.
func (t *tool) check(ctx context.Context, args []string) error {
	hold := t.flags.Duration("hold", 0, "how long to look whether quiet lines stay; a proxy often ends them after 60s")
	if _, err := t.parse(args, 0, 0); err != nil {
		return err
	}
	u, err := t.address()
	if err != nil {
		return err
	}
	token, err := t.token(ctx)
	if err != nil {
		return err
	}
	c := &checker{ws: u.String(), host: u.Host, plain: u.Scheme == "ws", token: token,
		client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	c.http = strings.Replace(c.ws, "ws", "http", 1)
	c.report = func(f finding) {
		c.failed = c.failed || f.Result == bad
		line := fmt.Sprintf("%-4s  %-13s %s", f.Result, f.Check, f.Saw)
		if f.Change != "" {
			line += "\n      -> " + strings.ReplaceAll(f.Change, "\n", "\n         ")
		}
		t.print(f, line)
	}
	c.run(ctx, u, *hold)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if c.failed {
		return errSaid
	}
	return nil
}

func (c *checker) run(ctx context.Context, u *url.URL, hold time.Duration) {
	if !c.address(ctx, u) || !c.door(ctx) {
		return // nothing else can go well
	}
	c.post(ctx)
	if c.websocket(ctx) {
		c.browser(ctx)
		c.closeCode(ctx)
	}
	c.large(ctx)
	c.stream(ctx)
	if hold > 0 {
		c.hold(ctx, hold)
	}
}

// address looks whether there is somebody at the address, and at TLS.
func (c *checker) address(ctx context.Context, u *url.URL) bool {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	port := u.Port()
	if port == "" {
		port = map[bool]string{true: "80", false: "443"}[c.plain]
	}
	at := net.JoinHostPort(u.Hostname(), port)
	if c.plain {
		if !loopback(u) {
			c.report(finding{"address", bad, at + " is to be asked without TLS: everybody on the way could read health data and the token. Nothing was sent",
				"Serve it by TLS and use wss://. carewire.Dial refuses ws:// beyond this machine."})
			return false
		}
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", at)
		if err != nil {
			c.report(finding{"address", bad, "nobody answers at " + at + ": " + cause(err), "Look at the name, the port, firewalls, and whether the host runs."})
			return false
		}
		conn.Close()
		c.report(finding{"address", good, at + " answers, on this machine, without TLS", ""})
		return true
	}
	conn, err := (&tls.Dialer{Config: &tls.Config{ServerName: u.Hostname()}}).DialContext(ctx, "tcp", at)
	if err != nil {
		c.report(finding{"address", bad, "there is no TLS at " + at + ": " + cause(err),
			"Look at the name, the port, the certificate and its issuer. SSL_CERT_FILE names a file with a certificate authority of your own."})
		return false
	}
	defer conn.Close()
	state := conn.(*tls.Conn).ConnectionState()
	saw := fmt.Sprintf("%s answers by %s", at, tls.VersionName(state.Version))
	if left := time.Until(state.PeerCertificates[0].NotAfter); left < 14*24*time.Hour {
		c.report(finding{"address", warning, fmt.Sprintf("%s; the certificate ends in %d hours", saw, int(left.Hours())), "Renew the certificate."})
	} else {
		c.report(finding{"address", good, saw, ""})
	}
	return true
}

// door asks, by an empty POST, whether the token's owner may come in.
func (c *checker) door(ctx context.Context) bool {
	resp, body, err := c.send(ctx, nil, nil)
	switch {
	case err != nil:
		c.report(finding{"token", bad, "a POST is not answered: " + cause(err), "Look whether the proxy passes POST on, and at its log."})
		return false
	case resp.StatusCode == http.StatusNoContent:
		c.report(finding{"token", good, "the token's owner may come in", ""})
		return true
	}
	saw, change := status(resp, body)
	c.report(finding{"token", bad, saw, change})
	return false
}

// post looks whether a request and its reply come through as they are.
func (c *checker) post(ctx context.Context) {
	resp, body, err := c.send(ctx, []byte(`{"type":"check","req":"check"}`), nil)
	if err != nil {
		c.report(finding{"POST", bad, "a request is not answered: " + cause(err), "Look at the proxy's log."})
		return
	}
	if !isReply(body) {
		saw, change := status(resp, body)
		c.report(finding{"POST", bad, saw, change})
		return
	}
	if coding := resp.Header.Get("Content-Encoding"); coding != "" {
		c.report(finding{"POST", warning, "something between compresses replies (" + coding + ")", "Switch compression off for this path (nginx: gzip off). It can show secrets by their length."})
		return
	}
	c.report(finding{"POST", good, "a request and its reply come through", ""})
}

// large looks whether the largest request comes through.
func (c *checker) large(ctx context.Context) {
	const most = 60_000
	if c.limit < most {
		return // not known, or the host takes less
	}
	body := append([]byte(`{"type":"check","req":"check"}`), bytes.Repeat([]byte(" "), most)...)
	resp, reply, err := c.send(ctx, body, nil)
	switch {
	case err == nil && isReply(reply):
		c.report(finding{"large POST", good, fmt.Sprintf("a request of %d bytes comes through", len(body)), ""})
	case err == nil && resp.StatusCode == http.StatusRequestEntityTooLarge:
		c.report(finding{"large POST", bad, fmt.Sprintf("something between refuses a request of %d bytes (413)", len(body)),
			fmt.Sprintf("Let the proxy take %d bytes (nginx: client_max_body_size %dk).", c.limit, c.limit>>10)})
	case err == nil:
		saw, change := status(resp, reply)
		c.report(finding{"large POST", bad, saw, change})
	default:
		c.report(finding{"large POST", bad, "a large request is not answered: " + cause(err), "Look at the proxy's log."})
	}
}

// send posts a body to the Hub.
func (c *checker) send(ctx context.Context, body []byte, header http.Header) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 35*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.http, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Accept-Encoding", "gzip") // by hand: to see whether it is used
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, values := range header {
		r.Header[name] = values
	}
	resp, err := c.client.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp, reply, err
}

// isReply reports whether a body is the Hub's reply to the request that it does
// not know.
func isReply(body []byte) bool {
	var reply struct{ Type, Req, Code string }
	return json.Unmarshal(body, &reply) == nil && reply.Type == "error" && reply.Code == "unknown_type" && reply.Req == "check"
}

// status explains an unexpected status, and how to mend it.
func status(resp *http.Response, body []byte) (saw, change string) {
	saw = "it is answered " + resp.Status
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized:
		return "the host does not know this token (401)", "Get a fresh token. If it is fresh: does the proxy pass the header Authorization on, and is the token for this host (issuer, audience)?"
	case code == http.StatusForbidden:
		return "the host does not let the token's owner in (403)", "Was their access revoked? Or does the proxy add a Cookie or an Origin?"
	case code == http.StatusMisdirectedRequest:
		return "the host does not serve this name (421)", "Add it to Options.Hosts, or have the proxy pass the name on (nginx: proxy_set_header Host $http_host)."
	case code == http.StatusTooManyRequests:
		return "there are too many connections (429)", "Look at carewire_limits_total, and raise MaxConnections, MaxPerPrincipal or MaxPerAddress. " +
			"Behind a proxy set Options.TrustedProxies, or all clients count as one address."
	case code == http.StatusServiceUnavailable:
		return "the host is not ready, or cannot identify the caller (503)", "Look at the host's log, its Store and its identity provider; behind a proxy: whether any node is up."
	case code == http.StatusBadGateway || code == http.StatusGatewayTimeout:
		return "the proxy does not reach the host (" + resp.Status + ")", "Look whether the host runs, and at the address that the proxy has for it."
	case code == http.StatusRequestEntityTooLarge:
		return "the request is too large for something between (413)", "Let the proxy accept bodies up to Options.MaxFrame (nginx: client_max_body_size 64k)."
	case code == http.StatusRequestHeaderFieldsTooLarge, code == http.StatusBadRequest && bytes.Contains(body, []byte("Header")):
		return "the token is too long for the host or something between (" + resp.Status + ")", "Set MaxHeaderBytes of http.Server to 64 KiB or more, and nginx's large_client_header_buffers to 4 16k."
	case code == http.StatusNotFound, code == http.StatusMethodNotAllowed:
		return saw + ": there is no Hub at this path", "Look at the path of CAREWIRE_URL, at where the host mounts its Hub, and at the proxy's locations."
	case code >= 300 && code < 400:
		return saw + ": it leads elsewhere", "Set CAREWIRE_URL to where the Hub is; clients do not follow. A login page in front must let this path through: the Hub checks tokens itself."
	case code >= 200 && code < 300:
		return saw + ", but not by a Hub", "Something else answers at this path: look at CAREWIRE_URL and at the proxy's locations."
	}
	return saw, "Look at the logs of the host and of the proxy."
}

// cause is an error without the URL that net/http puts before it.
func cause(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "nothing came in time"
	}
	return err.Error()
}
