package smartauth

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

func TestIntrospection(t *testing.T) {
	i := newIssuer(t)
	asked, fail := 0, false
	answers := map[string]map[string]any{
		"good":             {"active": true, "sub": "nurse-1", "scope": "user/Observation.rs", "fhirUser": "Practitioner/1", "exp": time.Now().Add(time.Hour).Unix(), "aud": "carewire", "iss": i.Issuer()},
		"bare":             {"active": true, "sub": "nurse-1", "fhirUser": "Practitioner/1"},
		"inactive":         {"active": false},
		"active as text":   {"active": "true", "sub": "nurse-1"},
		"another audience": {"active": true, "sub": "nurse-1", "aud": []string{"payroll"}},
		"another issuer":   {"active": true, "sub": "nurse-1", "iss": "https://other.example"},
		"over":             {"active": true, "sub": "nurse-1", "exp": time.Now().Add(-time.Hour).Unix()},
		"not yet":          {"active": true, "sub": "nurse-1", "nbf": time.Now().Add(time.Hour).Unix()},
		"nobody":           {"active": true},
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
	for token := range answers {
		p, err := a.Authenticate(request(token))
		if token == "good" || token == "bare" {
			require.NoError(t, err, token)
			require.Equal(t, "nurse-1", p.ID)
		} else {
			require.ErrorIs(t, err, carewire.ErrUnauthenticated, token)
			require.ErrorContains(t, err, "refused: "+map[string]string{"inactive": "inactive", "active as text": "inactive", "another audience": "audience",
				"another issuer": "issuer", "over": "expired", "not yet": "not_yet", "nobody": "claims"}[token], token)
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
	require.Equal(t, 200, post(i.sign(claims(map[string]any{"sid": nil}))))
	require.Equal(t, []carewire.Revocation{{Principal: "nurse-1", Session: "s1"}, {Principal: "nurse-1"}}, hub.got)

	require.Equal(t, 400, post(i.sign(claims(map[string]any{"sub": nil}))), "a session that this node has not seen")
	_, err := a.Authenticate(request(i.sign(i.claims(nil))))
	require.NoError(t, err)
	require.Equal(t, 200, post(i.sign(claims(map[string]any{"sub": nil}))))
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
		"another audience":    {"aud": "payroll"},
		"another issuer":      {"iss": "https://other.example"},
	} {
		require.Equal(t, 400, post(i.sign(claims(more))), name)
	}
	require.Equal(t, 400, post(""))
	require.Equal(t, 400, post(strings.Repeat("x", 3*maxToken)))
	require.Len(t, hub.got, 3)
	hub.fail = carewire.ErrUnavailable
	require.Equal(t, 503, post(i.sign(claims(nil))))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/logout", nil))
	require.Equal(t, http.StatusMethodNotAllowed, w.Code)
	require.Equal(t, [2]uint64{3, 13}, [2]uint64{a.Stats().Logouts, a.Stats().LogoutsRefused})
}

func TestSessionsAreBounded(t *testing.T) {
	var s sessions
	for n := range 3 * sessionsKept {
		s.note(strconv.Itoa(n), "p")
	}
	require.LessOrEqual(t, len(s.now)+len(s.old), 2*sessionsKept)
	require.Equal(t, "p", s.principal(strconv.Itoa(3*sessionsKept-1)))
	require.Empty(t, s.principal("0"))
}
