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
	loginCookie   = "ehr-login"   // what a sign-in under way must come back with
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

func newSignIn(tokens *smartauth.Authenticator, oauth oauth2.Config, secure bool) *signIn {
	m := sessions.NewMemory()
	return &signIn{Cookies: sessions.New(sessionCookie, m.Find), sessions: m, tokens: tokens, oauth: oauth, secure: secure}
}

// known makes a principal of what a token says: people are the house's, not the provider's.
func known(c smartauth.Claims) (carewire.Principal, error) {
	p, err := person(context.Background(), c.Subject)
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
	id, _ := token.Extra("id_token").(string)
	p, err := s.tokens.Verify(r.Context(), id)
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
