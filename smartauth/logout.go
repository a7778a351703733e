package smartauth

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/carewire/carewire"
)

// A Revoker ends access. *carewire.Hub is one.
type Revoker interface {
	Revoke(context.Context, carewire.Revocation) error
}

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// BackChannelLogout returns the handler to which the issuer posts logout tokens
// (OpenID Connect Back-Channel Logout 1.0). A token for a session ends that
// session; one for a person ends the person's sessions that began until its iat
// (carewire.Revocation.Issued), and not those since: it may be late, or sent to
// another node again. Tokens tell time in seconds, so a session of the same second
// counts as one before. It answers
// 400 to an invalid token. It answers 503 if the issuer's keys could not be
// fetched or the Hub could not end the access, so that the issuer tries again. A
// token that this node has carried out is answered 200 and does nothing more. A
// token that names only a session works on a node that has seen the session;
// elsewhere it is answered 400. The Revoker is given the person's sub as Principal,
// also where the token names only a session. If the host uses other IDs for people,
// the Revoker must translate it.
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
		if errors.Is(err, errIssuer) {
			http.Error(w, "", http.StatusServiceUnavailable)
			return
		}
		if err == nil && a.loggedOut.of(c.ID) != "" {
			return
		}
		if err == nil && c.Subject == "" {
			c.Subject = a.sessions.of(c.Session)
		}
		if err != nil || c.Subject == "" {
			a.counts.logoutsRefused.Add(1)
			a.journal.logoutRefused(err)
			http.Error(w, `{"error":"invalid_request"}`, http.StatusBadRequest)
			return
		}
		issued := c.Issued.Add(time.Second - time.Millisecond) // iat is a whole second
		if err := hub.Revoke(r.Context(), carewire.Revocation{Principal: c.Subject, Session: c.Session, Issued: issued}); err != nil {
			http.Error(w, "", http.StatusServiceUnavailable)
			return
		}
		a.loggedOut.note(c.ID, c.Subject)
		a.counts.logouts.Add(1)
	})
}

// logoutClaims checks a logout token as section 2.6 asks.
func (a *Authenticator) logoutClaims(ctx context.Context, token string) (Claims, error) {
	t, all, err := a.parse(ctx, a.logout, token)
	if err != nil {
		return Claims{}, err
	}
	if !typed(t, "jwt", "logout+jwt") {
		return Claims{}, wrongType
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

// recent remembers the last principals by a key, in two halves: when one is full
// the other is forgotten.
type recent struct {
	mu       sync.Mutex
	now, old map[string]string
}

const recentKept = 50000

func (r *recent) note(key, principal string) {
	if key == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now == nil || len(r.now) >= recentKept {
		r.now, r.old = make(map[string]string), r.now
	}
	r.now[key] = principal
}

// of returns the principal of a key, or "".
func (r *recent) of(key string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.now[key]; ok {
		return p
	}
	return r.old[key]
}
