package main

import (
	"context"
	"net/http"
	"time"

	"golang.org/x/oauth2"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/sessions"
	"github.com/carewire/carewire/smartauth"
)

const (
	sessionCookie = "ehr"         // the secret of a session
	loginCookie   = "ehr-login"   // the state with which a sign-in under way must come back
	shift         = 8 * time.Hour // how long a session lasts
)

// signIn lets people in by the identity provider, and keeps their sessions. It is
// the Hub's Authenticator: pages come with a cookie, everything else with a token.
// Its methods are safe for concurrent use.
type signIn struct {
	*sessions.Cookies
	sessions *sessions.Memory // a host of several nodes has a table
	tokens   *smartauth.Authenticator
	oauth    oauth2.Config
	secure   bool          // cookies go by TLS only
	hub      *carewire.Hub // set before anybody can come in
}

func newSignIn(tokens *smartauth.Authenticator, s settings) *signIn {
	m, at := sessions.NewMemory(), tokens.Endpoints()
	return &signIn{Cookies: sessions.New(sessionCookie, m.Find), sessions: m, tokens: tokens, secure: !s.plain, oauth: oauth2.Config{
		ClientID: s.clientID, ClientSecret: s.clientSecret, RedirectURL: s.base + "/callback", Scopes: []string{"openid"},
		Endpoint: oauth2.Endpoint{AuthURL: at.Authorization, TokenURL: at.Token}}}
}

// known makes a principal from a token: the house decides people's rights, not the provider.
func known(ctx context.Context, c smartauth.Claims) (carewire.Principal, error) {
	p, err := person(ctx, c.Subject)
	p.Session = c.Session
	return p, err
}

// Authenticate implements carewire.Authenticator.
func (s *signIn) Authenticate(r *http.Request) (carewire.Principal, error) {
	if carewire.Token(r) != "" {
		return s.tokens.Authenticate(r)
	}
	return s.Cookies.Authenticate(r)
}

// login sends a person to the identity provider, with a value that must come back
// and whose origin is in a cookie. ?as= proposes an account.
func (s *signIn) login(w http.ResponseWriter, r *http.Request) {
	verifier := oauth2.GenerateVerifier()
	once := oauth2.S256ChallengeFromVerifier(verifier) // state, nonce and challenge of this sign-in
	http.SetCookie(w, s.cookie(loginCookie, verifier, 10*time.Minute))
	http.Redirect(w, r, s.oauth.AuthCodeURL(once, oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("nonce", once),
		oauth2.SetAuthURLParam("login_hint", r.FormValue("as"))), http.StatusFound)
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
	id, _ := token.Extra("id_token").(string)
	p, _, err := s.tokens.Verify(r.Context(), id, oauth2.S256ChallengeFromVerifier(login.Value))
	if err != nil {
		http.Error(w, "you are not of this house", http.StatusForbidden)
		return
	}
	http.SetCookie(w, s.cookie(sessionCookie, s.sessions.Begin(p, shift), shift))
	http.Redirect(w, r, "/", http.StatusFound)
}

// logout ends the session that asks, and its connections at once.
func (s *signIn) logout(w http.ResponseWriter, r *http.Request) {
	if err := s.Logout(r, s.hub); err != nil {
		http.Error(w, "try again", http.StatusServiceUnavailable)
		return
	}
	if cookie, err := r.Cookie(sessionCookie); err == nil {
		s.sessions.End(cookie.Value)
	}
	http.SetCookie(w, s.cookie(sessionCookie, "", -time.Second))
}

func (s *signIn) cookie(name, value string, lasts time.Duration) *http.Cookie {
	return &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: int(lasts.Seconds()), HttpOnly: true, Secure: s.secure, SameSite: http.SameSiteLaxMode}
}
