package smartauth

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/carewire/carewire"
)

// A Revoker ends access. *carewire.Hub is one.
type Revoker interface {
	Revoke(context.Context, carewire.Revocation) error
}

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// BackChannelLogout returns the handler to which the issuer posts logout tokens
// (OpenID Connect Back-Channel Logout 1.0). A token for a session ends that
// session; one for a person ends all present sessions of the person. It answers
// 400 to an invalid token, and 503 if the Hub could not end the access, so that
// the issuer tries again. A token that names only a session works on a node
// that has seen the session; elsewhere it is answered 400. The Revoker is given
// the token's sub as Principal: if the host uses other IDs for people, the
// Revoker must translate it.
func (a *Authenticator) BackChannelLogout(hub Revoker) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 2*maxToken)
		c, err := a.logoutClaims(r.Context(), r.PostFormValue("logout_token"))
		if err == nil && c.Subject == "" {
			c.Subject = a.sessions.principal(c.Session)
		}
		if err != nil || c.Subject == "" {
			a.counts.logoutsRefused.Add(1)
			a.journal.logoutRefused(err)
			http.Error(w, `{"error":"invalid_request"}`, http.StatusBadRequest)
			return
		}
		if err := hub.Revoke(r.Context(), carewire.Revocation{Principal: c.Subject, Session: c.Session}); err != nil {
			http.Error(w, "", http.StatusServiceUnavailable)
			return
		}
		a.counts.logouts.Add(1)
	})
}

// logoutClaims checks a logout token as section 2.6 asks.
func (a *Authenticator) logoutClaims(ctx context.Context, token string) (Claims, error) {
	switch {
	case token == "":
		return Claims{}, noToken
	case len(token) > maxToken:
		return Claims{}, malformed
	}
	all := jwt.MapClaims{}
	if t, err := a.logout.ParseWithClaims(token, all, a.keys.KeyfuncCtx(ctx)); err != nil {
		return Claims{}, a.why(t, err)
	}
	events, _ := all["events"].(map[string]any)
	_, isLogout := events[logoutEvent].(map[string]any)
	_, hasNonce := all["nonce"]
	c := readClaims(all)
	c.Session, _ = all["sid"].(string)
	switch {
	case !isLogout || hasNonce || c.ID == "" || c.Issued.IsZero() || c.Subject == "" && c.Session == "":
		return Claims{}, badClaims
	case time.Since(c.Issued) >= 2*time.Minute+a.opt.Leeway:
		return Claims{}, expired
	}
	return c, nil
}

// sessions remembers whose the last sessions are, in two halves: when one is
// full the other is forgotten.
type sessions struct {
	mu       sync.Mutex
	now, old map[string]string
}

const sessionsKept = 50000

func (s *sessions) note(session, principal string) {
	if session == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil || len(s.now) >= sessionsKept {
		s.now, s.old = make(map[string]string), s.now
	}
	s.now[session] = principal
}

func (s *sessions) principal(session string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.now[session]; ok {
		return p
	}
	return s.old[session]
}
