package pagers_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pagers"
	"github.com/carewire/carewire/pagers/pagerstest"
)

// A mailServer is Debian's exim4, which delivers into one file.
type mailServer struct {
	addr, tlsAddr, dir string // tlsAddr is encrypted from the first byte
	roots              *x509.CertPool
}

func startMail(t *testing.T) *mailServer {
	t.Helper()
	exim, err := exec.LookPath("exim4")
	if err == nil && os.Getuid() != 0 {
		err = fmt.Errorf("exim4 takes a configuration of its own from root only")
	}
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no mail server: ", err)
		}
		t.Skip("no mail server: ", err)
	}
	s := &mailServer{dir: mailDir(t)}
	s.certificate(t)
	s.addr, s.tlsAddr = freeAddr(t), freeAddr(t)
	_, port, _ := net.SplitHostPort(s.addr)
	_, tlsPort, _ := net.SplitHostPort(s.tlsAddr)
	config := strings.NewReplacer("DIR", s.dir, "TLSPORT", tlsPort, "PORT", port).Replace(`
spool_directory = DIR
log_file_path = DIR/log-%slog
pid_file_path = DIR/pid
primary_hostname = mail.test
domainlist local_domains = mail.test
local_interfaces = 127.0.0.1
daemon_smtp_ports = PORT : TLSPORT
tls_on_connect_ports = TLSPORT
tls_advertise_hosts = *
tls_certificate = DIR/cert.pem
tls_privatekey = DIR/key.pem
acl_smtp_rcpt = check
smtp_accept_max = 50
queue_only_load = 1000
deliver_drop_privilege = true
keep_environment =
begin acl
check:
  deny condition = ${if exists{DIR/refuse}}
  accept domains = +local_domains
  deny
begin routers
all:
  driver = accept
  transport = file
begin transports
file:
  driver = appendfile
  file = DIR/mbox
  user = Debian-exim
  no_mode_fail_narrower
begin retry
* * F,1h,1m
`)
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "conf"), []byte(config), 0o600))
	// The shell ends it when this process is gone, however that happened.
	cmd := exec.Command("/bin/sh", "-c", `"$0" -C "$1" -bdf -q1m & read word; kill $!; wait $!`, exim, filepath.Join(s.dir, "conf"))
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	for _, addr := range []string{s.addr, s.tlsAddr} {
		require.Eventually(t, func() bool {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				c.Close()
			}
			return err == nil
		}, time.Minute, 20*time.Millisecond, "the mail server does not listen")
	}
	return s
}

// freeAddr is an address at which nobody listens.
func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// mailDir is a directory that the mail server may write to after it has given
// up root, too.
func mailDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "carewire-mail")
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			said, _ := os.ReadFile(filepath.Join(dir, "log-mainlog"))
			t.Logf("the mail server said: %s", said)
		}
		os.RemoveAll(dir)
	})
	require.NoError(t, os.Chmod(dir, 0o777))
	return dir
}

func (s *mailServer) certificate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"mail.test"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "cert.pem"), cert, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o644))
	s.roots = x509.NewCertPool()
	s.roots.AppendCertsFromPEM(cert)
}

func (s *mailServer) pager() *pagers.SMTP {
	return &pagers.SMTP{Addr: s.addr, From: "Ward 5 <ward@mail.test>", TLS: &tls.Config{RootCAs: s.roots, ServerName: "mail.test"},
		Mailboxes: only("person:ada", "box@mail.test")}
}

func (s *mailServer) Fail(f bool) {
	if f {
		os.WriteFile(filepath.Join(s.dir, "refuse"), nil, 0o644)
	} else {
		os.Remove(filepath.Join(s.dir, "refuse"))
	}
}

