package smartauth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/oauth2-proxy/mockoidc"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// An issuer is a real OpenID Connect server, with a SMART configuration beside it.
type issuer struct {
	*mockoidc.MockOIDC
	t       *testing.T
	fetches atomic.Int32 // of keys
	hangs   atomic.Bool
	end     chan struct{}
}

func newIssuer(t *testing.T) *issuer {
	m, err := mockoidc.NewServer(nil)
	require.NoError(t, err)
	i := &issuer{MockOIDC: m, t: t, end: make(chan struct{})}
	require.NoError(t, m.AddMiddleware(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == mockoidc.JWKSEndpoint {
				i.fetches.Add(1)
			}
			if i.hangs.Load() {
				<-i.end
			}
			next.ServeHTTP(w, r)
		})
	}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, m.Start(l, nil))
	t.Cleanup(func() { close(i.end); m.Shutdown() })
	return i
}

func (i *issuer) options() Options {
	return Options{Issuer: i.Issuer(), Audience: []string{"carewire"}, AllowPlaintext: true}
}

func (i *issuer) new(o Options) *Authenticator {
	a, err := New(i.t.Context(), o)
	require.NoError(i.t, err)
	return a
}

// claims are those of a good token of a nurse.
func (i *issuer) claims(more map[string]any) jwt.MapClaims {
	now := time.Now()
	c := jwt.MapClaims{"iss": i.Issuer(), "aud": "carewire", "sub": "nurse-1", "sid": "s1", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"name": "Ada", "fhirUser": "https://ehr.example/fhir/Practitioner/1", "groups": []string{"ward-5"}, "scope": "openid user/Observation.rs user/Flag.cu"}
	maps.Copy(c, more)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func (i *issuer) sign(c jwt.MapClaims) string {
	s, err := i.Keypair.SignJWT(c)
	require.NoError(i.t, err)
	return s
}

func request(token string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/live", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// The token of a person's sign-in lets that person in.
func TestSignIn(t *testing.T) {
	i := newIssuer(t)
	o := i.options()
	o.Audience = []string{i.ClientID}
	o.Principal = func(_ context.Context, c Claims) (carewire.Principal, error) {
		return carewire.Principal{ID: c.Subject, Role: carewire.RoleViewer}, nil
	}
	a := i.new(o)
	i.QueueUser(&mockoidc.MockUser{Subject: "kim", Email: "kim@example.org"})
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Get(i.AuthorizationEndpoint() + "?" + url.Values{"scope": {"openid"}, "response_type": {"code"}, "client_id": {i.ClientID},
		"redirect_uri": {"http://app.example/back"}, "state": {"x"}}.Encode())
	require.NoError(t, err)
	res.Body.Close()
	back, err := res.Location()
	require.NoError(t, err)
	res, err = client.PostForm(i.TokenEndpoint(), url.Values{"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")},
		"client_id": {i.ClientID}, "client_secret": {i.ClientSecret}, "redirect_uri": {"http://app.example/back"}})
	require.NoError(t, err)
	defer res.Body.Close()
	var got struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(t, json.NewDecoder(res.Body).Decode(&got))
	p, err := a.Authenticate(request(got.AccessToken))
	require.NoError(t, err)
	require.Equal(t, "kim", p.ID)
	require.False(t, p.Expires.IsZero())
}

