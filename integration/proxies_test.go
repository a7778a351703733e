package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/internal/process"
)

const (
	nginx   = "/usr/sbin/nginx"
	haproxy = "/usr/sbin/haproxy"
)

var (
	needNginx   = needed{"nginx", func() error { _, err := os.Stat(nginx); return err }}
	needHAProxy = needed{"HAProxy", func() error { _, err := os.Stat(haproxy); return err }}
)

// A front is a load balancer before several wards, with the configuration that
// docs/deployment has for it.
type front struct {
	name, addr string
	log        string // its log of requests; "": its output
	run        *process.Run
	trusted    *x509.CertPool
}

// openFront starts a load balancer; the pairs replace addresses and paths
// of the documents' file by those of the test.
func openFront(t testing.TB, name string, nodes []*ward, args func(config, dir string) []string, pairs ...string) *front {
	t.Helper()
	dir := t.TempDir()
	f := &front{name: name, addr: process.FreeAddr(t), log: filepath.Join(dir, "access.log"), trusted: newCertificate(t, dir)}
	b, err := os.ReadFile("../docs/deployment/" + name)
	require.NoError(t, err)
	pairs = append(pairs, "10.0.0.11:8080", nodes[0].addr, "10.0.0.12:8080", nodes[1].addr, "10.0.0.13:8080", nodes[2].addr)
	for i := 0; i < len(pairs); i += 2 {
		require.Contains(t, string(b), pairs[i])
		pairs[i+1] = strings.NewReplacer("DIR", dir, "ADDR", f.addr).Replace(pairs[i+1])
	}
	config := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(config, []byte(strings.NewReplacer(pairs...).Replace(string(b))), 0o600))
	list := args(config, dir)
	// The shell ends it when this process is gone, however that happened.
	cmd := exec.Command("/bin/sh", append([]string{"-c", `"$@" & read word; kill -TERM $!; wait $!`, "sh"}, list...)...)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	f.run = process.Start(t, cmd)
	t.Cleanup(func() { // before the shell is killed
		in.Close()
		select {
		case <-f.run.Ended:
		case <-time.After(process.Patience):
			t.Errorf("%s does not end", name)
		}
	})
	client := f.client("127.0.0.1")
	process.Poll(t, process.Patience, func() (bool, string) {
		resp, err := client.Get(f.http() + "/")
		if err != nil {
			return false, err.Error() + "\n" + f.run.Log.String()
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK, resp.Status
	})
	return f
}

func openNginx(t testing.TB, nodes []*ward) *front {
	temp := ""
	for _, what := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temp += "    " + what + "_temp_path DIR/" + what + ";\n"
	}
	return openFront(t, "nginx.conf", nodes, func(config, dir string) []string {
		return []string{nginx, "-c", config, "-p", dir, "-e", "stderr", "-g", "daemon off; pid " + dir + "/pid;"}
	}, "listen 443", "listen ADDR", "/etc/ssl/ehr.example.pem", "DIR/cert.pem", "/etc/ssl/private/ehr.example.key", "DIR/key.pem",
		"http {\n", "http {\n    access_log DIR/access.log;\n"+temp)
}

func openHAProxy(t testing.TB, nodes []*ward) *front {
	return openFront(t, "haproxy.cfg", nodes, func(config, dir string) []string { return []string{haproxy, "-db", "-f", config} },
		"bind :443", "bind ADDR", "/etc/ssl/private/ehr.example.both.pem", "DIR/both.pem",
		"global\n", "global\n    log stdout format raw daemon\n", "defaults\n", "defaults\n    log global\n")
}

func (f *front) http() string { return "https://" + f.addr }
func (f *front) url() string  { return "wss://" + f.addr + "/carewire" }

// client is one whose address is from.
func (f *front) client(from string) *http.Client { return clientFrom(from, f.trusted) }

func clientFrom(from string, trusted *x509.CertPool) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	return &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: trusted}}}
}

// requests are the requests that the balancer has logged.
func (f *front) requests(t testing.TB) string {
	if f.name == "haproxy.cfg" {
		list, _ := f.run.Out.All()
		return strings.Join(list, "\n")
	}
	b, err := os.ReadFile(f.log)
	require.NoError(t, err)
	return string(b)
}

// newCertificate writes a certificate for loopback into dir, and its key, and
// both together.
func newCertificate(t testing.TB, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	for name, b := range map[string][]byte{"cert.pem": certPEM, "key.pem": keyPEM, "both.pem": append(certPEM, keyPEM...)} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	trusted := x509.NewCertPool()
	require.True(t, trusted.AppendCertsFromPEM(certPEM))
	return trusted
}
