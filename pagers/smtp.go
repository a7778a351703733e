package pagers

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"strings"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pagers/internal/exchange"
)

// SMTP pages by e-mail. E-mail can be late, so an SMTP should not be the only
// way to reach a person. The connection is encrypted, by STARTTLS or from its
// first byte, unless AllowPlaintext is set.
type SMTP struct {
	// Addr is the server's host and port, such as "mail.example:587". It is required.
	Addr string
	// From is the sender's address, such as "Ward 5 <ward5@example.org>". It is required.
	From string
	// Auth authenticates. Nil means no authentication.
	Auth smtp.Auth
	// Mailboxes gives the e-mail addresses of a recipient. It is required.
	Mailboxes Addresses
	// ImplicitTLS encrypts from the first byte instead of by STARTTLS, as servers
	// want it at port 465 (RFC 8314). At that port it is required.
	ImplicitTLS bool
	// TLS configures the encryption. Nil means the host of Addr, and the system's roots.
	TLS *tls.Config
	// AllowPlaintext sends to a server without STARTTLS, such as one on this machine.
	// It changes nothing of ImplicitTLS.
	AllowPlaintext bool
	// RevealHealthData adds the patient and the alert's text.
	RevealHealthData bool
}

// Validate implements carewire.PageChecker.
func (s *SMTP) Validate() error {
	_, err := s.sender()
	return err
}

// sender returns From, or an error if s is not complete.
func (s *SMTP) sender() (*mail.Address, error) {
	if s.Addr == "" || s.Mailboxes == nil {
		return nil, errors.New("pagers: an SMTP needs an Addr, From and Mailboxes")
	}
	if _, port, _ := net.SplitHostPort(s.Addr); port == "465" && !s.ImplicitTLS {
		return nil, errors.New("pagers: an SMTP whose Addr has port 465 needs ImplicitTLS")
	}
	from, err := mail.ParseAddress(s.From)
	if err != nil {
		return nil, errors.New("pagers: From of an SMTP is not an address")
	}
	return from, nil
}

// Page implements carewire.Pager. Each of the recipient's addresses gets a message of
// its own. Page returns nil once the server has answered for all of them and has taken
// one message, and else all errors.
func (s *SMTP) Page(ctx context.Context, p carewire.Page) error {
	from, err := s.sender()
	if err != nil {
		return err
	}
	list, err := addressed(ctx, s.Mailboxes, p)
	if err != nil {
		return err
	}
	m := newMessage(p, s.RevealHealthData)
	return exchange.Each(ctx, list, func(ctx context.Context, address string) error { return s.mail(ctx, from, address, &m) })
}

// mail sends m to one address, until the server takes it or refuses it for good.
func (s *SMTP) mail(ctx context.Context, from *mail.Address, address string, m *Message) error {
	to, err := mail.ParseAddress(address)
	if err != nil {
		return badMailbox{}
	}
	text := letter(from, to, m, time.Now())
	return exchange.Retry(ctx, func(ctx context.Context) (time.Duration, error) {
		err := s.send(ctx, from.Address, to.Address, text)
		if errors.Is(err, ErrNoAddress) {
			err = exchange.Permanent{Err: err}
		} else if t := (*textproto.Error)(nil); errors.As(err, &t) {
			err = fmt.Errorf("pagers: the mail server answered with %d", t.Code)
			if t.Code >= 500 {
				err = exchange.Permanent{Err: err}
			}
		}
		return 0, err
	})
}

// badMailbox is an ErrNoAddress: a mailbox that the server refused with code, or
// that cannot be written to at all (0).
type badMailbox struct{ code int }

func (b badMailbox) Error() string {
	if b.code == 0 {
		return "pagers: a mailbox is not an address"
	}
	return fmt.Sprintf("pagers: the mail server refused a mailbox with %d", b.code)
}

func (badMailbox) Is(target error) bool { return target == ErrNoAddress }

// letter writes the message. Its Message-ID is derived from the page's key.
func letter(from, to *mail.Address, m *Message, now time.Time) []byte {
	_, domain, _ := strings.Cut(from.Address, "@")
	var b bytes.Buffer
	for _, line := range [][2]string{
		{"From", from.String()}, {"To", to.String()}, {"Date", now.Format(time.RFC1123Z)},
		{"Message-ID", "<" + messageID(m.Key) + "@" + domain + ">"}, {"Subject", mime.QEncoding.Encode("utf-8", m.Title())},
		{"Importance", "high"}, {"Auto-Submitted", "auto-generated"}, {"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "quoted-printable"},
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", line[0], line[1])
	}
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	fmt.Fprintf(w, "%s\n", m.Body(""))
	w.Close()
	return b.Bytes()
}

// send has one conversation with the server. It ends with ctx.
func (s *SMTP) send(ctx context.Context, from, to string, text []byte) error {
	dialed, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return errors.New("pagers: the mail server cannot be reached")
	}
	defer context.AfterFunc(ctx, func() { dialed.Close() })()
	var conn net.Conn = &heard{dialed, maxHeard}
	host, _, _ := net.SplitHostPort(s.Addr)
	if s.ImplicitTLS {
		conn = tls.Client(conn, s.config(host))
	}
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		conn.Close()
		return err
	}
	defer c.Close()
	if err := s.secure(c, host); err != nil {
		return err
	}
	if s.Auth != nil {
		if err := c.Auth(s.Auth); err != nil {
			return err
		}
	}
	if err := c.Mail(from); err != nil {
		return err
	}
	err = c.Rcpt(to)
	if t := (*textproto.Error)(nil); errors.As(err, &t) && t.Code >= 500 {
		return badMailbox{t.Code}
	}
	if err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	c.Quit() // the server has taken the message: an error of the farewell changes nothing
	return nil
}

// secure encrypts the rest of the conversation, unless it is already encrypted.
func (s *SMTP) secure(c *smtp.Client, host string) error {
	if s.ImplicitTLS {
		return nil
	}
	if ok, _ := c.Extension("STARTTLS"); !ok {
		if s.AllowPlaintext {
			return nil
		}
		return exchange.Permanent{Err: errors.New("pagers: the mail server offers no STARTTLS")}
	}
	return c.StartTLS(s.config(host))
}

func (s *SMTP) config(host string) *tls.Config {
	config := &tls.Config{}
	if s.TLS != nil {
		config = s.TLS.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = host
	}
	return config
}

// maxHeard bounds what a mail server says, in bytes. net/textproto reads lines of
// any length.
const maxHeard = 1 << 20

// heard is a connection from which so many more bytes are read.
type heard struct {
	net.Conn
	left int
}

func (h *heard) Read(p []byte) (int, error) {
	if h.left <= 0 {
		return 0, exchange.Permanent{Err: errors.New("pagers: the mail server says too much")}
	}
	n, err := h.Conn.Read(p[:min(len(p), h.left)])
	h.left -= n
	return n, err
}
