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

// Principal is an authenticated caller. The host's Authenticator makes it from
// a request.
type Principal struct {
	ID       string    // unique and lasting; printable, 1 to 128 bytes; must not begin with @
	Name     string    // for people to read; optional
	Role     Role      // selects the default rules
	Session  string    // the host's session; by it Revoke can end one session; optional
	Patients []string  // the patients that the default rules allow; "@system" is the system's own log
	Groups   []string  // wards and care teams, resolved by Options.Directory
	Expires  time.Time // when the token ends; zero: never

	// Issued is the time at which the token was issued, or the session began.
	// Hub.Revoke ends only older tokens and sessions. The zero time counts as
	// older.
	Issued time.Time

	// Actions limits the principal to these actions, as the scopes of a token
	// do. It never widens the default rules or the Authorizer's decision. Nil
	// means no limit. An empty list that is not nil allows nothing.
	Actions []Action
}

// Format writes only the role of p.
func (p Principal) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "carewire.Principal{%s}", p.Role) }

// LogValue returns only the role of p.
func (p Principal) LogValue() slog.Value {
	return slog.StringValue("carewire.Principal{" + string(p.Role) + "}")
}

func (p *Principal) person() Person { return Person{ID: p.ID, Name: p.Name, Role: p.Role} }

// staff reports whether p belongs to AudienceStaff.
func (p *Principal) staff() bool {
	return p.Role == RoleClinician || p.Role == RoleViewer || p.Role == RoleService
}

// Role is the kind of a principal.
type Role string

// The roles. The default rules allow each role some actions for the patients
// that a Principal lists, directly or through its groups. A principal with
// neither patients nor groups may do nothing.
const (
	RoleDevice    Role = "device"    // publishes, raises and clears its own alerts, sends test data
	RolePatient   Role = "patient"   // watches, reads history, publishes, raises, notifies
	RoleClinician Role = "clinician" // watches, reads history, raises, answers, closes, notifies, pauses
	RoleViewer    Role = "viewer"    // watches
	RoleService   Role = "service"   // watches, reads history, publishes, raises, clears, notifies, sends test data
)

var knownRole = map[Role]bool{RoleDevice: true, RolePatient: true, RoleClinician: true, RoleViewer: true, RoleService: true}

// Action is an action of a Principal for a patient.
type Action string

// The actions that need authorisation.
const (
	ActionWatch   Action = "watch"   // see events, and send receipts for them
	ActionHistory Action = "history" // read the log
	ActionPublish Action = "publish" // send vitals
	ActionRaise   Action = "raise"   // raise alerts, and clear one's own
	ActionClear   Action = "clear"   // clear alerts raised by others
	ActionAnswer  Action = "answer"  // accept, reject, release, assign and hand over alerts
	ActionClose   Action = "close"   // close alerts
	ActionNotify  Action = "notify"  // send notices
	ActionTest    Action = "test"    // send test data
	ActionPause   Action = "pause"   // pause a patient's alerts, and end the pause
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

// Authenticator identifies callers. The Hub calls Authenticate
//
//   - for each handshake without a ticket,
//   - for each POST,
//   - for each renewed token, with a copy of the first request that carries the
//     new token as Authorization.
//
// The request has no Body; the Hub reads that of a POST itself. The Hub answers
// ErrUnauthenticated with 401, ErrForbidden (a known caller that may not
// connect) with 403, and any other error with 503. It logs the last two.
//
// Authenticate must be safe for concurrent use. Each call is bounded by
// Options.CallTimeout. A panic counts as an error.
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

	// Emergency marks a break-glass request. The principal has asked, for
	// Reason, to watch patients that were refused without it. Or it acts while
	// such a grant is running. Then Action may be any action, so an Authorizer
	// must check it. The grant ends at Decision.Until, or after an hour if that
	// is zero; asking again does not prolong it. Its start and end are audited
	// and appear in the patient's log as access events.
	Emergency bool
	Reason    string
}

// Decision is the answer for one patient of an Access.
type Decision struct {
	Allow bool
	Until time.Time // when a watch ends by itself; the Hub asks again before that. Zero: never
}

// Authorizer replaces the default rules. The Hub calls it
//
//   - for every request, also of a client that reconnects, with all patients of
//     the request in one call,
//   - for watched patients: every Options.Recheck, after Hub.MembersChanged,
//     and before a Decision's Until,
//   - for the patients of an inbox,
//   - for persons who have accepted alerts: every Options.Recheck,
//   - for a person or a group to whom an alert is assigned or handed over. For a
//     group it is asked about a clinician with the ID group:ID and that group
//     alone, and about members that the Hub has seen, until one may answer,
//   - again, with Emergency, for patients that it has just refused, if the
//     principal asks for emergency access or has a running grant. Patients that
//     are asked for share one call; each running grant has a call of its own.
//
// Authorize returns one Decision for each patient, in order. An error, or a
// wrong number of Decisions, means undecided: the Hub grants nothing new, takes
// nothing away, and asks again.
//
// Authorize must be safe for concurrent use. Each call is bounded by
// Options.CallTimeout. A panic counts as an error.
type Authorizer interface {
	Authorize(context.Context, Access) ([]Decision, error)
}

// Directory lists the patients of a group, such as the patients on ward 5. Call
// Hub.MembersChanged after a group has changed. A Directory must be safe for
// concurrent use. Each call is bounded by Options.CallTimeout. A panic counts
// as an error.
type Directory interface {
	Patients(ctx context.Context, group string) ([]string, error)
}

// bearerProtocol is the prefix of the subprotocol in which a browser sends its
// token, because it cannot set headers.
const bearerProtocol = "carewire.bearer."

// Token returns the bearer token of a request: from the Authorization header,
// or from the subprotocol carewire.bearer.<base64url of the token> that a
// browser offers. It returns "" if there is none. It ignores cookies, which are
// the host's to read.
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

// subprotocols lists the subprotocols that a handshake offers, at most 16.
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

// originAllowed applies the Origin rule. A request without Origin does not come
// from a browser. It is allowed unless it relies on a cookie.
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
	return u.Scheme == "https" || u.Scheme == "http" && (loopbackHost(u.Hostname()) || r.TLS == nil && privateHost(u.Hostname()))
}

// withoutPort removes the default port of a scheme.
func withoutPort(scheme, host string) string {
	port := ":443"
	if scheme == "http" {
		port = ":80"
	}
	return strings.TrimSuffix(host, port)
}

// privateHost reports whether a host is an address of a private network, for which
// there are no certificates.
func privateHost(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && (a.IsPrivate() || a.IsLinkLocalUnicast())
}

// valid reports whether an Authenticator's answer can be used.
func (p *Principal) valid() bool {
	return validName(p.ID) && p.ID[0] != '@' && validText(p.Name, 256) && knownRole[p.Role] && validText(p.Session, 256)
}

// addressed reports whether to addresses p, for an entry of the given patient's
// log.
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

func loopbackHost(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}

// A keptRequest is the header of a request without its secrets. Every
// connection keeps one as text, because an http.Request takes several times the
// memory.
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
