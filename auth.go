package carewire

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Principal is who is on the line. A host's Authenticator makes it from a request.
type Principal struct {
	ID       string    // unique and lasting; printable, 1 to 128 bytes; must not begin with @
	Name     string    // for people to read; optional
	Role     Role      // decides what the default rules allow
	Session  string    // the host's session; by it Revoke can end one session; optional
	Patients []string  // whom the default rules allow; "@system" for the log of the system itself
	Groups   []string  // wards and care teams, resolved by Options.Directory
	Expires  time.Time // when the token ends; zero: never

	// Issued is when the token was issued, or the session began. What was issued
	// after Hub.Revoke is good again; zero counts as issued before.
	Issued time.Time

	// Actions narrows what the principal may do, as the scopes of a token do,
	// whatever the default rules or the Authorizer allow. Nil means no
	// narrowing; an empty list that is not nil allows nothing.
	Actions []Action
}

// Format writes nothing of p but its role.
func (p Principal) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "carewire.Principal{%s}", p.Role) }

// LogValue hides p from logs but for its role.
func (p Principal) LogValue() slog.Value {
	return slog.StringValue("carewire.Principal{" + string(p.Role) + "}")
}

func (p *Principal) person() Person { return Person{ID: p.ID, Name: p.Name, Role: p.Role} }

// staff reports whether p belongs to AudienceStaff.
func (p *Principal) staff() bool {
	return p.Role == RoleClinician || p.Role == RoleViewer || p.Role == RoleService
}

// Role is what somebody is to carewire.
type Role string

// The roles, with what the default rules allow for the patients a Principal
// lists, by itself or through its groups. Who lists none may do nothing.
const (
	RoleDevice    Role = "device"    // publishes, raises and clears its own alerts
	RolePatient   Role = "patient"   // watches, publishes, raises, reads and writes notices: for themself
	RoleClinician Role = "clinician" // watches, raises, answers, closes, reads history, notifies
	RoleViewer    Role = "viewer"    // watches
	RoleService   Role = "service"   // all but answering, which is a person's
)

var knownRole = map[Role]bool{RoleDevice: true, RolePatient: true, RoleClinician: true, RoleViewer: true, RoleService: true}

// Action is something that a Principal wants to do for a patient.
type Action string

// The actions that are authorised.
const (
	ActionWatch   Action = "watch"   // see events, and send receipts for them
	ActionHistory Action = "history" // read the log
	ActionPublish Action = "publish" // send vitals
	ActionRaise   Action = "raise"   // raise alerts, and clear those one has raised
	ActionClear   Action = "clear"   // clear alerts raised by others
	ActionAnswer  Action = "answer"  // accept, reject, release and assign alerts
	ActionClose   Action = "close"   // close alerts
	ActionNotify  Action = "notify"  // send notices
	ActionTest    Action = "test"    // send test data
	ActionPause   Action = "pause"   // pause the telling of a patient's alerts, and end that
)

var allowed = map[Role][]Action{
	RoleDevice:    {ActionPublish, ActionRaise, ActionTest},
	RolePatient:   {ActionWatch, ActionHistory, ActionPublish, ActionRaise, ActionNotify},
	RoleClinician: {ActionWatch, ActionHistory, ActionRaise, ActionAnswer, ActionClose, ActionNotify, ActionPause},
	RoleViewer:    {ActionWatch},
	RoleService:   {ActionWatch, ActionHistory, ActionPublish, ActionRaise, ActionClear, ActionNotify, ActionTest},
}

// mayAnswer reports whether p is a person who can be responsible.
func (p *Principal) mayAnswer() bool { return p.Role == RoleClinician }

// Authenticator says who is calling. Authenticate is called for each handshake
// without a ticket and for each POST, and for each renewed token with a copy of
// the first request that carries the new one as Authorization. The request has
// no Body: that of a POST is the Hub's to read. ErrUnauthenticated is answered
// 401; ErrForbidden, for whom it knows and does not let in, 403; any other error
// 503. The last two are logged. It must be safe for concurrent use; it is given
// Options.CallTimeout and may panic without harm.
type Authenticator interface {
	Authenticate(*http.Request) (Principal, error)
}

// AuthenticatorFunc is a function that is an Authenticator.
type AuthenticatorFunc func(*http.Request) (Principal, error)

// Authenticate calls f.
func (f AuthenticatorFunc) Authenticate(r *http.Request) (Principal, error) { return f(r) }

// Access is a question to an Authorizer.
type Access struct {
	Principal Principal
	Action    Action
	Patients  []string // one decision is due for each

	// Emergency is break-glass: the principal has asked to watch what was just
	// refused without it, for Reason; or does something else while such a grant
	// is running. It is granted until Decision.Until, or for an hour. Its start
	// and end are audited, and stand in the patient's log as access events.
	Emergency bool
	Reason    string
}

// Decision answers for one patient of an Access.
type Decision struct {
	Allow bool
	Until time.Time // when what is watched ends by itself; it is asked for again before. Zero: no such time
}

