package smartauth

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"golang.org/x/time/rate"
)

// keyUses are the uses of keys that count; "" is a key without one.
var keyUses = []jwkset.USE{jwkset.UseSig, ""}

// fetchKeys fetches the key set now, every 15 minutes, and when a token names a
// key that is not known.
func (a *Authenticator) fetchKeys(ctx context.Context, u string) (keyfunc.Keyfunc, error) {
	client := *a.opt.Client
	client.Transport = &keyTransport{cmp.Or[http.RoundTripper](client.Transport, http.DefaultTransport)}
	store, err := jwkset.NewStorageFromHTTP(u, jwkset.HTTPClientStorageOptions{Client: &client, Ctx: ctx, HTTPTimeout: 5 * time.Second, RefreshInterval: refreshEvery,
		Storage: lastKeys{jwkset.NewMemoryStorage(), &a.fetched},
		RefreshErrorHandler: func(context.Context, error) {
			a.counts.keysFailed.Add(1)
			a.opt.Logger.Warn("smartauth: the issuer's keys could not be fetched")
		}})
	if err != nil {
		return nil, errors.New("smartauth: the issuer's keys could not be fetched")
	}
	set, err := jwkset.NewHTTPClient(jwkset.HTTPClientOptions{HTTPURLs: map[string]jwkset.Storage{u: store},
		RefreshUnknownKID: rate.NewLimiter(rate.Every(unknownEvery), 1), RateLimitWaitMax: 4 * time.Second})
	if err != nil {
		return nil, err
	}
	return keyfunc.New(keyfunc.Options{Ctx: ctx, Storage: keyStore{set, a}, UseWhitelist: keyUses})
}

// lastKeys has the last good key set, and notes when it came. A set without a
// key that can verify a token does not replace it.
type lastKeys struct {
	jwkset.Storage
	fetched *atomic.Int64
}

func (l lastKeys) KeyReplaceAll(ctx context.Context, keys []jwkset.JWK) error {
	if !slices.ContainsFunc(keys, verifies) {
		return errors.New("smartauth: the key set has no key that can be used")
	}
	if err := l.Storage.KeyReplaceAll(ctx, keys); err != nil {
		return err
	}
	l.fetched.Store(time.Now().UnixNano())
	return nil
}

// verifies reports whether a key is a public key for signatures.
func verifies(k jwkset.JWK) bool {
	_, secret := k.Key().([]byte)
	return !secret && slices.Contains(keyUses, k.Marshal().USE)
}

// keyStore tells a key that does not exist from one that could not be asked for.
type keyStore struct {
	jwkset.Storage
	auth *Authenticator
}

func (k keyStore) KeyRead(ctx context.Context, kid string) (jwkset.JWK, error) {
	jwk, err := k.Storage.KeyRead(ctx, kid)
	if err != nil && (!errors.Is(err, jwkset.ErrKeyNotFound) || k.auth.unreachable()) {
		err = errors.Join(errIssuer, err)
	}
	return jwk, err
}

// keyTransport bounds a key set.
type keyTransport struct{ next http.RoundTripper }

func (k *keyTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := k.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, maxDocument), res.Body}
	return res, nil
}

// stale reports whether the keys are too old to count.
func (a *Authenticator) stale() bool {
	return time.Since(time.Unix(0, a.fetched.Load())) > a.opt.MaxStale
}

// unreachable reports whether the keys were last fetched longer ago than a
// fetch for an unknown key would have made it.
func (a *Authenticator) unreachable() bool {
	return time.Since(time.Unix(0, a.fetched.Load())) > unknownEvery+5*time.Second
}
