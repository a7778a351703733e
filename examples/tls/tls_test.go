package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/carewire/carewire"
)

// start runs the example and returns its URL and the rest of its output.
func start(t *testing.T, o options) (url string, lines *bufio.Scanner) {
	t.Helper()
	o.addr = "127.0.0.1:0"
	ctx, cancel := context.WithCancel(t.Context())
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, o, write) }()
	lines = bufio.NewScanner(read)
	t.Cleanup(func() {
		cancel()
		go io.Copy(io.Discard, read)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if !lines.Scan() {
		t.Fatal("it prints nothing")
	}
	return strings.TrimPrefix(lines.Text(), "serving "), lines
}

// The client that trusts the certificate watches; one that does not, and one
// without TLS, do not get in.
func TestOverTLS(t *testing.T) {
	url, lines := start(t, options{})
	if !strings.HasPrefix(url, "wss://") {
		t.Fatal(url)
	}
	for range 2 {
		if !lines.Scan() || lines.Text() != "heart rate 72 /min" {
			t.Fatal(lines.Text())
		}
	}
	token := func(context.Context) (string, error) { return "nurse-token", nil }
	for _, trusting := range []*x509.CertPool{nil, x509.NewCertPool()} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusting}}}
		if _, err := carewire.Dial(t.Context(), url, &carewire.DialOptions{Token: token, HTTPClient: client}); err == nil {
			t.Error("a client takes a certificate that it does not know")
		}
	}
	if _, err := carewire.Dial(t.Context(), "ws"+strings.TrimPrefix(url, "wss"), &carewire.DialOptions{Token: token}); err == nil {
		t.Error("plain ws is taken")
	}
}

// Without TLS a client on this machine gets in.
func TestPlaintextOnLoopback(t *testing.T) {
	url, lines := start(t, options{plaintext: true})
	if !strings.HasPrefix(url, "ws://127.0.0.1:") || !lines.Scan() || lines.Text() != "heart rate 72 /min" {
		t.Fatal(url, lines.Text())
	}
}

func TestOnlyOverTLS(t *testing.T) {
	var proxies prefixes
	if err := proxies.Set("10.0.0.7,10.1.0.0/24,fd00::/8"); err != nil {
		t.Fatal(err)
	}
	if s := proxies.String(); s != "10.0.0.7/32,10.1.0.0/24,fd00::/8" {
		t.Error(s)
	}
	for _, bad := range []string{"", "10.0.0", "proxy.example", "10.0.0.0/33"} {
		if new(prefixes).Set(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	for _, c := range []struct {
		from  string
		tls   bool
		said  []string
		taken bool
	}{
		{"192.0.2.1:5", true, nil, true},
		{"192.0.2.1:5", false, nil, false},
		{"192.0.2.1:5", false, []string{"https"}, false}, // anybody can say so
		{"127.0.0.1:5", false, nil, true},
		{"[::1]:5", false, nil, true},
		{"[::ffff:127.0.0.1]:5", false, nil, true},
		{"127.0.0.1:5", false, []string{"https"}, true},
		{"127.0.0.1:5", false, []string{"http"}, false},
		{"127.0.0.1:5", false, []string{"https", "http"}, false},
		{"10.0.0.7:5", false, []string{"https"}, true},
		{"[::ffff:10.0.0.7]:5", false, []string{"https"}, true},
		{"[fd00::1]:5", false, []string{"https"}, true},
		{"10.1.0.200:5", false, []string{"HTTPS"}, true},
		{"10.0.0.7:5", false, []string{"http"}, false},
		{"10.0.0.7:5", false, nil, false},
		{"10.0.0.8:5", false, []string{"https"}, false},
		{"memory", false, nil, false},
	} {
		r := httptest.NewRequest(http.MethodGet, "http://ehr.example/carewire", nil)
		r.RemoteAddr = c.from
		if r.Header["X-Forwarded-Proto"] = c.said; c.tls {
			r.TLS = new(tls.ConnectionState)
		}
		w := httptest.NewRecorder()
		onlyOverTLS(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), proxies).ServeHTTP(w, r)
		if (w.Code == http.StatusOK) != c.taken {
			t.Errorf("%+v: %d", c, w.Code)
		}
	}
}
