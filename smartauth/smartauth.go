// Package smartauth authenticates people and services by the access tokens of
// an OpenID Connect or SMART on FHIR issuer.
//
// A token that is a JWT is checked by the issuer's keys. While the issuer is
// down, the last good keys are used for a bounded time. Any other token is
// checked by introspection (RFC 7662). Scopes narrow the principal's rights, by
// a table that the host can change. A logout at the issuer ends sessions by
// Authenticator.BackChannelLogout.
package smartauth

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"github.com/carewire/carewire"
)

// Options configure an Authenticator.
type Options struct {
	// Issuer is the URL that tokens name as their issuer. It is required, and
	// must be https unless AllowPlaintext is set.
	Issuer string
	// Base is where ".well-known/smart-configuration" is found: the FHIR
	// server's base URL. The default is Issuer. An issuer without that document is
	// asked for ".well-known/openid-configuration".
	Base string
	// Audience lists the audiences of which an access token must have one: the
	// names of this API at the issuer. It is required.
	Audience []string
	// ClientID is the host's client ID at the issuer: the audience of the ID tokens
	// that Verify accepts, and of logout tokens. It should not be in Audience: then
	// nobody can use an ID token as an access token. "" means those of Audience.
	ClientID string
	// Algorithms are the signatures that count. The default is RS256, RS384,
	// RS512, PS256, PS384, PS512, ES256, ES384, ES512 and EdDSA. None and the
	// HMAC family are refused by New: they have no public keys.
	Algorithms []string
	// Leeway is how far the issuer's clock may differ from ours. The default is
	// 30 seconds; more than five minutes counts as five.
	Leeway time.Duration
	// MaxStale is how long keys serve when the issuer cannot be reached. After it
	// tokens are undecided (503). The default is 24 hours.
	MaxStale time.Duration
	// Introspection checks tokens that are no JWT. Nil refuses them.
	Introspection *Introspection
	// Principal makes a principal from the claims of a token, for example by the
	// host's own tables. Empty Expires, Issued and Actions are filled in
	// afterwards. ctx is the request's, bounded by the Hub's CallTimeout. Its
	// errors mean:
	//
	//   - carewire.ErrForbidden: a known person who may not come in. 403.
	//   - carewire.ErrUnauthenticated: the token counts as wrong. 401; the client
	//     gets a new token.
	//   - any other error, such as carewire.ErrUndecided or that of a table that
	//     cannot be read: undecided. 503; the client tries again.
	//
	// Nil means: fhirUser decides the role (Practitioner: clinician, Patient:
	// patient, RelatedPerson: viewer, Device: device; none with system scopes
	// only: service; anything else: ErrForbidden); the patient is the one in
	// context, else fhirUser's own; the groups are the claim "groups".
	//
	// It must be safe for concurrent use.
	Principal func(ctx context.Context, c Claims) (carewire.Principal, error)
	// Grants says which actions each scope brings. Nil means DefaultGrants.
	Grants []Grant
	// IgnoreScopes leaves a person's rights to their role and the Authorizer: for
	// an OpenID Connect issuer that gives no SMART scopes. The default is that a
	// token without scopes may do nothing.
	IgnoreScopes bool
	// Client makes the requests to the issuer. Nil means a client with a timeout
	// of five seconds. Redirects are followed for the configuration and the keys
	// only, to URLs that could be asked directly (see AllowPlaintext).
	Client *http.Client
	// AllowPlaintext lets the issuer be reached by http, for tests.
	AllowPlaintext bool
	// Logger gets no tokens and no claims. Refused tokens are logged with their
	// reason, a line a minute for each reason at most. Nil means slog.Default().
	Logger *slog.Logger
}

var safeAlgorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

const (
	refreshEvery = 15 * time.Minute
	unknownEvery = 20 * time.Second // an unknown key ID has the keys fetched anew so often at most
	maxDocument  = 1 << 20          // bytes of a document or key set
	maxToken     = 8192
)

