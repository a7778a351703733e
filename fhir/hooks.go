package fhir

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/carewire/carewire"
)

const (
	hookLook    = 2 * time.Second // from one look at the owners of hooks to the next
	hookRenew   = 5 * time.Second
	hookLease   = 20 * time.Second // after it another node goes on
	hookPause   = time.Second      // after a post that failed; doubled up to
	hookPauses  = 5 * time.Minute
	hookTimeout = 10 * time.Second
	hookGiveUp  = time.Hour

	signatureHeader = "Carewire-Signature"
)

var errNoResponse = errors.New("fhir: the endpoint does not take notifications")

// Hooks lets clients have notifications posted to an endpoint of theirs
// (rest-hook). Of several nodes one posts for each subscription, and another goes
// on where that one has stopped: an event may then come twice, under the same
// number. A post that fails is tried again, after a second, then after twice as
// long each time, up to five minutes; after an hour without success the
// subscription is in error.
//
// Each post carries the header Carewire-Signature: t=<unix seconds>,v1=<hex>,
// where v1 is the HMAC-SHA256 with the endpoint's Key of t, a full stop and the
// body. [VerifyHook] checks it.
type Hooks struct {
	// Allow reports whether owner's data may be sent to an endpoint. It is
	// required: the Server itself would post into the host's own network, too. It is
	// asked when a subscription is made or changed, and before each post, at once
	// by several goroutines, and must be quick.
	Allow func(endpoint *url.URL, owner carewire.Principal) bool
	// Secret is the source of keys; at least 16 bytes, the same on all nodes.
	Secret []byte
	// Client sends; nil: one with a timeout of 10 s. Redirects are not followed.
	Client *http.Client
}

func (h *Hooks) check() error {
	if h.Allow == nil || len(h.Secret) < 16 {
		return errors.New("fhir: Hooks.Allow and a Hooks.Secret of at least 16 bytes are required")
	}
	return nil
}

// Key is the key that posts to an endpoint are signed with: each endpoint has its
// own, so that no receiver can sign for another.
func (h *Hooks) Key(endpoint string) []byte {
	m := hmac.New(sha256.New, h.Secret)
	m.Write([]byte(endpoint))
	return m.Sum(nil)
}

func (h *Hooks) allows(endpoint string, owner carewire.Principal) (ok bool) {
	defer func() { // host code runs here beside everything else
		if recover() != nil {
			ok = false
		}
	}()
	u, err := url.Parse(endpoint)
	return h != nil && err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil && h.Allow(u, owner)
}

func signature(key []byte, at string, body []byte) string {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(at + "."))
	m.Write(body)
	return hex.EncodeToString(m.Sum(nil))
}

// VerifyHook reports whether a post's Carewire-Signature header was made with key
// over body at most age before or after now. It is for receivers.
func VerifyHook(key []byte, header string, body []byte, now time.Time, age time.Duration) bool {
	at, sum, ok := strings.Cut(strings.TrimPrefix(header, "t="), ",v1=")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if !ok || err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > age {
		return false
	}
	return hmac.Equal([]byte(sum), []byte(signature(key, at, body)))
}

// teller returns one that posts once, without trying again.
func (h *Hooks) teller(s *Server) teller { return &hook{s: s, once: true} }

// A hook posts one subscription's notifications.
type hook struct {
	s    *Server
	once bool

	mu   sync.Mutex
	told uint64 // the last event that was taken
}

// tell posts until the endpoint has taken it. Before it posts an event again it
// asks whether that may still be told.
func (k *hook) tell(ctx context.Context, b *binding, m message) error {
	body := encode(k.s.notification(b.sub, b.version, m))
	began, pause := time.Now(), hookPause
	for {
		err := k.post(ctx, b.sub, body)
		if err == nil {
			if m.kind == typeEvent {
				k.mu.Lock()
				k.told = max(k.told, m.count)
				k.mu.Unlock()
			}
			k.s.stats.posted.Add(1)
			return nil
		}
		k.s.stats.failed.Add(1)
		if k.once || m.kind == typeHeartbeat || time.Since(began) > hookGiveUp {
			return errNoResponse
		}
		if err := b.wait(ctx, m, pause); err != nil {
			return err
		}
		pause = min(2*pause, hookPauses)
	}
}

// wait waits until a message may be told again: for a pause, and for as long as
// access to an event is undecided.
func (b *binding) wait(ctx context.Context, m message, pause time.Duration) error {
	for {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		if m.kind != typeEvent {
			return nil
		}
		if err := b.mayTell(ctx); !errors.Is(err, errUndecided) {
			return err
		}
		pause = askAgain
	}
}

// complain does nothing: an endpoint is posted notifications only.
func (k *hook) complain(error) {}

