package smartauth

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/oauth2-proxy/mockoidc"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

func TestIntrospection(t *testing.T) {
	i := newIssuer(t)
	asked, fail := 0, false
	answers := map[string]map[string]any{
		"good":             {"active": true, "sub": "nurse-1", "scope": "user/Observation.rs", "fhirUser": "Practitioner/1", "exp": time.Now().Add(time.Hour).Unix(), "aud": "carewire", "iss": i.Issuer()},
		"bare":             {"active": true, "sub": "nurse-1", "fhirUser": "Practitioner/1", "aud": "carewire"},
		"no audience":      {"active": true, "sub": "nurse-1"},
		"odd audience":     {"active": true, "sub": "nurse-1", "aud": 1},
		"a refresh token":  {"active": true, "sub": "nurse-1", "aud": "carewire", "typ": "Refresh"},
		"inactive":         {"active": false},
		"active as text":   {"active": "true", "sub": "nurse-1"},
		"another audience": {"active": true, "sub": "nurse-1", "aud": []string{"payroll"}},
		"another issuer":   {"active": true, "sub": "nurse-1", "aud": "carewire", "iss": "https://other.example"},
		"over":             {"active": true, "sub": "nurse-1", "aud": "carewire", "exp": time.Now().Add(-time.Hour).Unix()},
		"not yet":          {"active": true, "sub": "nurse-1", "aud": "carewire", "nbf": time.Now().Add(time.Hour).Unix()},
		"exp as text":      {"active": true, "sub": "nurse-1", "aud": "carewire", "exp": "1700000000"},
		"nbf as text":      {"active": true, "sub": "nurse-1", "aud": "carewire", "nbf": "2100-01-01"},
		"no exp":           {"active": true, "sub": "nurse-1", "fhirUser": "Practitioner/1", "aud": "carewire", "exp": nil, "nbf": nil},
		"nobody":           {"active": true, "aud": "carewire"},
	}
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		id, secret, _ := r.BasicAuth()
		if id != "ehr" || secret != url.QueryEscape("s e") || fail {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		json.NewEncoder(w).Encode(answers[r.PostFormValue("token")])
	}))
	defer endpoint.Close()
	o := i.options()
	o.Introspection = &Introspection{Endpoint: endpoint.URL, ClientID: "ehr", ClientSecret: "s e"}
	a := i.new(o)
	began := time.Now()
	for token := range answers {
		p, err := a.Authenticate(request(token))
		if token == "good" || token == "bare" || token == "no exp" {
			require.NoError(t, err, token)
			require.Equal(t, "nurse-1", p.ID)
			ends := map[string]time.Duration{"good": time.Hour, "bare": endlessFor, "no exp": endlessFor}[token]
			require.WithinRange(t, p.Expires, began.Add(ends-2*time.Second), time.Now().Add(ends), "one without exp does not last for ever")
		} else {
			require.ErrorIs(t, err, carewire.ErrUnauthenticated, token)
			require.ErrorContains(t, err, "refused: "+map[string]string{"inactive": "inactive", "active as text": "inactive", "another audience": "audience", "no audience": "claims", "odd audience": "claims", "a refresh token": "type",
				"another issuer": "issuer", "over": "expired", "not yet": "not_yet", "exp as text": "claims", "nbf as text": "claims", "nobody": "claims"}[token], token)
		}
	}
	before := asked
	_, err := a.Authenticate(request("good"))
	require.NoError(t, err)
	_, err = a.Authenticate(request("inactive"))
	require.Error(t, err)
	require.Equal(t, before, asked, "answers are remembered")
	require.Equal(t, [2]uint64{uint64(asked), 2}, [2]uint64{a.Stats().Introspected, a.Stats().Remembered})
	fail = true
	_, err = a.Authenticate(request("new"))
	require.ErrorIs(t, err, errIssuer, "no answer is not a no")
	fail = false

	for n := range maxCached + 100 {
		a.introspect.keep([32]byte{byte(n), byte(n >> 8), 1}, answer{until: time.Now().Add(time.Hour)}, time.Now())
	}
	require.LessOrEqual(t, len(a.introspect.answers), maxCached)
	before = asked
	_, err = a.Authenticate(request("good"))
	require.NoError(t, err)
	require.Equal(t, before, asked, "refusals displace nobody who is in")
	require.Equal(t, strconv.Itoa(maxCached), strconv.Itoa(len(a.introspect.answers)))
}