func TestPrincipals(t *testing.T) {
	i := newIssuer(t)
	a := i.new(i.options())
	watch, answer := carewire.ActionWatch, carewire.ActionAnswer
	for name, x := range map[string]struct {
		claims map[string]any
		want   carewire.Principal
	}{
		"a nurse": {nil, carewire.Principal{ID: "nurse-1", Name: "Ada", Role: carewire.RoleClinician, Session: "s1", Groups: []string{"ward-5"},
			Actions: []carewire.Action{watch, carewire.ActionHistory, carewire.ActionRaise, answer, carewire.ActionClose, carewire.ActionClear}}},
		"a patient": {map[string]any{"sub": "p", "fhirUser": "Patient/77", "groups": nil, "scope": "patient/*.read"},
			carewire.Principal{ID: "p", Name: "Ada", Role: carewire.RolePatient, Session: "s1", Patients: []string{"77"}, Actions: []carewire.Action{watch, carewire.ActionHistory}}},
		"an app launched for one patient": {map[string]any{"patient": "88", "groups": nil, "scope": []string{"patient/Observation.r"}},
			carewire.Principal{ID: "nurse-1", Name: "Ada", Role: carewire.RoleClinician, Session: "s1", Patients: []string{"88"}, Actions: []carewire.Action{watch}}},
		"a back end": {map[string]any{"fhirUser": nil, "name": nil, "sid": nil, "jti": "j", "scope": "system/Observation.c"},
			carewire.Principal{ID: "nurse-1", Role: carewire.RoleService, Session: "j", Groups: []string{"ward-5"}, Actions: []carewire.Action{carewire.ActionPublish, carewire.ActionTest}}},
		"no scopes": {map[string]any{"scope": nil},
			carewire.Principal{ID: "nurse-1", Name: "Ada", Role: carewire.RoleClinician, Session: "s1", Groups: []string{"ward-5"}, Actions: []carewire.Action{}}},
		"a narrowed scope brings nothing": {map[string]any{"scope": "user/Observation.rs?category=vital-signs user/Observation.sr user/Observation.x"},
			carewire.Principal{ID: "nurse-1", Name: "Ada", Role: carewire.RoleClinician, Session: "s1", Groups: []string{"ward-5"}, Actions: []carewire.Action{}}},
	} {
		p, err := a.Authenticate(request(i.sign(i.claims(x.claims))))
		require.NoError(t, err, name)
		require.False(t, p.Expires.IsZero(), name)
		require.False(t, p.Issued.IsZero(), name)
		p.Expires, p.Issued = time.Time{}, time.Time{}
		require.Equal(t, x.want, p, name)
	}
	_, err := a.Authenticate(request(i.sign(i.claims(map[string]any{"fhirUser": "Group/1"}))))
	require.ErrorIs(t, err, carewire.ErrForbidden)
}

// A host's own table of grants counts in the place of the default one.
func TestGrants(t *testing.T) {
	i := newIssuer(t)
	watch, clear := carewire.ActionWatch, carewire.ActionClear
	own := []Grant{{"Flag", "r", []carewire.Action{watch}}, {"Task", "u", []carewire.Action{watch, clear}}}
	more := append(DefaultGrants(), Grant{"Task", "u", []carewire.Action{clear}})
	for name, x := range map[string]struct {
		grants []Grant
		scope  string
		want   []carewire.Action
	}{
		"another table":                      {own, "user/Flag.r", []carewire.Action{watch}},
		"each action once":                   {own, "user/Flag.r user/Task.u", []carewire.Action{watch, clear}},
		"what only the default table grants": {own, "user/Observation.rs user/Flag.cu", []carewire.Action{}},
		"a longer table":                     {more, "user/Observation.r user/Task.u", []carewire.Action{watch, clear}},
		"an empty table":                     {[]Grant{}, "user/*.cruds", []carewire.Action{}},
	} {
		o := i.options()
		o.Grants = x.grants
		p, err := i.new(o).Authenticate(request(i.sign(i.claims(map[string]any{"scope": x.scope}))))
		require.NoError(t, err, name)
		require.Equal(t, x.want, p.Actions, name)
	}
}

// An issuer that knows no scopes leaves all to roles, if the host says so. If it
// does not, the log says why people may do nothing.
func TestIgnoreScopes(t *testing.T) {
	i := newIssuer(t)
	for ignore, want := range map[bool][]carewire.Action{true: nil, false: {}} {
		var log bytes.Buffer
		o := i.options()
		o.IgnoreScopes, o.Logger = ignore, slog.New(slog.NewTextHandler(&log, nil))
		a := i.new(o)
		for _, scope := range []any{nil, "openid", "user/Condition.rs"} {
			p, err := a.Authenticate(request(i.sign(i.claims(map[string]any{"scope": scope}))))
			require.NoError(t, err)
			require.Equal(t, want, p.Actions)
		}
		if ignore {
			require.Zero(t, a.Stats().Powerless)
			require.Empty(t, log.String())
			continue
		}
		require.EqualValues(t, 3, a.Stats().Powerless)
		require.Contains(t, log.String(), "reason=scopes times=1\n")
	}
}

