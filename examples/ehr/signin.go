package main

import (
	"context"
	"crypto/rand"
	"net/http"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/smartauth"
)

const (
	sessionCookie = "ehr"       // the secret of a session
	loginCookie   = "ehr-login" // what a sign-in under way must come back with
)

// signIn lets people in by the identity provider, and keeps their sessions. It is
// the Hub's Authenticator: pages come with a cookie, everything else with a token.
// Its methods are safe for concurrent use.
type signIn struct {
	tokens *smartauth.Authenticator
	oauth  oauth2.Config
	secure bool // cookies go by TLS only

	mu       sync.Mutex
	sessions map[string]carewire.Principal // by the cookie's secret
}

// known makes a principal of what a token says: people are the house's, not the provider's.
func known(c smartauth.Claims) (carewire.Principal, error) {
	p, err := person(context.Background(), c.Subject)
	p.Session = c.Session
	return p, err
}

// Authenticate implements carewire.Authenticator.
func (s *signIn) Authenticate(r *http.Request) (carewire.Principal, error) {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil || carewire.Token(r) != "" {
		return s.tokens.Authenticate(r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.sessions[cookie.Value]
	if !ok || time.Now().After(p.Expires) {
		delete(s.sessions, cookie.Value)
		return carewire.Principal{}, carewire.ErrUnauthenticated
	}
	return p, nil
}

// login sends a person to the identity provider.
func (s *signIn) login(w http.ResponseWriter, r *http.Request) {
	verifier := oauth2.GenerateVerifier()
	http.SetCookie(w, s.cookie(loginCookie, verifier, 10*time.Minute))
	http.Redirect(w, r, s.oauth.AuthCodeURL(oauth2.S256ChallengeFromVerifier(verifier), oauth2.S256ChallengeOption(verifier)), http.StatusFound)
}

// callback is where the provider sends the person back to: a session begins.
func (s *signIn) callback(w http.ResponseWriter, r *http.Request) {
	login, err := r.Cookie(loginCookie)
	if err != nil || r.FormValue("state") != oauth2.S256ChallengeFromVerifier(login.Value) {
		http.Error(w, "sign in again", http.StatusBadRequest)
		return
	}
	token, err := s.oauth.Exchange(r.Context(), r.FormValue("code"), oauth2.VerifierOption(login.Value))
	if err != nil {
		http.Error(w, "the identity provider did not let you in", http.StatusUnauthorized)
		return
	}
	bearer := r.Clone(r.Context())
	bearer.Header = http.Header{"Authorization": {"Bearer " + token.AccessToken}}
	p, err := s.tokens.Authenticate(bearer)
	if err != nil {
		http.Error(w, "you are not of this house", http.StatusForbidden)
		return
	}
	secret := rand.Text()
	p.Session = rand.Text() // a name that may stand in the log; the secret may not
	s.mu.Lock()
	s.sessions[secret] = p
	s.mu.Unlock()
	http.SetCookie(w, s.cookie(sessionCookie, secret, time.Until(p.Expires)))
	http.Redirect(w, r, "/", http.StatusFound)
}

// logout ends the session that asks, and its connections at once.
func (s *signIn) logout(hub *carewire.Hub) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie(sessionCookie)
		if err != nil {
			return
		}
		s.mu.Lock()
		p, ok := s.sessions[cookie.Value]
		delete(s.sessions, cookie.Value)
		s.mu.Unlock()
		http.SetCookie(w, s.cookie(sessionCookie, "", -time.Second))
		if ok && hub.Revoke(r.Context(), carewire.Revocation{Principal: p.ID, Session: p.Session, Until: p.Expires}) != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
		}
	}
}

func (s *signIn) cookie(name, value string, lasts time.Duration) *http.Cookie {
	return &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: int(lasts.Seconds()), HttpOnly: true, Secure: s.secure, SameSite: http.SameSiteLaxMode}
}
