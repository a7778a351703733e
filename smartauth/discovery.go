package smartauth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Endpoints are the URLs at which people sign in at the issuer, by the issuer's
// configuration document. One that the document does not name, or names with
// another scheme than https (or http with Options.AllowPlaintext), is "".
type Endpoints struct {
	Authorization string // where the host sends the browser
	Token         string // where the host exchanges the code
}

// Endpoints returns the issuer's endpoints, as New found them.
// golang.org/x/oauth2 calls them an Endpoint.
func (a *Authenticator) Endpoints() Endpoints { return a.endpoints }

type configuration struct {
	Issuer        string `json:"issuer"`
	JWKS          string `json:"jwks_uri"`
	Authorization string `json:"authorization_endpoint"`
	Token         string `json:"token_endpoint"`
	Introspection string `json:"introspection_endpoint"`
}

// discover reads the issuer's configuration document.
func (a *Authenticator) discover(ctx context.Context) (c configuration, err error) {
	base := strings.TrimSuffix(cmp.Or(a.opt.Base, a.opt.Issuer), "/")
	if !a.safe(base) || !a.safe(a.opt.Issuer) {
		return c, errors.New("smartauth: Issuer and Base must be https URLs")
	}
	for _, u := range []string{base + "/.well-known/smart-configuration", strings.TrimSuffix(a.opt.Issuer, "/") + "/.well-known/openid-configuration"} {
		c = configuration{}
		if err = a.get(ctx, u, &c); err == nil && c.JWKS != "" {
			break
		}
	}
	switch {
	case err != nil:
		return c, err
	case c.Issuer != "" && c.Issuer != a.opt.Issuer:
		return c, errors.New("smartauth: the configuration names another issuer")
	case !a.safe(c.JWKS):
		return c, errors.New("smartauth: the configuration's jwks_uri cannot be used")
	}
	a.endpoints = Endpoints{Authorization: a.usable(c.Authorization), Token: a.usable(c.Token)}
	return c, nil
}

// usable returns a URL that may be asked, and "" for any other.
func (a *Authenticator) usable(s string) string {
	if a.safe(s) {
		return s
	}
	return ""
}

// safe reports whether a URL may be asked.
func (a *Authenticator) safe(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && a.opt.AllowPlaintext)
}

// follow returns the rule for redirects of the configuration and the keys. next
// is the host's own, or nil.
func (a *Authenticator) follow(next func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(r *http.Request, via []*http.Request) error {
		switch {
		case !a.safe(r.URL.String()) || len(via) >= 10:
			return errors.New("smartauth: the issuer redirects to a URL that cannot be used")
		case next != nil:
			return next(r, via)
		}
		return nil
	}
}

func (a *Authenticator) get(ctx context.Context, u string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	res, err := a.opt.Client.Do(req)
	if err != nil {
		return fmt.Errorf("smartauth: the issuer cannot be reached: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("smartauth: the issuer answered its configuration with status %d", res.StatusCode)
	}
	if json.NewDecoder(io.LimitReader(res.Body, maxDocument)).Decode(v) != nil {
		return errors.New("smartauth: the issuer's configuration is not JSON")
	}
	return nil
}
