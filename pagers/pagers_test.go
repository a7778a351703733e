package pagers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pagers"
	"github.com/carewire/carewire/pagers/pagerstest"
	"github.com/carewire/carewire/pagers/webpush"
)

// A gateway is an HTTP server that keeps its requests.
type gateway struct {
	*httptest.Server
	mu     sync.Mutex
	fail   bool
	answer func(http.ResponseWriter, *http.Request) // nil: 200
	taken  []string
	last   *http.Request
	body   []byte
}

func newGateway(t *testing.T) *gateway {
	g := &gateway{}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.fail {
			http.Error(w, "no", http.StatusServiceUnavailable)
			return
		}
		g.last, g.body = r, body
		if g.answer != nil {
			g.answer(w, r)
			return
		}
		var header strings.Builder
		r.Header.Write(&header)
		g.taken = append(g.taken, header.String()+"\r\n"+string(body))
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *gateway) Fail(f bool) { g.mu.Lock(); defer g.mu.Unlock(); g.fail = f }
func (g *gateway) Messages() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string{}, g.taken...)
}

var secret = []byte("a secret of thirty-two bytes ...")

func only(who string, addresses ...string) pagers.Addresses {
	return func(_ context.Context, to string) ([]string, error) {
		if to == who {
			return addresses, nil
		}
		return nil, nil
	}
}

// known fails for a recipient without an address, as a host's own gateway would.
type known struct{ carewire.Pager }

func (k known) Page(ctx context.Context, p carewire.Page) error {
	if p.To == "person:nobody" {
		return pagers.ErrNoAddress
	}
	return k.Pager.Page(ctx, p)
}

// inGroup pages a group in the place of a person: the ward of ada, or one in which
// nobody is on duty.
type inGroup struct{ *pagers.OnCall }

func (p inGroup) Page(ctx context.Context, page carewire.Page) error {
	page.To = map[string]string{"person:ada": "group:ward", "person:nobody": "group:empty"}[page.To]
	return p.OnCall.Page(ctx, page)
}

func TestContract(t *testing.T) {
	id := func(m string) string {
		return strings.Join(regexp.MustCompile(`(?i)(webhook-id|i-id): (\S+)`).FindStringSubmatch(m), "")
	}
	for name, x := range map[string]struct {
		make func(*gateway) carewire.Pager
		id   func(string) string
	}{
		"Webhook": {func(g *gateway) carewire.Pager { return known{&pagers.Webhook{URL: g.URL, Secret: secret}} }, id},
		"Ntfy": {func(g *gateway) carewire.Pager {
			return &pagers.Ntfy{URL: g.URL, Token: "t", Topics: only("person:ada", "topic-1")}
		}, nil},
		"SMS": {func(g *gateway) carewire.Pager {
			return &pagers.SMS{URL: g.URL, User: "u", Password: "p", From: "Ward", Numbers: only("person:ada", "+491701234567"), IdempotencyHeader: "I-Id"}
		}, id},
		"Chain": {func(g *gateway) carewire.Pager {
			return pagers.NewChain(&pagers.SMS{URL: g.URL, Numbers: only("person:bob", "+1")}, &pagers.Ntfy{URL: g.URL, Topics: only("person:ada", "topic-1")})
		}, nil},
		"OnCall, for a person": {func(g *gateway) carewire.Pager {
			return &pagers.OnCall{Rota: func() *pagers.Rota { return &pagers.Rota{} }, Next: known{&pagers.Webhook{URL: g.URL, Secret: secret}}}
		}, id},
		"OnCall, for a group": {func(g *gateway) carewire.Pager {
			now := time.Now()
			rota := &pagers.Rota{Shifts: []pagers.Shift{{Group: "ward", Person: "ada", Start: now.Add(-time.Hour), End: now.Add(time.Hour)}}}
			return inGroup{&pagers.OnCall{Rota: func() *pagers.Rota { return rota }, Next: &pagers.Webhook{URL: g.URL, Secret: secret}}}
		}, id},
	} {
		t.Run(name, func(t *testing.T) {
			pagerstest.Run(t, func(t *testing.T) (carewire.Pager, pagerstest.Gateway) {
				g := newGateway(t)
				return x.make(g), g
			}, x.id)
		})
	}
}