// The ID token with which a sign-in ends says whose session begins. It is that of
// this sign-in, by its nonce.
func TestVerify(t *testing.T) {
	i := newIssuer(t)
	o := i.options()
	o.IgnoreScopes = true
	broken := errors.New("the table cannot be read")
	o.Principal = func(_ context.Context, c Claims) (carewire.Principal, error) {
		err := map[string]error{"mallory": carewire.ErrForbidden, "gone": carewire.ErrUnauthenticated, "undecided": carewire.ErrUndecided, "broken": broken}[c.Subject]
		return carewire.Principal{ID: c.Subject, Role: carewire.RoleClinician, Session: c.Session}, err
	}
	a := i.new(o)
	p, c, err := a.Verify(t.Context(), i.sign(i.claims(map[string]any{"nonce": "n1", "acr": "mfa"})), "n1")
	require.NoError(t, err)
	require.Equal(t, "nurse-1", p.ID)
	require.Equal(t, "s1", p.Session)
	require.False(t, p.Expires.IsZero())
	require.Equal(t, "n1", c.Nonce)
	require.Equal(t, "mfa", c.All["acr"])
	_, _, err = a.Verify(t.Context(), i.sign(i.claims(map[string]any{"nonce": "n1"})), "")
	require.NoError(t, err, "no nonce was asked for")
	for subject, want := range map[string]error{"mallory": carewire.ErrForbidden, "gone": carewire.ErrUnauthenticated, "undecided": carewire.ErrUndecided, "broken": broken} {
		p, c, err = a.Verify(t.Context(), i.sign(i.claims(map[string]any{"sub": subject})), "")
		require.ErrorIs(t, err, want)
		require.Equal(t, carewire.Principal{}, p)
		require.Equal(t, Claims{}, c)
	}
	for _, wrong := range []string{"", "x", i.sign(i.claims(map[string]any{"aud": "payroll"})), i.sign(i.claims(nil)), i.sign(i.claims(map[string]any{"nonce": "n2"})),
		i.sign(i.claims(map[string]any{"nonce": []string{"n1"}}))} {
		_, _, err = a.Verify(t.Context(), wrong, "n1")
		require.ErrorIs(t, err, carewire.ErrUnauthenticated)
	}
	s := a.Stats()
	require.Equal(t, [4]uint64{2, 7, 1, 2}, [4]uint64{s.Accepted, s.Refused, s.Forbidden, s.Undecided})
	require.Equal(t, [3]uint64{3, 1, 1}, [3]uint64{s.Refusals["nonce"], s.Refusals["principal"], s.Refusals["audience"]})
	require.Less(t, s.KeysAge, time.Minute)
}