// Messages returns the delivered messages. A server that has taken a message
// delivers it a moment later, so it waits until nothing is in the spool.
func (s *mailServer) Messages() []string {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if waiting, _ := filepath.Glob(filepath.Join(s.dir, "input", "*")); len(waiting) == 0 {
			break
		}
	}
	b, _ := os.ReadFile(filepath.Join(s.dir, "mbox"))
	if len(b) == 0 {
		return nil
	}
	return strings.Split(string(b), "\nFrom ")
}

func TestSMTPContract(t *testing.T) {
	pagerstest.Run(t, func(t *testing.T) (carewire.Pager, pagerstest.Gateway) {
		s := startMail(t)
		return s.pager(), s
	}, func(m string) string {
		_, after, _ := strings.Cut(m, "Message-ID: ")
		id, _, _ := strings.Cut(after, "\n")
		return id
	})
}

func TestSMTPEncrypts(t *testing.T) {
	s := startMail(t)
	p := s.pager()
	require.NoError(t, p.Page(t.Context(), pagerstest.Page("person:ada", 2)))
	list := s.Messages()
	require.Len(t, list, 1)
	message := list[0]
	require.Contains(t, message, "Subject: High alert, level 2")
	require.Regexp(t, `TLS1\.[23]`, message, "the server's Received header says how it came")

	p.TLS = &tls.Config{ServerName: "mail.test"} // trusts nobody who signed this
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	require.Error(t, p.Page(ctx, pagerstest.Page("person:ada", 2)))
	require.Len(t, s.Messages(), 1)
}

// The message goes to a port that is encrypted from the first byte. It goes neither to a
// server without a trusted certificate nor to a port that begins in plain text.
func TestSMTPImplicitTLS(t *testing.T) {
	s := startMail(t)
	p := s.pager()
	p.Addr, p.ImplicitTLS = s.tlsAddr, true
	require.NoError(t, p.Page(t.Context(), pagerstest.Page("person:ada", 2)))
	list := s.Messages()
	require.Len(t, list, 1)
	require.Regexp(t, `TLS1\.[23]`, list[0], "the server's Received header says how it came")

	page := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return p.Page(ctx, pagerstest.Page("person:ada", 2))
	}
	p.TLS = &tls.Config{ServerName: "mail.test"}
	require.Error(t, page())
	p.TLS, p.Addr, p.AllowPlaintext = s.pager().TLS, s.addr, true // a server that begins in plain text
	require.Error(t, page())
	require.Len(t, s.Messages(), 1)
}

func TestSMTPPort465(t *testing.T) {
	p := &pagers.SMTP{Addr: "mail.example:465", From: "ward@mail.test", Mailboxes: only("person:ada", "box@mail.test")}
	require.EqualError(t, p.Validate(), "pagers: an SMTP whose Addr has port 465 needs ImplicitTLS")
	p.ImplicitTLS = true
	require.NoError(t, p.Validate())
}