func (k *hook) post(ctx context.Context, sub *subscription, body []byte) error {
	h, endpoint := k.s.opt.Hooks, sub.Endpoint
	if !h.allows(endpoint, sub.Owner) {
		return errNoResponse
	}
	ctx, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return err
	}
	at := strconv.FormatInt(time.Now().Unix(), 10)
	r.Header.Set("Content-Type", "application/fhir+json")
	r.Header.Set(signatureHeader, "t="+at+",v1="+signature(h.Key(endpoint), at, body))
	client := http.Client{Timeout: hookTimeout}
	if h.Client != nil {
		client = *h.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := client.Do(r)
	if err != nil {
		return errNoResponse // the error would tell of the endpoint
	}
	defer res.Body.Close()
	io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return errNoResponse
	}
	return nil
}

// A lease says which node posts for a subscription, and how far that has come.
type lease struct {
	Node  string
	Until time.Time
	Count string // of the subscription whose events were told
	Told  uint64
}

// postHooks posts for all subscriptions that no other node posts for.
func (s *Server) postHooks() {
	node := rand.Text()
	var mu sync.Mutex
	running := make(map[string]bool)
	look := time.NewTicker(hookLook)
	defer look.Stop()
	for {
		select {
		case <-look.C:
		case <-s.ctx.Done():
			return
		}
		ids, err := s.subscriptions.list(s.ctx, hooksKey)
		if err != nil {
			continue
		}
		for _, id := range ids {
			mu.Lock()
			busy := running[id]
			running[id] = true
			mu.Unlock()
			if busy {
				continue
			}
			s.wg.Go(func() {
				s.postFor(node, id)
				mu.Lock()
				delete(running, id)
				mu.Unlock()
			})
		}
	}
}

// postFor posts for a subscription, if it can have the lease, for as long as it has it.
func (s *Server) postFor(node, id string) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	sub, err := s.subscriptions.get(ctx, id)
	if errors.Is(err, errNotFound) {
		s.subscriptions.forgetHook(ctx, id)
	}
	if err != nil || sub.over(time.Now()) || sub.Status == statusError {
		return
	}
	var l lease
	rev, err := s.subscriptions.load(ctx, leaseKey+id, &l)
	if err != nil || l.Node != node && l.Until.After(time.Now()) {
		return
	}
	anew := l.Count != sub.Count || rev == 0 || sub.Status == statusRequested
	if anew {
		l.Told = 0
	}
	l.Node, l.Until, l.Count = node, time.Now().Add(hookLease), sub.Count
	if s.subscriptions.save(ctx, leaseKey+id, rev, l) != nil {
		return // another node was first, or the Store fails: it is looked at again
	}
	k := &hook{s: s, told: l.Told}
	b := &binding{s: s, sub: sub, who: sub.Owner, to: k, version: sub.version(), beats: sub.Beat > 0, greet: anew}
	if !anew {
		if b.told, err = s.resume(ctx, sub, l.Told); err != nil {
			return
		}
	}
	if _, err := s.hub.Disclose(ctx, carewire.Access{Principal: sub.Owner, Action: carewire.ActionWatch, Patients: []string{sub.Patient}}); err != nil {
		if errors.Is(err, carewire.ErrForbidden) {
			b.failed(ctx, err)
		}
		return
	}
	done, leased := make(chan struct{}), *sub
	go func() {
		defer close(done)
		s.keepLease(ctx, cancel, k, leased, l, rev+1)
	}()
	b.run(ctx)
	cancel()
	<-done
}

// resume returns the tally after event number n.
func (s *Server) resume(ctx context.Context, sub *subscription, n uint64) (tally, error) {
	t, err := s.subscriptions.count(ctx, sub, s.subscriptions.before(sub, n+1), func(_ carewire.Event, i uint64) error {
		if i > n {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return t, err
}

// keepLease renews a lease and notes how far its hook has come, until ctx ends.
// It ends the hook when the lease was lost, or the subscription has changed.
func (s *Server) keepLease(ctx context.Context, cancel func(), k *hook, sub subscription, l lease, rev uint64) {
	t := time.NewTicker(hookRenew)
	defer t.Stop()
	save := func(ctx context.Context, until time.Time) bool {
		k.mu.Lock()
		l.Told, l.Until = k.told, until
		k.mu.Unlock()
		if s.subscriptions.save(ctx, leaseKey+sub.ID, rev, l) != nil {
			return false
		}
		rev++
		return true
	}
	for {
		select {
		case <-t.C:
			if ctx.Err() != nil {
				continue // the lease is to be given back
			}
			now, err := s.subscriptions.get(ctx, sub.ID)
			changed := err == nil && (now.Count != sub.Count || now.Endpoint != sub.Endpoint || now.over(time.Now()) || now.Status == statusError)
			if !errors.Is(err, errNotFound) && !changed && (save(ctx, time.Now().Add(hookLease)) || ctx.Err() != nil) {
				continue
			}
			cancel()
			return
		case <-ctx.Done():
			last, stop := context.WithTimeout(context.Background(), writeWithin)
			defer stop()
			save(last, time.Time{})
			return
		}
	}
}