// Verify takes ID tokens for the client only, and Authenticate access tokens for
// the API only.
func TestPurposes(t *testing.T) {
	i := newIssuer(t)
	o := i.options()
	o.ClientID = "client-1"
	a := i.new(o)
	signed := func(typ any, claims map[string]any) string {
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, i.claims(claims))
		kid, err := i.Keypair.KeyID()
		require.NoError(t, err)
		token.Header["kid"], token.Header["typ"] = kid, typ
		if typ == nil {
			delete(token.Header, "typ")
		}
		s, err := token.SignedString(i.Keypair.PrivateKey)
		require.NoError(t, err)
		return s
	}
	for _, typ := range []any{nil, "JWT", "application/at+jwt"} {
		_, err := a.Authenticate(request(signed(typ, map[string]any{"typ": "Bearer", "token_use": "access"})))
		require.NoError(t, err, typ)
	}
	for _, typ := range []any{nil, "JWT"} {
		_, _, err := a.Verify(t.Context(), signed(typ, map[string]any{"aud": "client-1", "nonce": "n", "at_hash": "x", "typ": "ID", "token_use": "id"}), "n")
		require.NoError(t, err, typ)
	}
	for name, x := range map[string]struct {
		reason string
		typ    any
		claims map[string]any
	}{
		"an access token for the API":   {"audience", "JWT", nil},
		"an access token, by its type":  {"type", "at+jwt", map[string]any{"aud": "client-1"}},
		"an access token, by typ":       {"type", "JWT", map[string]any{"aud": "client-1", "typ": "Bearer"}},
		"an access token, by token_use": {"type", "JWT", map[string]any{"aud": "client-1", "token_use": "access"}},
		"a refresh token":               {"type", "JWT", map[string]any{"aud": "client-1", "typ": "Refresh"}},
		"a logout token, by its type":   {"type", "logout+jwt", map[string]any{"aud": "client-1"}},
		"a logout token, by its claim":  {"type", "JWT", map[string]any{"aud": "client-1", "events": map[string]any{logoutEvent: map[string]any{}}}},
	} {
		_, _, err := a.Verify(t.Context(), signed(x.typ, x.claims), "")
		require.ErrorContains(t, err, "refused: "+x.reason, name)
	}
	o.Introspection = &Introspection{Endpoint: i.Issuer()}
	_, _, err := i.new(o).Verify(t.Context(), "opaque", "")
	require.ErrorContains(t, err, "refused: opaque", "the issuer is not asked about an ID token")
}

// A host need not know the issuer's URLs by heart.
func TestEndpoints(t *testing.T) {
	i := newIssuer(t)
	require.Equal(t, Endpoints{Authorization: i.AuthorizationEndpoint(), Token: i.TokenEndpoint()}, i.new(i.options()).Endpoints())
	document := map[string]any{"jwks_uri": i.JWKSEndpoint(), "authorization_endpoint": "javascript:alert(1)", "token_endpoint": "https://login.example/token"}
	fhir := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(document) }))
	defer fhir.Close()
	o := i.options()
	o.Base = fhir.URL
	require.Equal(t, Endpoints{Token: "https://login.example/token"}, i.new(o).Endpoints(), "one by another scheme is none")
}

func TestParseScope(t *testing.T) {
	for s, want := range map[string]Scope{
		"patient/Observation.rs":                     {"patient", "Observation", "rs", ""},
		"user/*.cruds":                               {"user", "*", "cruds", ""},
		"system/Observation.read":                    {"system", "Observation", "rs", ""},
		"system/Observation.write":                   {"system", "Observation", "cud", ""},
		"patient/*.*":                                {"patient", "*", "cruds", ""},
		"patient/Observation.rs?category=a|b&code=c": {"patient", "Observation", "rs", "category=a|b&code=c"},
	} {
		got, ok := ParseScope(s)
		require.True(t, ok, s)
		require.Equal(t, want, got)
	}
	for _, s := range []string{"", "openid", "launch/patient", "patient/Observation", "patient/.rs", "patient/Observation.", "patient/Observation.dus.", "patient/Observation.sr", "patient/Observation.rr", "other/Observation.rs"} {
		_, ok := ParseScope(s)
		require.False(t, ok, s)
	}
}

