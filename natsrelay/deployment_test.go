package natsrelay

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/carewire/carewire"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// The configuration in docs/deployment.md is a server's for nodes: by TLS with
// certificates of both sides, and with no rights but to the Relay's subjects. Other
// accounts of the server get nothing.
func TestDocumentedServer(t *testing.T) {
	b, err := os.ReadFile("../docs/deployment.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?ms)^```conf\n(.*?)^```$").FindAllStringSubmatch(string(b), -1)
	require.Len(t, blocks, 1)
	dir := t.TempDir()
	pool, certificate := certify(t, dir)
	config := strings.NewReplacer("127.0.0.1:4222", "127.0.0.1:-1", "/etc/nats/", dir+"/", "accounts {", "accounts {\n other { users: [{ user: \"other\", password: \"x\" }] }").Replace(blocks[0][1])
	file := filepath.Join(dir, "nats-server.conf")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	t.Setenv("CAREWIRE_NATS_PASSWORD", "secret")
	o, err := server.ProcessConfigFile(file)
	require.NoError(t, err)
	o.Port = 0 // any
	s := serve(t, o)
	require.EqualValues(t, server.MAX_PAYLOAD_SIZE, o.MaxPayload)
	require.GreaterOrEqual(t, int(o.MaxPayload), carewire.MaxRelayMessage)

	secured := nats.Secure(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{certificate}})
	as := func(user, password string) []nats.Option {
		return []nats.Option{secured, nats.UserInfo(user, password)}
	}
	for _, refused := range [][]nats.Option{nil, {nats.Secure(&tls.Config{RootCAs: pool}), nats.UserInfo("node", "secret")}, as("node", "wrong")} {
		_, err := nats.Connect(s.ClientURL(), refused...)
		require.Error(t, err)
	}
	other := dial(t, s.ClientURL(), as("other", "x")...)
	overheard, err := other.SubscribeSync(">")
	require.NoError(t, err)
	require.NoError(t, other.Flush())

	store := carewire.NewMemoryStore(nil)
	one, two := node(t, store, relay(t, s.ClientURL(), as("node", "secret")...)), node(t, store, relay(t, s.ClientURL(), as("node", "secret")...))
	publish(t, one, 59)
	watch(t, two)
	until(t, one, two)
	require.NoError(t, other.Flush())
	_, err = overheard.NextMsg(time.Millisecond)
	require.ErrorIs(t, err, nats.ErrTimeout, "another account")

	denied := make(chan error, 1)
	curious := dial(t, s.ClientURL(), append(as("node", "secret"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		select {
		case denied <- err:
		default:
		}
	}))...)
	_, err = curious.SubscribeSync(">")
	require.NoError(t, err)
	require.ErrorIs(t, <-denied, nats.ErrPermissionViolation)
}

// certify makes the files of the documented configuration: a certificate of an authority
// of their own, for servers and clients on the loopback.
func certify(t *testing.T, dir string) (*x509.CertPool, tls.Certificate) {
	t.Helper()
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	root, err := x509.CreateCertificate(rand.Reader, authority, authority, &authorityKey.PublicKey, authorityKey)
	require.NoError(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "node"}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	cert, err := x509.CreateCertificate(rand.Reader, leaf, authority, &key.PublicKey, authorityKey)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	write := func(name, kind string, b []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600))
	}
	write("ca.pem", "CERTIFICATE", root)
	write("server.pem", "CERTIFICATE", cert)
	write("server.key", "PRIVATE KEY", private)
	pool := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(root)
	require.NoError(t, err)
	pool.AddCert(parsed)
	return pool, tls.Certificate{Certificate: [][]byte{cert}, PrivateKey: key}
}
