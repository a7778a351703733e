package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/carewire/carewire"
)

// address is the URL of the Hub, with the scheme ws or wss.
func (t *tool) address() (*url.URL, error) {
	text := t.env("CAREWIRE_URL")
	if text == "" {
		return nil, errors.New("set CAREWIRE_URL to the address of the Hub, such as wss://ehr.example/carewire")
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return nil, errors.New("CAREWIRE_URL is no URL such as wss://ehr.example/carewire")
	}
	switch u.Scheme {
	case "ws", "wss":
	case "http", "https":
		u.Scheme = strings.Replace(u.Scheme, "http", "ws", 1)
	default:
		return nil, errors.New("CAREWIRE_URL must begin with wss://, ws://, https:// or http://")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("CAREWIRE_URL must hold no user, query or fragment: the token goes into CAREWIRE_TOKEN")
	}
	return u, nil
}

// loopback reports whether u is on this machine.
func loopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// token is the bearer token, which is never an argument: everybody on the
// machine can read those.
func (t *tool) token(context.Context) (string, error) {
	if path := t.env("CAREWIRE_TOKEN_FILE"); path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("CAREWIRE_TOKEN_FILE: %w", err)
		}
		return strings.TrimSpace(string(b)), nil
	}
	if token := t.env("CAREWIRE_TOKEN"); token != "" {
		return token, nil
	}
	return "", errors.New("set CAREWIRE_TOKEN, or CAREWIRE_TOKEN_FILE")
}

// dial connects to the Hub.
func (t *tool) dial(ctx context.Context) (*carewire.Client, error) {
	u, err := t.address()
	if err != nil {
		return nil, err
	}
	if _, err := t.token(ctx); err != nil { // before anything goes out
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	log := slog.New(slog.NewTextHandler(t.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return carewire.Dial(ctx, u.String(), &carewire.DialOptions{Token: t.token, Logger: log})
}

// call bounds a request that somebody waits for.
func call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, time.Minute)
}