func TestForgedTokens(t *testing.T) {
	i, log := newIssuer(t), new(bytes.Buffer)
	o := i.options()
	o.Logger, o.ClientID = slog.New(slog.NewTextHandler(log, nil)), "client-1"
	a := i.new(o)
	good := i.sign(i.claims(nil))
	_, err := a.Authenticate(request(good))
	require.NoError(t, err)

	kid, err := i.Keypair.KeyID()
	require.NoError(t, err)
	own, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(i.Keypair.PublicKey)
	require.NoError(t, err)
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	attacker := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a key of the attacker's was fetched") }))
	defer attacker.Close()

	signed := func(method jwt.SigningMethod, key any, header map[string]any, claims map[string]any) string {
		token := jwt.NewWithClaims(method, i.claims(claims))
		token.Header["kid"] = kid
		maps.Copy(token.Header, header)
		maps.DeleteFunc(token.Header, func(_ string, v any) bool { return v == nil })
		s, err := token.SignedString(key)
		require.NoError(t, err)
		return s
	}
	parts := strings.Split(good, ".")
	now := time.Now()
	raw := func(v any) string { b, _ := json.Marshal(v); return base64.RawURLEncoding.EncodeToString(b) }
	issued := func(claims map[string]any) string { return i.sign(i.claims(claims)) }
	refused := make(map[string]uint64)
	for name, forged := range map[string]struct{ reason, token string }{
		"no signature, alg none":       {"algorithm", signed(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil, nil)},
		"alg nOnE":                     {"algorithm", raw(map[string]any{"alg": "nOnE", "kid": kid}) + "." + parts[1] + "."},
		"signature dropped":            {"signature", parts[0] + "." + parts[1] + "."},
		"key confusion, PEM":           {"algorithm", signed(jwt.SigningMethodHS256, public, nil, nil)},
		"key confusion, DER":           {"algorithm", signed(jwt.SigningMethodHS256, der, nil, nil)},
		"key confusion, modulus":       {"algorithm", signed(jwt.SigningMethodHS512, i.Keypair.PublicKey.N.Bytes(), nil, nil)},
		"own key under the kid":        {"signature", signed(jwt.SigningMethodRS256, own, nil, nil)},
		"own key, no kid":              {"signature", signed(jwt.SigningMethodRS256, own, map[string]any{"kid": nil}, nil)},
		"own key, kid a path":          {"key", signed(jwt.SigningMethodRS256, own, map[string]any{"kid": "../../dev/null"}, nil)},
		"own key, kid a number":        {"key", signed(jwt.SigningMethodRS256, own, map[string]any{"kid": 1}, nil)},
		"own key in jwk":               {"signature", signed(jwt.SigningMethodRS256, own, map[string]any{"jwk": map[string]any{"kty": "RSA", "e": "AQAB", "n": base64.RawURLEncoding.EncodeToString(own.N.Bytes())}}, nil)},
		"own key by jku":               {"signature", signed(jwt.SigningMethodRS256, own, map[string]any{"jku": attacker.URL}, nil)},
		"own key by x5u":               {"signature", signed(jwt.SigningMethodRS256, own, map[string]any{"x5u": attacker.URL}, nil)},
		"payload exchanged":            {"signature", parts[0] + "." + raw(i.claims(map[string]any{"sub": "other"})) + "." + parts[2]},
		"header exchanged":             {"key", raw(map[string]any{"alg": "RS512", "kid": kid}) + "." + parts[1] + "." + parts[2]},
		"signature of another":         {"signature", parts[0] + "." + parts[1] + "." + strings.Split(issued(map[string]any{"sub": "x"}), ".")[2]},
		"signature cut short":          {"signature", good[:len(good)-2]},
		"four parts":                   {"opaque", good + ".x"},
		"padded":                       {"malformed", parts[0] + "." + parts[1] + "." + parts[2] + "=="},
		"an extension that is crit":    {"type", signed(jwt.SigningMethodRS256, i.Keypair.PrivateKey, map[string]any{"crit": []string{"exp2"}}, nil)},
		"a logout token":               {"type", signed(jwt.SigningMethodRS256, i.Keypair.PrivateKey, map[string]any{"typ": "logout+jwt"}, nil)},
		"a logout token of type JWT":   {"type", issued(map[string]any{"jti": "l", "events": map[string]any{logoutEvent: map[string]any{}}})},
		"a logout token, by typ":       {"type", issued(map[string]any{"typ": "Logout"})},
		"events of another shape":      {"type", issued(map[string]any{"events": "x"})},
		"an ID token, by nonce":        {"type", issued(map[string]any{"nonce": "n"})},
		"an ID token, by at_hash":      {"type", issued(map[string]any{"at_hash": "x"})},
		"an ID token, by c_hash":       {"type", issued(map[string]any{"c_hash": "x"})},
		"an ID token, by typ":          {"type", issued(map[string]any{"typ": "ID"})},
		"an ID token, by token_use":    {"type", issued(map[string]any{"token_use": "id"})},
		"an ID token, by audience":     {"audience", issued(map[string]any{"aud": "client-1"})},
		"a refresh token, by typ":      {"type", issued(map[string]any{"typ": "Refresh"})},
		"an offline token, by typ":     {"type", issued(map[string]any{"typ": "Offline"})},
		"a token of another type":      {"type", signed(jwt.SigningMethodRS256, i.Keypair.PrivateKey, map[string]any{"typ": "dpop+jwt"}, nil)},
		"type a number":                {"type", signed(jwt.SigningMethodRS256, i.Keypair.PrivateKey, map[string]any{"typ": 1}, nil)},
		"another issuer":               {"issuer", issued(map[string]any{"iss": "https://other.example"})},
		"issuer with a slash":          {"issuer", issued(map[string]any{"iss": i.Issuer() + "/"})},
		"no issuer":                    {"claims", issued(map[string]any{"iss": nil})},
		"another audience":             {"audience", issued(map[string]any{"aud": "payroll"})},
		"no audience":                  {"claims", issued(map[string]any{"aud": nil})},
		"over":                         {"expired", issued(map[string]any{"exp": now.Add(-31 * time.Second).Unix()})},
		"without an end":               {"claims", issued(map[string]any{"exp": nil})},
		"end is a text":                {"claims", issued(map[string]any{"exp": "tomorrow"})},
		"not yet":                      {"not_yet", issued(map[string]any{"nbf": now.Add(time.Minute).Unix()})},
		"issued in the future":         {"not_yet", issued(map[string]any{"iat": now.Add(time.Minute).Unix()})},
		"nobody":                       {"claims", issued(map[string]any{"sub": nil})},
		"subject a list":               {"claims", issued(map[string]any{"sub": []string{"nurse-1"}})},
		"not a token":                  {"opaque", "...."},
		"opaque without introspection": {"opaque", "opaque"},
		"too long":                     {"malformed", good + strings.Repeat("A", maxToken)},
	} {
		_, err := a.Authenticate(request(forged.token))
		require.ErrorIs(t, err, carewire.ErrUnauthenticated, name)
		require.ErrorContains(t, err, "refused: "+forged.reason, name)
		refused[forged.reason]++
	}
	r := request("")
	r.Header.Del("Authorization")
	_, err = a.Authenticate(r)
	require.ErrorIs(t, err, carewire.ErrUnauthenticated)
	refused["missing"]++

	counted := a.Stats().Refusals
	require.Len(t, counted, len(refusals), "each reason is present")
	maps.DeleteFunc(counted, func(_ string, n uint64) bool { return n == 0 })
	require.Equal(t, refused, counted)
	// Each reason is logged, without anything of the token.
	logged := map[string]bool{"missing": true} // which is counted only
	for line := range strings.Lines(log.String()) {
		m := regexp.MustCompile(`^time=\S+ level=WARN msg="smartauth: a token is refused" reason=([a-z_]+) times=\d+\n$`).FindStringSubmatch(line)
		require.NotNil(t, m, line)
		logged[m[1]] = true
	}
	require.Len(t, logged, len(refused))
}