// An Authenticator is a carewire.Authenticator. It is safe for concurrent use.
type Authenticator struct {
	opt        Options
	keys       keyfunc.Keyfunc
	access     *jwt.Parser
	identity   *jwt.Parser
	logout     *jwt.Parser
	fetched    atomic.Int64 // when keys last came, unix nanoseconds
	introspect *introspector
	endpoints  Endpoints
	sessions   recent // subjects by sid
	loggedOut  recent // principals by the ID of their logout token
	counts     counts
	journal    *journal
}

// New asks the issuer for its configuration and keys. It returns an error if
// the issuer cannot be reached. Its goroutines end with ctx.
func New(ctx context.Context, o Options) (*Authenticator, error) {
	if o.Issuer == "" || len(o.Audience) == 0 {
		return nil, errors.New("smartauth: Issuer and Audience are required")
	}
	if o.Algorithms == nil {
		o.Algorithms = safeAlgorithms
	}
	for _, a := range o.Algorithms {
		if !slices.Contains(safeAlgorithms, a) {
			return nil, errors.New("smartauth: Algorithms has one that is not safe or not known")
		}
	}
	if o.Grants == nil {
		o.Grants = DefaultGrants()
	}
	if o.Principal == nil {
		o.Principal = defaultPrincipal
	}
	if o.Client == nil {
		o.Client = &http.Client{Timeout: 5 * time.Second}
	}
	client := *o.Client
	o.Client = &client
	o.Leeway = min(cmp.Or(o.Leeway, 30*time.Second), 5*time.Minute)
	o.MaxStale = cmp.Or(o.MaxStale, 24*time.Hour)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	a := &Authenticator{opt: o, journal: newJournal(o.Logger)}
	client.CheckRedirect = a.follow(client.CheckRedirect)
	found, err := a.discover(ctx)
	if err != nil {
		return nil, err
	}
	if a.keys, err = a.fetchKeys(ctx, found.JWKS); err != nil {
		return nil, err
	}
	if o.Introspection != nil {
		endpoint := cmp.Or(o.Introspection.Endpoint, found.Introspection)
		if !a.safe(endpoint) {
			return nil, errors.New("smartauth: the issuer has no introspection endpoint that can be used")
		}
		a.introspect = newIntrospector(o.Introspection, endpoint, client, &a.counts)
	}
	common := []jwt.ParserOption{jwt.WithValidMethods(o.Algorithms), jwt.WithIssuer(o.Issuer), jwt.WithLeeway(o.Leeway), jwt.WithIssuedAt(), jwt.WithStrictDecoding()}
	ours := jwt.WithAudience(o.Audience...)
	if o.ClientID != "" {
		ours = jwt.WithAudience(o.ClientID)
	}
	a.access = jwt.NewParser(append(common, jwt.WithExpirationRequired(), jwt.WithAudience(o.Audience...))...)
	a.identity = jwt.NewParser(append(common, jwt.WithExpirationRequired(), ours)...)
	a.logout = jwt.NewParser(append(common, ours)...)
	return a, nil
}

var errIssuer = errors.New("smartauth: the issuer cannot be asked")

// Authenticate implements carewire.Authenticator. The request must have an access
// token for Options.Audience. A token of another kind is refused: one with another
// header typ than JWT or at+jwt; a logout token, by its claim events; an ID token,
// by its claim nonce, at_hash or c_hash; and one whose claim typ or token_use says
// ID, refresh, offline or logout.
//
// For an invalid token it returns carewire.ErrUnauthenticated, with the reason, one
// of those of Stats.Refusals, in the error's text. For a person who may not connect
// it returns carewire.ErrForbidden. Any other error means that the issuer or the
// host could not be asked.
func (a *Authenticator) Authenticate(r *http.Request) (carewire.Principal, error) {
	p, _, err := a.counted(r.Context(), carewire.Token(r), a.accessClaims, "")
	return p, err
}

