// Package smartauth authenticates people and services by the access tokens of
// an OpenID Connect or SMART on FHIR issuer.
//
// A token that is a JWT is checked by the issuer's keys. While the issuer is
// down, the last good keys are used for a bounded time. Any other token is
// checked by introspection (RFC 7662). Scopes narrow what the principal may do,
// by a table that the host can change. A logout at the issuer ends sessions by
// Authenticator.BackChannelLogout.
package smartauth

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"

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
	// Audience lists the audiences of which a token must have one. It is required.
	Audience []string
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
	// IgnoreScopes leaves what a person may do to their role and the Authorizer:
	// for an OpenID Connect issuer that gives no SMART scopes. The default is that
	// a token without scopes may do nothing.
	IgnoreScopes bool
	// Client makes the requests to the issuer. Nil means a client with a timeout
	// of five seconds.
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
	parser     *jwt.Parser
	logout     *jwt.Parser
	fetched    atomic.Int64 // when keys last came, unix nanoseconds
	introspect *introspector
	endpoints  Endpoints
	sessions   sessions
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
	o.Leeway = min(cmp.Or(o.Leeway, 30*time.Second), 5*time.Minute)
	o.MaxStale = cmp.Or(o.MaxStale, 24*time.Hour)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	a := &Authenticator{opt: o, journal: newJournal(o.Logger)}
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
		a.introspect = newIntrospector(o.Introspection, endpoint, o.Client, &a.counts)
	}
	common := []jwt.ParserOption{jwt.WithValidMethods(o.Algorithms), jwt.WithIssuer(o.Issuer), jwt.WithLeeway(o.Leeway), jwt.WithIssuedAt(), jwt.WithStrictDecoding()}
	a.parser = jwt.NewParser(append(common, jwt.WithExpirationRequired(), jwt.WithAudience(o.Audience...))...)
	a.logout = jwt.NewParser(append(common, jwt.WithAudience(o.Audience...))...)
	return a, nil
}

// fetchKeys fetches the key set now, every 15 minutes, and when a token names a
// key that is not known.
func (a *Authenticator) fetchKeys(ctx context.Context, u string) (keyfunc.Keyfunc, error) {
	client := *a.opt.Client
	client.Transport = &keyTransport{next: cmp.Or[http.RoundTripper](client.Transport, http.DefaultTransport), fetched: &a.fetched}
	store, err := jwkset.NewStorageFromHTTP(u, jwkset.HTTPClientStorageOptions{Client: &client, Ctx: ctx, HTTPTimeout: 5 * time.Second, RefreshInterval: refreshEvery,
		RefreshErrorHandler: func(context.Context, error) {
			a.counts.keysFailed.Add(1)
			a.opt.Logger.Warn("smartauth: the issuer's keys could not be fetched")
		}})
	if err != nil {
		return nil, errors.New("smartauth: the issuer's keys could not be fetched")
	}
	set, err := jwkset.NewHTTPClient(jwkset.HTTPClientOptions{HTTPURLs: map[string]jwkset.Storage{u: store},
		RefreshUnknownKID: rate.NewLimiter(rate.Every(unknownEvery), 1), RateLimitWaitMax: 4 * time.Second})
	if err != nil {
		return nil, err
	}
	return keyfunc.New(keyfunc.Options{Ctx: ctx, Storage: keyStore{set, a}, UseWhitelist: []jwkset.USE{jwkset.UseSig, ""}})
}

// keyStore tells a key that does not exist from one that could not be asked for.
type keyStore struct {
	jwkset.Storage
	auth *Authenticator
}

func (k keyStore) KeyRead(ctx context.Context, kid string) (jwkset.JWK, error) {
	jwk, err := k.Storage.KeyRead(ctx, kid)
	if err != nil && (!errors.Is(err, jwkset.ErrKeyNotFound) || k.auth.unreachable()) {
		err = errors.Join(errIssuer, err)
	}
	return jwk, err
}

// keyTransport bounds a key set, and notes when one came.
type keyTransport struct {
	next    http.RoundTripper
	fetched *atomic.Int64
}

func (k *keyTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := k.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		k.fetched.Store(time.Now().UnixNano())
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, maxDocument), res.Body}
	return res, nil
}