// Each reason is explained to those who use Stats, and to those who read the log.
func TestReasonsAreExplained(t *testing.T) {
	for file, form := range map[string]string{"stats.go": `(?m)^\t//   - ([a-z_, ]+):`, "../docs/operations.md": "(?m)^\\| (`[a-z_`, ]+) \\| "} {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		var words []string
		for _, m := range regexp.MustCompile(form).FindAllStringSubmatch(string(b), -1) {
			words = append(words, strings.Split(strings.ReplaceAll(m[1], "`", ""), ", ")...)
		}
		require.Subset(t, words, refusals[:], file)
	}
}

// Strangers cannot fill the log: each reason has a line a minute.
func TestJournalIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		j := newJournal(slog.New(slog.NewTextHandler(&log, nil)))
		for range 150 { // seconds
			for range 10 {
				j.refused(expired)
				j.refused(noToken)
				j.powerless(1)
				j.logoutRefused(nil)
			}
			time.Sleep(time.Second)
		}
		for part, n := range map[string]int{"reason=expired": 3, "reason=missing": 0, "reason=scopes": 3, "reason=session": 3, "times=1201": 1} {
			require.Equal(t, n, strings.Count(log.String(), part), part)
		}
	})
}

func TestClockSkew(t *testing.T) {
	i := newIssuer(t)
	a := i.new(i.options())
	now := time.Now()
	_, err := a.Authenticate(request(i.sign(i.claims(map[string]any{"iat": now.Add(20 * time.Second).Unix(), "nbf": now.Add(20 * time.Second).Unix()}))))
	require.NoError(t, err, "20 s ahead")
	_, err = a.Authenticate(request(i.sign(i.claims(map[string]any{"exp": now.Add(-20 * time.Second).Unix()}))))
	require.NoError(t, err, "20 s over: the Hub itself ends it by Expires")
}