// fakeMail is a mail server that accepts everything but the command that refuse
// answers. It returns its address, and a function that returns its input.
func fakeMail(t *testing.T, refuse string) (addr string, told func() string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	var mu sync.Mutex
	var all strings.Builder
	serve := func(c net.Conn) {
		defer c.Close()
		fmt.Fprint(c, "220 mail.test\r\n")
		inData := false
		for lines := bufio.NewScanner(c); lines.Scan(); {
			mu.Lock()
			fmt.Fprintln(&all, lines.Text())
			mu.Unlock()
			switch {
			case inData && lines.Text() != ".":
			case lines.Text() == "DATA":
				inData = true
				fmt.Fprint(c, "354 go on\r\n")
			case refuse != "" && strings.HasPrefix(lines.Text(), refuse):
				fmt.Fprint(c, "550 no such box@mail.test\r\n")
			default:
				inData = false
				fmt.Fprint(c, "250 mail.test\r\n")
			}
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().String(), func() string { mu.Lock(); defer mu.Unlock(); return all.String() }
}

// A mailbox that the server refuses says nothing about the server.
func TestSMTPRefusesAMailbox(t *testing.T) {
	addr, _ := fakeMail(t, "RCPT")
	s := &pagers.SMTP{Addr: addr, From: "ward@mail.test", AllowPlaintext: true, Mailboxes: only("person:ada", "box@mail.test")}
	err := s.Page(t.Context(), pagerstest.Page("person:ada", 1))
	require.ErrorIs(t, err, pagers.ErrNoAddress)
	require.EqualError(t, err, "pagers: the mail server refused a mailbox with 550")
	s.Mailboxes = only("person:ada", "no mailbox")
	require.ErrorIs(t, s.Page(t.Context(), pagerstest.Page("person:ada", 1)), pagers.ErrNoAddress)
}

// Neither an address nor an alert's text adds a header, a recipient or a command.
func TestSMTPAddsNothing(t *testing.T) {
	addr, told := fakeMail(t, "")
	const more = "\r\nBcc: eve@mail.test\r\n\r\n.\r\nRCPT TO:<eve@mail.test>\r\n"
	sent := 0
	for _, mailbox := range []string{"ada@mail.test", "ada@mail.test" + more, "\"Ada" + more + "\" <ada@mail.test>", "Ada" + more + " <ada@mail.test>", "ada@mail.test>" + more, "ada@mail.test, eve@mail.test", "=?utf-8?q?Ada=0D=0ABcc:_eve?= <ada@mail.test>"} {
		s := &pagers.SMTP{Addr: addr, From: "ward@mail.test", AllowPlaintext: true, RevealHealthData: true, Mailboxes: only("person:ada", mailbox)}
		p := pagerstest.Page("person:ada", 1)
		p.Alert.Text, p.Alert.Patient = "x"+more, "p"+more
		if err := s.Page(t.Context(), p); err == nil {
			sent++
		} else {
			require.ErrorIs(t, err, pagers.ErrNoAddress, mailbox)
		}
		s.From = mailbox // the same, as the sender
		if s.Validate() == nil && s.Page(t.Context(), p) == nil {
			sent++
		}
	}
	require.NotZero(t, sent)
	commands := 0
	for line := range strings.Lines(told()) {
		require.NotRegexp(t, `(?i)^(bcc|rcpt to:<eve)`, line)
		if strings.HasPrefix(line, "RCPT TO:<ada@mail.test>") {
			commands++
		}
	}
	require.Equal(t, sent, commands, "each message has one recipient")
}

// Mailboxes that the server refuses, and addresses that are none, keep the message from
// nobody else.
func TestSMTPSkipsBadMailboxes(t *testing.T) {
	s := startMail(t)
	p := s.pager()
	p.Mailboxes = only("group:icu", "nobody@elsewhere.test", "no mailbox", "ada@mail.test")
	require.NoError(t, p.Page(t.Context(), pagerstest.Page("group:icu", 1)))
	list := s.Messages()
	require.Len(t, list, 1)
	require.Contains(t, list[0], "To: <ada@mail.test>")
	require.NotContains(t, list[0], "elsewhere")
	p.Mailboxes = only("group:icu", "nobody@elsewhere.test", "no mailbox")
	require.ErrorIs(t, p.Page(t.Context(), pagerstest.Page("group:icu", 1)), pagers.ErrNoAddress)
}

// A mail server that does not stop talking is left.
func TestSMTPServerThatTalks(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	const most = 64 << 20
	wrote := make(chan int, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			n, line := 0, []byte(strings.Repeat("x", 1<<20))
			for err == nil && n < most {
				_, err = conn.Write(line)
				n += len(line)
			}
			conn.Close()
			wrote <- n
		}
	}()
	s := &pagers.SMTP{Addr: l.Addr().String(), From: "ward@mail.test", AllowPlaintext: true, Mailboxes: only("person:ada", "ada@mail.test")}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.EqualError(t, s.Page(ctx, pagerstest.Page("person:ada", 1)), "pagers: the mail server says too much")
	require.Less(t, <-wrote, most)
}