// Verify checks the ID token with which an OpenID Connect sign-in ends, and
// returns the person and the token's claims. From them the host makes a session
// of its own. The token's audience must be Options.ClientID. nonce is the one that
// the host sent with this sign-in: a token with another nonce, or without one, is
// refused. With "" no nonce is compared. A token that is no JWT is refused, and so
// are logout tokens, access tokens marked as such (at+jwt) and refresh tokens. The
// errors are those of Authenticate; with an error there are no claims.
func (a *Authenticator) Verify(ctx context.Context, token, nonce string) (carewire.Principal, Claims, error) {
	return a.counted(ctx, token, a.identityClaims, nonce)
}

// counted verifies a token, and counts and logs the result.
func (a *Authenticator) counted(ctx context.Context, token string, check checkFunc, nonce string) (carewire.Principal, Claims, error) {
	p, c, err := a.verify(ctx, token, check, nonce)
	a.counts.token(err)
	if r, ok := errors.AsType[refusal](err); ok {
		a.journal.refused(r)
	}
	return p, c, err
}

// A checkFunc returns the claims of a token that is good.
type checkFunc func(ctx context.Context, token string) (map[string]any, error)

func (a *Authenticator) verify(ctx context.Context, token string, check checkFunc, nonce string) (carewire.Principal, Claims, error) {
	fail := func(err error) (carewire.Principal, Claims, error) { return carewire.Principal{}, Claims{}, err }
	all, err := check(ctx, token)
	if err != nil {
		return fail(err)
	}
	c := readClaims(all)
	if c.Subject == "" {
		return fail(badClaims)
	}
	if nonce != "" && c.Nonce != nonce {
		return fail(wrongNonce)
	}
	p, err := a.opt.Principal(ctx, c)
	if errors.Is(err, carewire.ErrUnauthenticated) {
		err = unknownPerson
	}
	if err != nil {
		return fail(err)
	}
	if p.Expires.IsZero() {
		p.Expires = c.Expires
	}
	if p.Expires.IsZero() {
		p.Expires = time.Now().Add(endlessFor)
	}
	if p.Issued.IsZero() {
		p.Issued = c.Issued
	}
	if p.Actions == nil && !a.opt.IgnoreScopes {
		if p.Actions = actions(c.Scopes, a.opt.Grants); len(p.Actions) == 0 {
			a.journal.powerless(a.counts.powerless.Add(1))
		}
	}
	sid, _ := all["sid"].(string) // by which a logout token names the session
	a.sessions.note(sid, c.Subject)
	return p, c, nil
}

// accessClaims checks an access token.
func (a *Authenticator) accessClaims(ctx context.Context, token string) (map[string]any, error) {
	if token != "" && len(token) <= maxToken && strings.Count(token, ".") != 2 && a.introspect != nil {
		return a.introspect.ask(ctx, token, a.opt.Audience, a.opt.Issuer, a.opt.Leeway)
	}
	t, claims, err := a.parse(ctx, a.access, token)
	if err == nil && (!typed(t, "jwt", "at+jwt") || !forAccess(claims)) {
		err = wrongType
	}
	return claims, err
}

// identityClaims checks an ID token.
func (a *Authenticator) identityClaims(ctx context.Context, token string) (map[string]any, error) {
	t, claims, err := a.parse(ctx, a.identity, token)
	if err == nil && (!typed(t, "jwt") || !forSignIn(claims)) {
		err = wrongType
	}
	return claims, err
}

// parse checks a JWT. An error is a refusal, or errIssuer.
func (a *Authenticator) parse(ctx context.Context, parser *jwt.Parser, token string) (*jwt.Token, map[string]any, error) {
	switch {
	case token == "":
		return nil, nil, noToken
	case len(token) > maxToken:
		return nil, nil, malformed
	case strings.Count(token, ".") != 2:
		return nil, nil, opaque
	}
	claims := jwt.MapClaims{}
	t, err := parser.ParseWithClaims(token, claims, a.keys.KeyfuncCtx(ctx))
	switch {
	case err == nil && a.stale(), errors.Is(err, errIssuer):
		return nil, nil, errIssuer
	case err != nil:
		return nil, nil, a.why(t, err)
	}
	return t, claims, nil
}

var _ carewire.Authenticator = (*Authenticator)(nil)