// Authorizer decides instead of the default rules. It is asked for every
// request, a client that comes back included, with all patients of the request
// in one call; for what is watched again every Options.Recheck, when
// Hub.MembersChanged is called, and before a Decision's Until; and for what is
// shown in an inbox. It returns one Decision for each patient, in order. An
// error, and any other number of them, means undecided: nothing new is granted
// and nothing is taken away, and it is asked again. It must be safe for
// concurrent use; it is given Options.CallTimeout, and may panic without harm.
type Authorizer interface {
	Authorize(context.Context, Access) ([]Decision, error)
}

// Directory says which patients a group has: who lies on ward 5. It must be
// safe for concurrent use; it is given Options.CallTimeout and may panic
// without harm. Hub.MembersChanged says that a group has changed.
type Directory interface {
	Patients(ctx context.Context, group string) ([]string, error)
}

// bearerProtocol is the prefix of the subprotocol in which a browser, that
// cannot set headers, sends its token.
const bearerProtocol = "carewire.bearer."

// Token returns the bearer token of a request: from the Authorization header,
// or from the subprotocol carewire.bearer.<base64url of the token> that a
// browser offers. It returns "" if there is none. Cookies are the host's to read.
func Token(r *http.Request) string {
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, token, _ := strings.Cut(h, " ")
		if strings.EqualFold(scheme, "Bearer") {
			return strings.TrimSpace(token)
		}
		return ""
	}
	for _, p := range subprotocols(r) {
		if coded, ok := strings.CutPrefix(p, bearerProtocol); ok {
			token, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(coded, "="))
			if err != nil {
				return ""
			}
			return string(token)
		}
	}
	return ""
}

// subprotocols lists what a handshake offers, at most 16 of them.
func subprotocols(r *http.Request) []string {
	var list []string
	for _, h := range r.Header.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(h, ",") {
			if len(list) == 16 {
				return list
			}
			list = append(list, strings.TrimSpace(p))
		}
	}
	return list
}

// originAllowed applies the Origin rule. A request without Origin comes from no
// browser and is allowed unless it relies on a cookie.
func originAllowed(r *http.Request, origins []string) bool {
	headers := r.Header.Values("Origin")
	if len(headers) == 0 {
		return r.Header.Get("Cookie") == "" || Token(r) != ""
	}
	if len(headers) > 1 {
		return false
	}
	origin := headers[0]
	if slices.Contains(origins, origin) {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || origin != u.Scheme+"://"+u.Host || u.Host == "" || !strings.EqualFold(withoutPort(u.Scheme, u.Host), withoutPort(u.Scheme, r.Host)) {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && (loopback(u.Hostname()) || r.TLS == nil && private(u.Hostname()))
}

// withoutPort leaves out the port that a scheme has by itself.
func withoutPort(scheme, host string) string {
	port := ":443"
	if scheme == "http" {
		port = ":80"
	}
	return strings.TrimSuffix(host, port)
}

// private reports whether a host is an address of a network of its own, where no
// name is certified.
func private(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && (a.IsPrivate() || a.IsLinkLocalUnicast())
}

// validPrincipal reports whether an Authenticator's answer can be used.
func (p *Principal) valid() bool {
	return validName(p.ID) && p.ID[0] != '@' && validText(p.Name, 256) && knownRole[p.Role] && validText(p.Session, 256)
}

// addressed reports whether to names p, as somebody of the given patient's log.
func (p *Principal) addressed(to []string, patient string) bool {
	for _, t := range to {
		kind, name, _ := strings.Cut(t, ":")
		switch kind {
		case "person":
			if name == p.ID {
				return true
			}
		case "group":
			if slices.Contains(p.Groups, name) {
				return true
			}
		case "role":
			if name == string(p.Role) {
				return true
			}
		case "patient":
			if p.Role == RolePatient && slices.Contains(p.Patients, patient) {
				return true
			}
		}
	}
	return false
}

// sees reports whether p belongs to the audience of an entry of a patient that
// p may watch.
func (p *Principal) sees(e *Entry) bool {
	switch e.Audience {
	case AudienceAll:
		return true
	case AudienceStaff:
		return p.staff() || p.addressed(e.To, e.Patient)
	case AudienceNamed:
		return e.Sender == p.ID || p.addressed(e.To, e.Patient)
	}
	return false
}

func loopback(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}

// A keptRequest is the head of a request without its secrets. Every connection
// keeps one, so it is kept as text: an http.Request takes several times as much.
type keptRequest struct {
	text   []byte
	remote string
	tls    *tls.ConnectionState
}

func keepRequest(r *http.Request) keptRequest {
	c := *r
	c.Header = maps.Clone(r.Header)
	for _, name := range []string{"Authorization", "Cookie", "Sec-Websocket-Protocol", "Sec-Websocket-Key"} {
		delete(c.Header, name)
	}
	c.RequestURI = ""                          // as the host's mux has changed it
	text, _ := httputil.DumpRequest(&c, false) // without a body nothing can fail
	return keptRequest{text: slices.Clone(text), remote: r.RemoteAddr, tls: r.TLS}
}

// request returns the request again.
func (k *keptRequest) request(ctx context.Context) (*http.Request, error) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(k.text)))
	if err != nil {
		return nil, err
	}
	r.RemoteAddr, r.TLS = k.remote, k.tls
	return r.WithContext(ctx), nil
}