// An issuer that answers about tokens for this API only may leave aud out, if the
// host says so.
func TestAnyAudience(t *testing.T) {
	i := newIssuer(t)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims := map[string]any{"active": true, "sub": "nurse-1", "fhirUser": "Practitioner/1"}
		if aud := r.PostFormValue("token"); aud != "none" {
			claims["aud"] = aud
		}
		json.NewEncoder(w).Encode(claims)
	}))
	defer endpoint.Close()
	o := i.options()
	o.Introspection = &Introspection{Endpoint: endpoint.URL, AnyAudience: true}
	a := i.new(o)
	for token, reason := range map[string]string{"none": "", "carewire": "", "payroll": "audience"} {
		_, err := a.Authenticate(request(token))
		if reason == "" {
			require.NoError(t, err, token)
		} else {
			require.ErrorContains(t, err, "refused: "+reason, token)
		}
	}
}

// The token and the host's secret go to the endpoint only, wherever it redirects.
func TestIntrospectionIsNotRedirected(t *testing.T) {
	i := newIssuer(t)
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		endpoint := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, status) }))
		o := i.options()
		o.Client = endpoint.Client()
		o.Introspection = &Introspection{Endpoint: endpoint.URL, ClientID: "ehr", ClientSecret: "s"}
		_, err := i.new(o).Authenticate(request("opaque"))
		require.ErrorIs(t, err, errIssuer)
		endpoint.Close()
	}
}

type revoker struct {
	got  []carewire.Revocation
	fail error
}

func (r *revoker) Revoke(_ context.Context, v carewire.Revocation) error {
	r.got = append(r.got, v)
	return r.fail
}