func TestWebhookIsSigned(t *testing.T) {
	g := newGateway(t)
	w := &pagers.Webhook{URL: g.URL, Secret: secret}
	require.NoError(t, w.Page(t.Context(), pagerstest.Page("person:ada", 3)))
	now := time.Now()
	require.NoError(t, pagers.VerifyWebhook(g.last.Header, g.body, secret, now))
	var m pagers.Message
	require.NoError(t, json.Unmarshal(g.body, &m))
	require.Equal(t, pagers.Message{Key: "alert-1/3/person:ada", To: "person:ada", AlertID: "alert-1", Level: 3, Priority: carewire.PriorityHigh}, m)

	for name, err := range map[string]error{
		"another body":   pagers.VerifyWebhook(g.last.Header, append(g.body, ' '), secret, now),
		"another secret": pagers.VerifyWebhook(g.last.Header, g.body, []byte("another secret of 32 bytes ....."), now),
		"too late":       pagers.VerifyWebhook(g.last.Header, g.body, secret, now.Add(6*time.Minute)),
		"no header":      pagers.VerifyWebhook(http.Header{}, g.body, secret, now),
	} {
		require.ErrorIs(t, err, pagers.ErrSignature, name)
	}
}

func TestWebhookReveals(t *testing.T) {
	g := newGateway(t)
	require.NoError(t, (&pagers.Webhook{URL: g.URL, Secret: secret, RevealHealthData: true}).Page(t.Context(), pagerstest.Page("person:ada", 1)))
	require.Contains(t, string(g.body), pagerstest.Patient)
	require.Contains(t, string(g.body), pagerstest.Text)
}

func TestWebhookReplies(t *testing.T) {
	ended := error(carewire.ErrEnded)
	for name, x := range map[string]struct {
		reply  string
		err    error // of OnReply
		want   []pagers.Reply
		logged string
	}{
		"accept":   {`{"do":"accept","by":"ada"}`, nil, []pagers.Reply{{Do: carewire.AnswerAccept, By: "ada"}}, ""},
		"reject":   {`{"do":"reject","by":"ada","other":1}`, nil, []pagers.Reply{{Do: carewire.AnswerReject, By: "ada"}}, ""},
		"ended":    {`{"do":"accept","by":"ada"}`, ended, []pagers.Reply{{Do: carewire.AnswerAccept, By: "ada"}}, `cause="carewire: alert has ended"`},
		"unknown":  {`{"do":"accept","by":"ada"}`, errors.New("ada is not known"), []pagers.Reply{{Do: carewire.AnswerAccept, By: "ada"}}, "cause=*errors.errorString"},
		"close":    {`{"do":"close","by":"ada"}`, nil, nil, "neither accepts nor rejects"},
		"nobody":   {`{"do":"accept"}`, nil, nil, "not of the person"},
		"another":  {`{"do":"accept","by":"eve"}`, nil, nil, "not of the person"},
		"nothing":  {``, nil, nil, ""},
		"other":    {`{"ok":true}`, nil, nil, ""},
		"not JSON": {`<html>`, nil, nil, ""},
	} {
		g, log := newGateway(t), new(strings.Builder)
		g.answer = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, x.reply) }
		var got []pagers.Reply
		w := &pagers.Webhook{URL: g.URL, Secret: secret, Logger: slog.New(slog.NewTextHandler(log, nil)), OnReply: func(_ context.Context, p carewire.Page, r pagers.Reply) error {
			require.Equal(t, "alert-1", p.Alert.ID)
			got = append(got, r)
			return x.err
		}}
		require.NoError(t, w.Page(t.Context(), pagerstest.Page("person:ada", 1)), name)
		require.Equal(t, x.want, got, name)
		require.Contains(t, log.String(), x.logged, name)
		require.Equal(t, x.logged != "", log.Len() > 0, name)
		for _, private := range []string{"ada", "by", pagerstest.Patient, pagerstest.Text} {
			require.NotContains(t, log.String(), private, name)
		}
	}
}

