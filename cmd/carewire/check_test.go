package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/process"
)

// checked runs check and returns its findings by name.
func checked(t *testing.T, env []string, flags ...string) (map[string]finding, said) {
	t.Helper()
	s := run(t, t.TempDir(), env, "", append([]string{"check", "-json"}, flags...)...)
	found := make(map[string]finding)
	for _, f := range lines[finding](t, s.out) {
		found[f.Check] = f
	}
	require.Equal(t, strings.Contains(s.out, `"FAIL"`), s.status == 1, "%s%s", s.out, s.err)
	return found, s
}

// A host without anything between is right.
func TestCheck(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	found, s := checked(t, h.environ("nurse"), "-hold", "100ms")
	require.Zero(t, s.status, s.out)
	for _, check := range []string{"address", "token", "POST", "large POST", "WebSocket", "clock", "store", "browser", "close codes", "stream", "held line", "held stream"} {
		assert.Equal(t, good, found[check].Result, "%s: %v", check, found[check])
	}
}

// A check says which setting is wrong, and how to change it.
func TestCheckFails(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	answer := func(status int, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/login")
			w.WriteHeader(status)
			w.Write([]byte(body))
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	for _, test := range []struct{ name, url, token, check, saw, change string }{
		{"nobody", closed.URL, "nurse", "address", "nobody answers", "firewalls"},
		{"no TLS", strings.Replace(h.web.URL, "http", "https", 1), "nurse", "address", "no TLS", "certificate"},
		{"token", h.url(), "stranger", "token", "401", "fresh token"},
		{"path", h.web.URL + "/none", "nurse", "token", "no Hub at this path", "mounts"},
		{"login page", answer(302, ""), "nurse", "token", "leads elsewhere", "login page"},
		{"other site", answer(200, "<html>"), "nurse", "token", "not by a Hub", "locations"},
		{"gateway", answer(502, ""), "nurse", "token", "does not reach the host", "address"},
		{"busy", answer(503, ""), "nurse", "token", "not ready", "log"},
		{"forbidden", answer(403, ""), "nurse", "token", "403", "revoked"},
		{"name", answer(421, ""), "nurse", "token", "421", "Options.Hosts"},
		{"many", answer(429, ""), "nurse", "token", "429", "TrustedProxies"},
		{"long token", answer(431, ""), "nurse", "token", "too long", "MaxHeaderBytes"},
		{"not a Hub's reply", answer(204, ""), "nurse", "POST", "not by a Hub", "locations"},
	} {
		found, s := checked(t, environ(test.url, test.token))
		f := found[test.check]
		assert.Equal(t, bad, f.Result, "%s: %s%s", test.name, s.out, s.err)
		assert.Contains(t, f.Saw, test.saw, test.name)
		assert.Contains(t, f.Change, test.change, test.name)
		assert.NotContains(t, s.out+s.err, "stranger", test.name)
	}
}

// A host whose clock is wrong, that keeps events in memory and gives a token that
// ends soon is warned of. Connections that end without a close frame are a fault.
func TestCheckWhatTheHostSays(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			h.hub.ServeHTTP(w, r)
			return
		}
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{carewire.Protocol}})
		if err != nil {
			return
		}
		defer ws.CloseNow()
		now := time.Now()
		reply := fmt.Sprintf(`{"type":"welcome","time":%q,"expires":%q,"durable":false,"limits":{"frame":1024}}`, now.Add(time.Hour).Format(time.RFC3339), now.Add(time.Minute).Format(time.RFC3339))
		for kind := websocket.MessageText; kind == websocket.MessageText && ws.Write(r.Context(), kind, []byte(reply)) == nil; {
			if kind, _, err = ws.Read(r.Context()); err != nil {
				return
			}
			reply = `{"type":"error","req":"check","code":"unknown_type"}`
		}
	}))
	t.Cleanup(s.Close)
	found, _ := checked(t, environ(s.URL, "nurse"))
	for _, test := range []struct {
		check       string
		result      result
		saw, change string
	}{
		{"WebSocket", good, "a request and its reply", ""},
		{"clock", warning, "differ by", "NTP"},
		{"store", warning, "in memory", "boltstore"},
		{"expiry", warning, "the token ends in", "CAREWIRE_TOKEN_FILE"},
		{"close codes", bad, "does not arrive", "close frames"},
	} {
		f := found[test.check]
		assert.Equal(t, test.result, f.Result, "%s: %v", test.check, f)
		assert.Contains(t, f.Saw, test.saw, test.check)
		assert.Contains(t, f.Change, test.change, test.check)
	}
}

// A reply that is held back until it is long or whole is found.
func TestCheckHeldBack(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.hub.ServeHTTP(holdingBack{w}, r) }))
	t.Cleanup(s.Close)
	found, _ := checked(t, environ(s.URL, "nurse"))
	require.Equal(t, bad, found["stream"].Result)
	require.Contains(t, found["stream"].Change, "proxy_buffering off")
}