func TestBackChannelLogout(t *testing.T) {
	i := newIssuer(t)
	a := i.new(i.options())
	hub := &revoker{}
	h := a.BackChannelLogout(hub)
	post := func(token string) int {
		r := httptest.NewRequest(http.MethodPost, "/logout", strings.NewReader(url.Values{"logout_token": {token}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	claims := func(more map[string]any) jwt.MapClaims {
		c := i.claims(map[string]any{"jti": "l1", "events": map[string]any{logoutEvent: map[string]any{}}})
		for k, v := range more {
			c[k] = v
			if v == nil {
				delete(c, k)
			}
		}
		return c
	}
	require.Equal(t, 200, post(i.sign(claims(nil))))
	require.Equal(t, 200, post(i.sign(claims(map[string]any{"sid": nil, "jti": "l2"}))))
	for n := range hub.got {
		require.WithinDuration(t, time.Now(), hub.got[n].Issued, time.Minute)
		hub.got[n].Issued = time.Time{}
	}
	require.Equal(t, []carewire.Revocation{{Principal: "nurse-1", Session: "s1"}, {Principal: "nurse-1"}}, hub.got)

	require.Equal(t, 400, post(i.sign(claims(map[string]any{"sub": nil, "jti": "l3"}))), "a session that this node has not seen")
	_, err := a.Authenticate(request(i.sign(i.claims(nil))))
	require.NoError(t, err)
	require.Equal(t, 200, post(i.sign(claims(map[string]any{"sub": nil, "jti": "l3"}))))
	hub.got[2].Issued = time.Time{}
	require.Equal(t, carewire.Revocation{Principal: "nurse-1", Session: "s1"}, hub.got[2])

	for name, more := range map[string]map[string]any{
		"an access token":     {"events": nil},
		"another event":       {"events": map[string]any{"x": map[string]any{}}},
		"event not an object": {"events": map[string]any{logoutEvent: true}},
		"with a nonce":        {"nonce": "n"},
		"an old one":          {"iat": time.Now().Add(-time.Hour).Unix()},
		"without iat":         {"iat": nil},
		"without jti":         {"jti": nil},
		"of nobody":           {"sub": nil, "sid": nil},
		"a refresh token":     {"jti": "l5", "events": nil, "typ": "Refresh"},
		"another audience":    {"aud": "payroll"},
		"another issuer":      {"iss": "https://other.example"},
	} {
		require.Equal(t, 400, post(i.sign(claims(more))), name)
	}
	require.Equal(t, 400, post(""))
	require.Equal(t, 400, post(strings.Repeat("x", 3*maxToken)))
	require.Len(t, hub.got, 3)
	hub.fail = carewire.ErrUnavailable
	again := i.sign(claims(map[string]any{"sid": nil, "jti": "l4"}))
	require.Equal(t, 503, post(again))
	hub.fail = nil
	require.Equal(t, 200, post(again), "the issuer tries again")
	require.Len(t, hub.got, 5)
	require.Equal(t, 200, post(again))
	require.Len(t, hub.got, 5, "a token that is sent again ends no newer sessions")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/logout", nil))
	require.Equal(t, http.StatusMethodNotAllowed, w.Code)
	require.Equal(t, [2]uint64{4, 14}, [2]uint64{a.Stats().Logouts, a.Stats().LogoutsRefused})
}

// A logout token of a person that comes late, or to another node again, ends the
// sessions that began until it was issued, and no later ones.
func TestLateLogout(t *testing.T) {
	i := newIssuer(t)
	store := carewire.NewMemoryStore(nil)
	logout := time.Now().Add(-time.Minute).Truncate(time.Second)
	token := i.sign(i.claims(map[string]any{"jti": "l1", "sid": nil, "iat": logout.Unix(), "events": map[string]any{logoutEvent: map[string]any{}}}))
	session := func(sid string, issued time.Time) string {
		return i.sign(i.claims(map[string]any{"sid": sid, "iat": issued.Unix()}))
	}
	before, same, after := session("s1", logout.Add(-time.Second)), session("s2", logout), session("s3", logout.Add(time.Second))
	for range 2 { // two nodes
		o := i.options()
		o.Principal = func(ctx context.Context, c Claims) (carewire.Principal, error) {
			p, err := defaultPrincipal(ctx, c)
			p.Issued = c.Issued.Add(700 * time.Millisecond) // the host knows when in that second
			return p, err
		}
		a := i.new(o)
		hub, err := carewire.New(a, store, &carewire.Options{Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		defer hub.Shutdown(context.Background())
		enter := func(token string) int {
			r := httptest.NewRequest(http.MethodPost, "/live", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			hub.ServeHTTP(w, r)
			return w.Code
		}
		r := httptest.NewRequest(http.MethodPost, "/logout", strings.NewReader(url.Values{"logout_token": {token}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		a.BackChannelLogout(hub).ServeHTTP(w, r)
		require.Equal(t, http.StatusOK, w.Code)
		require.Equal(t, []int{http.StatusForbidden, http.StatusForbidden, http.StatusNoContent}, []int{enter(before), enter(same), enter(after)})
	}
}

// A logout token whose key cannot be fetched is not refused: the issuer tries again.
func TestLogoutWhileIssuerIsDown(t *testing.T) {
	i := newIssuer(t)
	o := i.options()
	o.Client = &http.Client{Timeout: 500 * time.Millisecond}
	a := i.new(o)
	hub := &revoker{}
	post := func(token string) int {
		r := httptest.NewRequest(http.MethodPost, "/logout", strings.NewReader(url.Values{"logout_token": {token}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		a.BackChannelLogout(hub).ServeHTTP(w, r)
		return w.Code
	}
	claims := i.claims(map[string]any{"jti": "l1", "events": map[string]any{logoutEvent: map[string]any{}}})
	another, err := mockoidc.RandomKeypair(2048)
	require.NoError(t, err)
	rotated, err := another.SignJWT(claims)
	require.NoError(t, err)
	i.hangs.Store(true)
	a.fetched.Add(-int64(time.Hour))
	require.Equal(t, 503, post(rotated))
	a.fetched.Add(-int64(24 * time.Hour))
	require.Equal(t, 503, post(i.sign(claims)), "the keys are too old to count")
	require.Empty(t, hub.got)
	require.Zero(t, a.Stats().LogoutsRefused)
}

// With a sid the session is the sid: a revocation names it. Without it,
// the session is the jti.
func TestSessionOfAToken(t *testing.T) {
	i := newIssuer(t)
	a := i.new(i.options())
	hub, err := carewire.New(a, carewire.NewMemoryStore(nil), &carewire.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer hub.Shutdown(context.Background())
	enter := func(claims map[string]any) int {
		r := httptest.NewRequest(http.MethodPost, "/live", nil)
		r.Header.Set("Authorization", "Bearer "+i.sign(i.claims(claims)))
		w := httptest.NewRecorder()
		hub.ServeHTTP(w, r)
		return w.Code
	}
	require.NoError(t, hub.Revoke(t.Context(), carewire.Revocation{Principal: "nurse-1", Session: "j1"}))
	require.Equal(t, http.StatusNoContent, enter(map[string]any{"sid": "s1", "jti": "j1"}))
	require.Equal(t, http.StatusForbidden, enter(map[string]any{"sid": nil, "jti": "j1"}))
	require.Equal(t, http.StatusNoContent, enter(map[string]any{"sid": nil, "jti": "j2"}))
	require.NoError(t, hub.Revoke(t.Context(), carewire.Revocation{Principal: "nurse-1", Session: "s1"}))
	require.Equal(t, http.StatusForbidden, enter(map[string]any{"sid": "s1", "jti": "j1"}))
}

func TestRecentIsBounded(t *testing.T) {
	var s recent
	for n := range 3 * recentKept {
		s.note(strconv.Itoa(n), "p")
	}
	require.LessOrEqual(t, len(s.now)+len(s.old), 2*recentKept)
	require.Equal(t, "p", s.of(strconv.Itoa(3*recentKept-1)))
	require.Empty(t, s.of("0"))
}

// A logout token that names only a session gives the Revoker the person's sub, as one
// with a sub does. Tokens without a sid, which no logout token can name, push no
// session out.
func TestLogoutOfASessionAlone(t *testing.T) {
	i := newIssuer(t)
	o := i.options()
	o.Principal = func(context.Context, Claims) (carewire.Principal, error) {
		return carewire.Principal{ID: "id-of-the-host", Role: carewire.RoleClinician, Session: "session-of-the-host"}, nil
	}
	a, hub := i.new(o), &revoker{}
	enter := func(claims map[string]any) {
		_, err := a.Authenticate(request(i.sign(i.claims(claims))))
		require.NoError(t, err)
	}
	enter(map[string]any{"sid": "s1"})
	enter(map[string]any{"sid": nil, "jti": "j1"})
	require.Equal(t, map[string]string{"s1": "nurse-1"}, a.sessions.now)
	token := i.sign(i.claims(map[string]any{"jti": "l1", "sub": nil, "events": map[string]any{logoutEvent: map[string]any{}}}))
	r := httptest.NewRequest(http.MethodPost, "/logout", strings.NewReader(url.Values{"logout_token": {token}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	a.BackChannelLogout(hub).ServeHTTP(w, r)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "nurse-1", hub.got[0].Principal)
	require.Equal(t, "s1", hub.got[0].Session)
}