func TestKeyRotation(t *testing.T) {
	i := newIssuer(t)
	a := i.new(i.options())
	old := i.sign(i.claims(nil))
	next, err := mockoidc.RandomKeypair(2048)
	require.NoError(t, err)
	i.Keypair = next
	_, err = a.Authenticate(request(i.sign(i.claims(nil))))
	require.NoError(t, err, "a token with a new key has the keys fetched")
	_, err = a.Authenticate(request(old))
	require.Error(t, err, "a key that was withdrawn counts no more")

	another, err := mockoidc.RandomKeypair(2048)
	require.NoError(t, err)
	forged, err := another.SignJWT(i.claims(nil))
	require.NoError(t, err)
	before := i.fetches.Load()
	for range 50 { // strangers cannot have the keys fetched again and again
		_, err = a.Authenticate(request(forged))
		require.Error(t, err)
	}
	require.LessOrEqual(t, i.fetches.Load()-before, int32(2))
}

// While the issuer is down or hangs, known keys go on serving and unknown ones
// are undecided; after MaxStale nobody is let in.
func TestIssuerIsDown(t *testing.T) {
	i := newIssuer(t)
	client := &http.Client{Timeout: 500 * time.Millisecond}
	o := i.options()
	o.Client = client
	a := i.new(o)
	i.hangs.Store(true)
	_, err := a.Authenticate(request(i.sign(i.claims(nil))))
	require.NoError(t, err)

	another, err := mockoidc.RandomKeypair(2048)
	require.NoError(t, err)
	unknown, err := another.SignJWT(i.claims(nil))
	require.NoError(t, err)
	a.fetched.Add(-int64(time.Hour))
	_, err = a.Authenticate(request(unknown))
	require.ErrorIs(t, err, errIssuer)
	_, err = a.Authenticate(request(i.sign(i.claims(nil))))
	require.NoError(t, err, "an hour later")
	a.fetched.Add(-int64(24 * time.Hour))
	_, err = a.Authenticate(request(i.sign(i.claims(nil))))
	require.ErrorIs(t, err, errIssuer, "more than a day later")
	counted := a.Stats()
	require.Equal(t, [4]uint64{2, 0, 0, 2}, [4]uint64{counted.Accepted, counted.Refused, counted.Forbidden, counted.Undecided})
	require.Greater(t, counted.KeysAge, 25*time.Hour)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = New(ctx, o)
	require.Error(t, err, "New says that the issuer cannot be reached")
}