// A group's members are the host's to know.
func TestWebhookReplyForAGroup(t *testing.T) {
	g := newGateway(t)
	g.answer = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"do":"accept","by":"eve"}`) }
	var by string
	w := &pagers.Webhook{URL: g.URL, Secret: secret, OnReply: func(_ context.Context, _ carewire.Page, r pagers.Reply) error { by = r.By; return nil }}
	require.NoError(t, w.Page(t.Context(), pagerstest.Page("group:ward", 1)))
	require.Equal(t, "eve", by)
}

type roundTrip func(*http.Request) int

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: f(r), Header: http.Header{}, Body: http.NoBody}, nil
}

// A try that comes minutes after the first is signed with its own time.
func TestWebhookIsSignedAnewForEachTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		client := &http.Client{Transport: roundTrip(func(r *http.Request) int {
			body, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			require.NoError(t, pagers.VerifyWebhook(r.Header, body, secret, time.Now()))
			if time.Since(began) < 6*time.Minute {
				return 503
			}
			return 200
		})}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		require.NoError(t, (&pagers.Webhook{URL: "https://gateway.example", Secret: secret, Client: client}).Page(ctx, pagerstest.Page("person:ada", 1)))
	})
}

func TestAllowPlaintext(t *testing.T) {
	const url = "http://gateway.example"
	require.NoError(t, (&pagers.Webhook{URL: url, Secret: secret, AllowPlaintext: true}).Validate())
	require.NoError(t, (&pagers.Ntfy{URL: url, Topics: only("", ""), AllowPlaintext: true}).Validate())
	require.NoError(t, (&pagers.SMS{URL: url, Numbers: only("", ""), AllowPlaintext: true}).Validate())
	for _, here := range []string{"http://127.0.0.1:8080", "http://[::1]/pages", "http://localhost"} {
		require.NoError(t, (&pagers.Webhook{URL: here, Secret: secret}).Validate(), here)
	}
}

// A failure that cannot get better is not tried again; another one is, within
// the time.
func TestTriesAgain(t *testing.T) {
	for status, again := range map[int]bool{400: false, 401: false, 302: false, 404: false, 408: true, 429: true, 500: true, 503: true} {
		g := newGateway(t)
		tries := 0
		g.answer = func(w http.ResponseWriter, _ *http.Request) {
			if tries++; tries == 1 {
				w.Header().Set("Location", g.URL)
				w.WriteHeader(status)
			}
		}
		err := (&pagers.Webhook{URL: g.URL, Secret: secret}).Page(t.Context(), pagerstest.Page("person:ada", 1))
		if again {
			require.NoError(t, err, status)
			require.Equal(t, 2, tries, status)
		} else {
			require.Equal(t, pagers.StatusError(status), err)
			require.Equal(t, 1, tries, status)
		}
	}
}

// The wait would be longer than the level's time, so Page does not begin it: another
// way may be quicker.
func TestRetryAfter(t *testing.T) {
	for _, after := range []string{"3600", "31536000", "99999999999999999999", "@"} {
		g := newGateway(t)
		tries := 0
		g.answer = func(w http.ResponseWriter, _ *http.Request) {
			if tries++; after == "@" {
				after = time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
			}
			w.Header().Set("Retry-After", after)
			w.WriteHeader(http.StatusTooManyRequests)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		require.Equal(t, pagers.StatusError(429), (&pagers.Webhook{URL: g.URL, Secret: secret}).Page(ctx, pagerstest.Page("person:ada", 1)), after)
		require.Equal(t, 1, tries, after)
		require.NoError(t, ctx.Err())
	}
}

// A slowBody is a reply that is cut off, or comes byte by byte for as long as the
// request lasts.
type slowBody struct {
	ctx  context.Context
	text string
	cut  bool
}

func (b *slowBody) Read(p []byte) (int, error) {
	switch {
	case b.text != "":
		n := copy(p, b.text)
		b.text = b.text[n:]
		return n, nil
	case b.cut:
		return 0, io.ErrUnexpectedEOF
	}
	select {
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	case <-time.After(100 * time.Millisecond):
		p[0] = ' '
		return 1, nil
	}
}

func (*slowBody) Close() error { return nil }

type transport func(*http.Request) *http.Response

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

// A page is handed over once the gateway has said so. A reply that trickles, is cut
// off or does not end makes it neither fail nor be sent again; what it answers is
// not known, and is logged.
func TestReplyThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, body := range map[string]slowBody{
			"trickles": {text: `{"do":"accept","by":"ada"}`},
			"cut off":  {text: `{"do":"accept","by":"ada"}`, cut: true},
			"too long": {text: `{"do":"accept","by":"ada"}` + strings.Repeat(" ", 65<<10), cut: true},
		} {
			tries, log := 0, new(strings.Builder)
			client := &http.Client{Transport: transport(func(r *http.Request) *http.Response {
				tries++
				own := body
				own.ctx = r.Context()
				return &http.Response{StatusCode: 202, Header: http.Header{}, Body: &own}
			})}
			answers := 0
			hook := &pagers.Webhook{URL: "https://gateway.test", Secret: secret, Client: client, Logger: slog.New(slog.NewTextHandler(log, nil)),
				OnReply: func(context.Context, carewire.Page, pagers.Reply) error { answers++; return nil }}
			sms := &pagers.SMS{URL: "https://gateway.test", Numbers: only("person:ada", "+1"), Client: client}
			for _, p := range []carewire.Pager{hook, sms, pagers.NewChain(hook, sms)} {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				tries = 0
				require.NoError(t, p.Page(ctx, pagerstest.Page("person:ada", 1)), name)
				require.Equal(t, 1, tries, "%s: people are told once", name)
			}
			require.Zero(t, answers, name)
			require.Contains(t, log.String(), "it could not be read", name)
			require.NotContains(t, log.String(), "ada", name)
		}
	})
}

// A redirect is not looked at: it would stand in an error, with what the gateway
// has put into it.
func TestRedirectIsNotRead(t *testing.T) {
	g := newGateway(t)
	tries := 0
	g.answer = func(w http.ResponseWriter, _ *http.Request) {
		tries++
		w.Header().Set("Location", "http://[::1]:bad/?to=+15551234567")
		w.WriteHeader(http.StatusFound)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.Equal(t, pagers.StatusError(302), (&pagers.Webhook{URL: g.URL, Secret: secret}).Page(ctx, pagerstest.Page("person:ada", 1)))
	require.Equal(t, 1, tries)
}

type pagerFunc func(context.Context, carewire.Page) error

func (f pagerFunc) Page(ctx context.Context, p carewire.Page) error { return f(ctx, p) }

func TestChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first, second int
		broken := true
		c := pagers.NewChain(
			pagerFunc(func(context.Context, carewire.Page) error {
				if first++; broken {
					return errors.New("broken")
				}
				return nil
			}),
			pagerFunc(func(context.Context, carewire.Page) error { second++; return nil }))
		page := func() { require.NoError(t, c.Page(t.Context(), carewire.Page{})) }
		for range 8 {
			page()
		}
		require.Equal(t, 5, first, "after five failures in a row the first way is left out")
		require.Equal(t, 8, second)
		time.Sleep(31 * time.Second)
		page()
		page()
		require.Equal(t, 6, first, "one page probes it after 30 s")
		require.Equal(t, 10, second)
		broken = false
		time.Sleep(31 * time.Second)
		page()
		page()
		require.Equal(t, 8, first, "a probe that succeeds brings it back")
		require.Equal(t, 10, second)
	})
}

// A Chain within a Chain is left out as one way is, and comes back with the first
// of its own ways that works again.
func TestChainOfChains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := [2]bool{true, true}
		var tries [3]int
		way := func(i int) carewire.Pager {
			return pagerFunc(func(context.Context, carewire.Page) error {
				if tries[i]++; i < 2 && broken[i] {
					return errors.New("broken")
				}
				return nil
			})
		}
		c := pagers.NewChain(pagers.NewChain(way(0), way(1)), way(2))
		page := func() { require.NoError(t, c.Page(t.Context(), carewire.Page{})) }
		for range 8 {
			page()
		}
		require.Equal(t, [3]int{5, 5, 8}, tries)
		broken[1] = false
		time.Sleep(31 * time.Second)
		for range 4 {
			page()
		}
		require.Equal(t, [3]int{6, 9, 8}, tries, "the first is probed once, the second serves")
	})
}

// One bad number says nothing about the way for everybody else.
func TestChainCountsNoRefusedRecipients(t *testing.T) {
	for name, x := range map[string]struct {
		err    error
		counts bool
	}{
		"no address":       {pagers.ErrNoAddress, false},
		"nobody on duty":   {pagers.ErrNobodyOnDuty, false},
		"400":              {pagers.StatusError(400), false},
		"two bad numbers":  {errors.Join(pagers.StatusError(400), pagers.StatusError(422)), false},
		"a chain's":        {pagers.NewChain(pagerFunc(func(context.Context, carewire.Page) error { return pagers.ErrNoAddress })).Page(t.Context(), carewire.Page{}), false},
		"408":              {pagers.StatusError(408), true},
		"429":              {pagers.StatusError(429), true},
		"503":              {pagers.StatusError(503), true},
		"a number and 503": {errors.Join(pagers.StatusError(400), pagers.StatusError(503)), true},
		"another":          {errors.New("broken"), true},
	} {
		synctest.Test(t, func(t *testing.T) {
			first := 0
			c := pagers.NewChain(
				pagerFunc(func(context.Context, carewire.Page) error { first++; return x.err }),
				pagerFunc(func(context.Context, carewire.Page) error { return nil }))
			for range 10 {
				require.NoError(t, c.Page(t.Context(), carewire.Page{}))
			}
			want := 10
			if x.counts {
				want = 5
			}
			require.Equal(t, want, first, name)
		})
	}
}

// A way that is left out is still tried before a page fails.
func TestChainTriesLeftOutWaysLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken, sent := true, 0
		c := pagers.NewChain(
			pagerFunc(func(context.Context, carewire.Page) error {
				if broken {
					return errors.New("broken")
				}
				sent++
				return nil
			}),
			pagerFunc(func(_ context.Context, p carewire.Page) error {
				if p.To == "person:ada" {
					return pagers.ErrNoAddress
				}
				return nil
			}))
		for range 5 {
			require.NoError(t, c.Page(t.Context(), carewire.Page{To: "person:bob"}))
		}
		broken = false
		require.NoError(t, c.Page(t.Context(), carewire.Page{To: "person:ada"}))
		require.Equal(t, 1, sent)
	})
}

func TestChainWhereAllFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		bad := pagerFunc(func(context.Context, carewire.Page) error { tries++; panic("bad") })
		c := pagers.NewChain(bad, bad)
		for range 10 {
			require.Error(t, c.Page(t.Context(), carewire.Page{}))
		}
		require.Equal(t, 20, tries, "no page is dropped without a try")
		require.Error(t, pagers.NewChain().Page(t.Context(), carewire.Page{}))
	})
}

// A way that hangs and ignores its context leaves time for the next one.
func TestChainPassesByAHungWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		defer close(end)
		hung := pagerFunc(func(context.Context, carewire.Page) error { <-end; return nil })
		reached := false
		c := pagers.NewChain(hung, pagerFunc(func(context.Context, carewire.Page) error { reached = true; return nil }))
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		began := time.Now()
		require.NoError(t, c.Page(ctx, carewire.Page{}))
		require.True(t, reached)
		require.Equal(t, 2*time.Second, time.Since(began))
	})
}

// A Pager that can reach nobody is refused before the first alert, behind any other
// Pagers.
func TestPagersAreCheckedAtTheStart(t *testing.T) {
	addresses := func(context.Context, string) ([]string, error) { return nil, nil }
	secret := bytes.Repeat([]byte("s"), 24)
	right := &pagers.Webhook{URL: "https://gateway.example/pages", Secret: secret}
	rota := func() *pagers.Rota { return &pagers.Rota{} }
	for name, p := range map[string]carewire.Pager{
		"webhook without a URL":      &pagers.Webhook{Secret: secret},
		"webhook with half a URL":    &pagers.Webhook{URL: "gateway.example/pages", Secret: secret},
		"webhook by plain http":      &pagers.Webhook{URL: "http://gateway.example/pages", Secret: secret},
		"ntfy by plain http":         &pagers.Ntfy{URL: "http://ntfy.example", Topics: addresses},
		"SMS by plain http":          &pagers.SMS{URL: "http://sms.example", Numbers: addresses},
		"webhook with a weak secret": &pagers.Webhook{URL: right.URL, Secret: secret[:23]},
		"ntfy without topics":        &pagers.Ntfy{URL: "https://ntfy.example"},
		"SMS without a URL":          &pagers.SMS{Numbers: addresses},
		"SMTP without a sender":      &pagers.SMTP{Addr: "mail.example:587", Mailboxes: addresses},
		"push without a contact":     &webpush.Pager{},
		"chain of nothing":           pagers.NewChain(),
		"chain with a nil":           pagers.NewChain(right, nil),
		"chain with a wrong way":     pagers.NewChain(right, &pagers.Ntfy{}),
		"rota that is none":          &pagers.OnCall{Rota: func() *pagers.Rota { return nil }, Next: right},
		"rota that is wrong":         &pagers.OnCall{Rota: func() *pagers.Rota { return &pagers.Rota{Handover: -1} }, Next: right},
		"rota before a wrong pager":  &pagers.OnCall{Rota: rota, Next: pagers.NewChain(&pagers.SMS{})},
		"rota before nothing":        &pagers.OnCall{Rota: rota},
	} {
		_, err := carewire.New(carewire.AuthenticatorFunc(nil), carewire.NewMemoryStore(nil), &carewire.Options{Pager: p})
		require.Error(t, err, name)
	}
	hub, err := carewire.New(carewire.AuthenticatorFunc(nil), carewire.NewMemoryStore(nil), &carewire.Options{Pager: &pagers.OnCall{Rota: rota, Next: pagers.NewChain(right)}})
	require.NoError(t, err)
	require.NoError(t, hub.Shutdown(t.Context()))
}
