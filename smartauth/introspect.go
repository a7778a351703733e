package smartauth

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Introspection asks the issuer about tokens that are no JWT (RFC 7662).
type Introspection struct {
	// Endpoint is asked. The default is the one of the issuer's configuration.
	Endpoint string
	// ClientID and ClientSecret authenticate the host to the issuer.
	ClientID, ClientSecret string
	// CacheFor is how long an answer counts, if the token lasts that long. So a
	// revoked token may let somebody in for as much longer. The default is 30
	// seconds. A connection is not asked about again before its client renews the
	// token, or the token ends: end it by BackChannelLogout or Hub.Revoke. A token
	// without exp counts as one that ends five minutes after each check.
	CacheFor time.Duration
	// AnyAudience accepts answers without aud: for an issuer that answers only
	// about tokens for this API. Without it they are refused. An aud that is there
	// must always be one of Options.Audience.
	AnyAudience bool
}

const (
	maxCached  = 10000 // answers
	maxAsking  = 32    // requests to the issuer at one time
	refusalFor = 5 * time.Second
	endlessFor = 5 * time.Minute // until a token without exp is to be checked again
)

// An introspector asks about tokens and remembers the answers.
type introspector struct {
	opt      *Introspection
	endpoint string
	client   *http.Client
	places   chan struct{}
	counts   *counts

	mu      sync.Mutex
	answers map[[32]byte]answer // by the token's digest
}

type answer struct {
	claims map[string]any // nil: refused
	reason refusal        // for which it is refused
	until  time.Time
}

func newIntrospector(o *Introspection, endpoint string, client http.Client, c *counts) *introspector {
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // the token and our secret go nowhere else
	return &introspector{opt: o, endpoint: endpoint, client: &client, counts: c, places: make(chan struct{}, maxAsking), answers: make(map[[32]byte]answer)}
}

// ask returns the claims of an active token that is for one of audiences.
func (i *introspector) ask(ctx context.Context, token string, audiences []string, issuer string, leeway time.Duration) (map[string]any, error) {
	key := sha256.Sum256([]byte(token))
	now := time.Now()
	i.mu.Lock()
	a, ok := i.answers[key]
	i.mu.Unlock()
	if ok && a.until.After(now) {
		i.counts.remembered.Add(1)
	} else {
		i.counts.introspected.Add(1)
		claims, err := i.request(ctx, token)
		if err != nil {
			return nil, err
		}
		a = answer{until: now.Add(refusalFor)}
		if ok, reason := i.active(claims, audiences, issuer, leeway, now); !ok {
			a.reason = reason
		} else {
			a.claims = claims
			a.until = now.Add(cmp.Or(i.opt.CacheFor, 30*time.Second))
			if exp := moment(claims["exp"]); !exp.IsZero() && exp.Before(a.until) {
				a.until = exp
			}
		}
		i.keep(key, a, now)
	}
	if a.claims == nil {
		return nil, a.reason
	}
	return maps.Clone(a.claims), nil
}

// active checks the issuer's answer; if it refuses the token, it returns the reason.
func (i *introspector) active(claims map[string]any, audiences []string, issuer string, leeway time.Duration, now time.Time) (bool, refusal) {
	if on, _ := claims["active"].(bool); !on {
		return false, inactive
	}
	if iss, given := claims["iss"]; given && iss != issuer {
		return false, wrongIssuer
	}
	if !forAccess(claims) {
		return false, wrongType
	}
	aud := audience(claims)
	if len(aud) == 0 && (has(claims, "aud") || !i.opt.AnyAudience) {
		return false, badClaims
	}
	if len(aud) > 0 && !slices.ContainsFunc(aud, func(s string) bool { return slices.Contains(audiences, s) }) {
		return false, wrongAudience
	}
	for _, name := range []string{"exp", "nbf"} {
		if claims[name] != nil && moment(claims[name]).IsZero() { // or a token would last that does not
			return false, badClaims
		}
	}
	if exp := moment(claims["exp"]); !exp.IsZero() && !exp.Add(leeway).After(now) {
		return false, expired
	}
	if nbf := moment(claims["nbf"]); !nbf.IsZero() && nbf.After(now.Add(leeway)) {
		return false, notYet
	}
	return true, 0
}

// keep remembers an answer. Without room it forgets expired answers, and else
// any other: strangers make up tokens without end.
func (i *introspector) keep(key [32]byte, a answer, now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.answers) >= maxCached {
		maps.DeleteFunc(i.answers, func(_ [32]byte, a answer) bool { return !a.until.After(now) })
		for k, old := range i.answers {
			if len(i.answers) < maxCached {
				break
			}
			if old.claims == nil || a.claims != nil { // a refusal displaces no one who is in
				delete(i.answers, k)
			}
		}
	}
	if len(i.answers) < maxCached {
		i.answers[key] = a
	}
}

// request asks the issuer. An error means that it gave no answer.
func (i *introspector) request(ctx context.Context, token string) (map[string]any, error) {
	select {
	case i.places <- struct{}{}:
		defer func() { <-i.places }()
	case <-ctx.Done():
		return nil, errIssuer
	}
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, i.endpoint, bytes.NewBufferString(form.Encode()))
	if err != nil {
		return nil, errIssuer
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.SetBasicAuth(url.QueryEscape(i.opt.ClientID), url.QueryEscape(i.opt.ClientSecret)) // RFC 6749, 2.3.1
	res, err := i.client.Do(req)
	if err != nil {
		return nil, errIssuer
	}
	defer res.Body.Close()
	var claims map[string]any
	if res.StatusCode != http.StatusOK || json.NewDecoder(io.LimitReader(res.Body, maxDocument)).Decode(&claims) != nil {
		return nil, errIssuer
	}
	return claims, nil
}