var errIssuer = errors.New("smartauth: the issuer cannot be asked")

// Authenticate implements carewire.Authenticator. For an invalid token it
// returns carewire.ErrUnauthenticated, with the reason, one of those of
// Stats.Refusals, in the error's text. For a person who may not connect it
// returns carewire.ErrForbidden. Any other error means that the issuer or the
// host could not be asked.
func (a *Authenticator) Authenticate(r *http.Request) (carewire.Principal, error) {
	p, _, err := a.counted(r.Context(), carewire.Token(r), "")
	return p, err
}

// Verify checks the ID token with which an OpenID Connect sign-in ends, and
// returns the person and the token's claims. From them the host makes a session
// of its own. Options.Audience must have the host's client ID for that. nonce is
// the one that the host sent with this sign-in: a token with another nonce, or
// without one, is refused. With "" no nonce is compared. The errors are those of
// Authenticate; with an error there are no claims.
func (a *Authenticator) Verify(ctx context.Context, token, nonce string) (carewire.Principal, Claims, error) {
	return a.counted(ctx, token, nonce)
}

// counted verifies a token, and counts and logs what has come of it.
func (a *Authenticator) counted(ctx context.Context, token, nonce string) (carewire.Principal, Claims, error) {
	p, c, err := a.verify(ctx, token, nonce)
	a.counts.token(err)
	if r, ok := errors.AsType[refusal](err); ok {
		a.journal.refused(r)
	}
	return p, c, err
}

func (a *Authenticator) verify(ctx context.Context, token, nonce string) (carewire.Principal, Claims, error) {
	fail := func(err error) (carewire.Principal, Claims, error) { return carewire.Principal{}, Claims{}, err }
	all, err := a.check(ctx, token)
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
	if p.Issued.IsZero() {
		p.Issued = c.Issued
	}
	if p.Actions == nil && !a.opt.IgnoreScopes {
		if p.Actions = actions(c.Scopes, a.opt.Grants); len(p.Actions) == 0 {
			a.journal.powerless(a.counts.powerless.Add(1))
		}
	}
	a.sessions.note(p.Session, p.ID)
	return p, c, nil
}

// check returns the claims of a token that is good.
func (a *Authenticator) check(ctx context.Context, token string) (map[string]any, error) {
	switch {
	case token == "":
		return nil, noToken
	case len(token) > maxToken:
		return nil, malformed
	case strings.Count(token, ".") != 2 && a.introspect == nil:
		return nil, opaque
	case strings.Count(token, ".") != 2:
		return a.introspect.ask(ctx, token, a.opt.Audience, a.opt.Issuer, a.opt.Leeway)
	}
	claims := jwt.MapClaims{}
	t, err := a.parser.ParseWithClaims(token, claims, a.keys.KeyfuncCtx(ctx))
	switch {
	case err == nil && a.stale(), errors.Is(err, errIssuer):
		return nil, errIssuer
	case err != nil:
		return nil, a.why(t, err)
	case !accessToken(t):
		return nil, wrongType
	}
	return claims, nil
}

// accessToken reports whether the header's type does not indicate another
// purpose: a logout token, for example, must admit nobody (RFC 8725, 3.11). A
// header with critical extensions is refused, because none is supported (RFC
// 7515, 4.1.11).
func accessToken(t *jwt.Token) bool {
	if _, given := t.Header["crit"]; given {
		return false
	}
	typ, given := t.Header["typ"]
	if !given {
		return true
	}
	s, _ := typ.(string)
	s = strings.TrimPrefix(strings.ToLower(s), "application/")
	return s == "jwt" || s == "at+jwt"
}

// stale reports whether the keys are too old to count.
func (a *Authenticator) stale() bool {
	return time.Since(time.Unix(0, a.fetched.Load())) > a.opt.MaxStale
}

// unreachable reports whether the keys were last fetched longer ago than a
// fetch for an unknown key would have made it.
func (a *Authenticator) unreachable() bool {
	return time.Since(time.Unix(0, a.fetched.Load())) > unknownEvery+5*time.Second
}

var _ carewire.Authenticator = (*Authenticator)(nil)