// holdingBack keeps all output in net/http's buffer.
type holdingBack struct{ http.ResponseWriter }

func (holdingBack) Flush() {}

func (w holdingBack) Unwrap() http.ResponseWriter { return w.ResponseWriter }

const nginx = "/usr/sbin/nginx"

// behind starts nginx before a host, with the configuration of the documents,
// in which pairs are replaced, and returns where commands find it.
func behind(t *testing.T, h *host, pairs ...string) []string {
	t.Helper()
	if _, err := os.Stat(nginx); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no nginx")
		}
		t.Skip("there is no nginx")
	}
	dir, addr := t.TempDir(), process.FreeAddr(t)
	b, err := os.ReadFile("../../docs/deployment/nginx.conf")
	require.NoError(t, err)
	temp := "access_log off;\n"
	for _, what := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temp += what + "_temp_path " + dir + "/" + what + ";\n"
	}
	at := h.web.Listener.Addr().String()
	pairs = append(pairs, "10.0.0.11:8080", at, "10.0.0.12:8080", at, "10.0.0.13:8080", at, "listen 443", "listen "+addr, "http {\n", "http {\n"+temp,
		"/etc/ssl/ehr.example.pem", dir+"/cert.pem", "/etc/ssl/private/ehr.example.key", dir+"/key.pem")
	for i := 0; i < len(pairs); i += 2 {
		require.Contains(t, string(b), pairs[i])
	}
	config := filepath.Join(dir, "nginx.conf")
	require.NoError(t, os.WriteFile(config, []byte(strings.NewReplacer(pairs...).Replace(string(b))), 0o600))
	certificate(t, dir)
	// The shell ends it when this process is gone, however that happened.
	cmd := exec.Command("/bin/sh", "-c", `"$@" & read word; kill -TERM $!; wait $!`, "sh",
		nginx, "-c", config, "-p", dir, "-e", "stderr", "-g", "daemon off; pid "+dir+"/pid;")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	p := process.Start(t, cmd)
	t.Cleanup(func() {
		in.Close()
		<-p.Ended
	})
	process.Poll(t, process.Patience, func() (bool, string) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return false, p.Log.String()
		}
		conn.Close()
		return true, ""
	})
	return append(environ("wss://"+addr+"/carewire", "nurse"), "SSL_CERT_FILE="+dir+"/cert.pem")
}

// certificate writes one for loopback into dir, and its key.
func certificate(t *testing.T, dir string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 1, 0), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	for name, b := range map[string][]byte{
		"cert.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		"key.pem":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
}

// nginx as the documents have it is right; a setting that is left out or put in
// is found.
func TestCheckBehindNginx(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	t.Run("as documented", func(t *testing.T) {
		found, s := checked(t, behind(t, h))
		require.Zero(t, s.status, "%s%s", s.out, s.err)
		require.Contains(t, found["address"].Saw, "TLS 1.3")
	})
	for _, test := range []struct {
		name          string
		pair          [2]string
		check, change string
	}{
		{"no upgrade", [2]string{"proxy_set_header Upgrade           $http_upgrade;", ""}, "WebSocket", "proxy_set_header Upgrade"},
		{"connection closed", [2]string{"proxy_set_header Connection        $connection_upgrade;", ""}, "WebSocket", "proxy_set_header Connection"},
		{"other name", [2]string{"proxy_set_header Host              $http_host;", "proxy_set_header Host ehr.internal;"}, "browser", "Host $http_host"},
		{"small bodies", [2]string{"client_max_body_size    64k;", "client_max_body_size 1k;"}, "large POST", "client_max_body_size 64k"},
		{"compressed", [2]string{"gzip                    off;", "gzip on; gzip_types text/event-stream; gzip_min_length 1; gzip_proxied any;"}, "stream", "gzip off"},
		{"no token", [2]string{"proxy_connect_timeout    2s;", `proxy_connect_timeout 2s; proxy_set_header Authorization "";`}, "token", "Authorization"},
		{"nothing behind", [2]string{"proxy_pass http://nodes;\n            proxy_buffering", "proxy_pass http://127.0.0.1:9;\n            proxy_buffering"}, "token", "address that the proxy has"},
	} {
		t.Run(test.name, func(t *testing.T) {
			found, s := checked(t, behind(t, h, test.pair[0], test.pair[1]))
			require.Equal(t, bad, found[test.check].Result, "%s%s", s.out, s.err)
			require.Contains(t, found[test.check].Change, test.change)
		})
	}
	t.Run("quiet lines", func(t *testing.T) {
		found, s := checked(t, behind(t, h, "proxy_read_timeout      75s;", "proxy_read_timeout 1s;"), "-hold", "15s")
		require.Equal(t, bad, found["held line"].Result, "%s%s", s.out, s.err)
		require.Equal(t, bad, found["held stream"].Result)
		require.Contains(t, found["held line"].Change, "proxy_read_timeout")
	})
}