// Only a key set with a key that can be used counts as fetched: another answer
// leaves the old keys, and does not make them younger.
func TestBadKeySets(t *testing.T) {
	i := newIssuer(t)
	var answer atomic.Pointer[string]
	fetches := new(atomic.Int32)
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetches.Add(1)
		if s := answer.Load(); s != nil {
			io.WriteString(w, *s)
			return
		}
		res, err := http.Get(i.JWKSEndpoint())
		if err == nil {
			defer res.Body.Close()
			io.Copy(w, res.Body)
		}
	}))
	defer keys.Close()
	fhir := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(configuration{Issuer: i.Issuer(), JWKS: keys.URL})
	}))
	defer fhir.Close()
	o := i.options()
	o.Base = fhir.URL
	good := i.sign(i.claims(nil))
	another, err := mockoidc.RandomKeypair(2048)
	require.NoError(t, err)
	unknown, err := another.SignJWT(i.claims(nil))
	require.NoError(t, err)
	for name, s := range map[string]string{
		"HTML":            "<html>maintenance</html>",
		"another object":  `{"error":"x"}`,
		"no keys":         `{"keys":[]}`,
		"a secret":        `{"keys":[{"kty":"oct","kid":"x","k":"AAAA"}]}`,
		"a damaged key":   `{"keys":[{"kty":"RSA","kid":"x","n":"!","e":"AQAB"}]}`,
		"unknown to us":   `{"keys":[{"kty":"PQ","kid":"x"}]}`,
		"10 MB":           `{"fill":"` + strings.Repeat("x", 10<<20) + `","keys":[{"kty":"OKP","crv":"Ed25519","kid":"x","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`,
		"encryption only": `{"keys":[{"kty":"OKP","crv":"Ed25519","use":"enc","kid":"x","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`,
	} {
		answer.Store(nil)
		a := i.new(o)
		answer.Store(&s)
		a.fetched.Add(-int64(25 * time.Hour))
		before := fetches.Load()
		_, err := a.Authenticate(request(unknown))
		require.ErrorIs(t, err, errIssuer, name)
		require.Equal(t, before+1, fetches.Load(), name)
		_, err = a.Authenticate(request(good))
		require.ErrorIs(t, err, errIssuer, name)
		counted := a.Stats()
		require.Greater(t, counted.KeysAge, 24*time.Hour, name)
		require.EqualValues(t, 1, counted.KeysFailed, name)
		_, err = New(t.Context(), o)
		require.Error(t, err, name)
	}
}

// The configuration and the keys may be redirected to URLs that could be asked
// directly.
func TestRedirects(t *testing.T) {
	i := newIssuer(t)
	to := i.JWKSEndpoint()
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		json.NewEncoder(w).Encode(configuration{JWKS: "https://" + r.Host + "/keys"})
	}))
	defer secure.Close()
	o := Options{Issuer: secure.URL, Audience: []string{"carewire"}, Client: secure.Client()}
	_, err := New(t.Context(), o)
	require.Error(t, err, "keys by http")
	require.Zero(t, i.fetches.Load())
	require.Nil(t, o.Client.CheckRedirect, "the host's client stays as it is")
	o.AllowPlaintext = true
	i.new(o)
	require.EqualValues(t, 1, i.fetches.Load())
}

func TestSMARTConfiguration(t *testing.T) {
	i := newIssuer(t)
	answer := configuration{Issuer: i.Issuer(), JWKS: i.JWKSEndpoint()}
	fhir := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "/fhir/.well-known/smart-configuration", r.URL.Path)
		json.NewEncoder(w).Encode(answer)
	}))
	defer fhir.Close()
	o := i.options()
	o.Base = fhir.URL + "/fhir"
	_, err := i.new(o).Authenticate(request(i.sign(i.claims(nil))))
	require.NoError(t, err)
	answer.Issuer = "https://other.example"
	_, err = New(t.Context(), o)
	require.Error(t, err, "a configuration of another issuer")
	answer = configuration{JWKS: "ftp://x/keys"}
	_, err = New(t.Context(), o)
	require.Error(t, err, "keys by another scheme")
	o.AllowPlaintext = false
	_, err = New(t.Context(), o)
	require.Error(t, err, "an issuer by plain http")
	o = i.options()
	for name, change := range map[string]func(*Options){
		"no issuer":   func(o *Options) { o.Issuer = "" },
		"no audience": func(o *Options) { o.Audience = nil },
		"HMAC":        func(o *Options) { o.Algorithms = []string{"HS256"} },
		"none":        func(o *Options) { o.Algorithms = []string{"none"} },
	} {
		o := o
		change(&o)
		_, err = New(t.Context(), o)
		require.Error(t, err, name)
	}
}
