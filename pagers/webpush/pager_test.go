package webpush

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
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
)

// A service is a push service, and the browsers that it serves by path. It is the
// Client's transport too, for tests without a network.
type service struct {
	mu      sync.Mutex
	browser *browser
	fail    bool
	status  map[string]int // by path; 0: 201
	texts   []string       // of messages, header and all
	paths   []string
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paths = append(s.paths, r.URL.Path)
	status := s.status[r.URL.Path]
	switch {
	case s.fail:
		status = http.StatusServiceUnavailable
	case status == 0:
		status = http.StatusCreated
		text, err := s.browser.open(body)
		if err != nil {
			status = http.StatusBadRequest
		}
		var header strings.Builder
		r.Header.Write(&header)
		s.texts = append(s.texts, header.String()+"\r\n"+string(text))
	}
	w.WriteHeader(status)
}

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, r)
	return rec.Result(), nil
}

func (s *service) Fail(f bool) { s.mu.Lock(); defer s.mu.Unlock(); s.fail = f }

func (s *service) Messages() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.texts...)
}

// kept is a Keeper in memory.
type kept struct {
	key  *Key
	mu   sync.Mutex
	list map[string][]Subscription
}

func (k *kept) Key(context.Context) (*Key, error) { return k.key, nil }

func (k *kept) Subscriptions(_ context.Context, to string) ([]Subscription, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]Subscription{}, k.list[to]...), nil
}

func (k *kept) Gone(_ context.Context, s Subscription) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for to, list := range k.list {
		var rest []Subscription
		for _, x := range list {
			if x != s {
				rest = append(rest, x)
			}
		}
		k.list[to] = rest
	}
	return nil
}

// newPager returns a Pager that reaches person:ada at the paths of a service.
func newPager(t testing.TB, paths ...string) (*Pager, *service, *kept) {
	s := &service{browser: newBrowser(t), status: map[string]int{}}
	key, err := NewKey()
	require.NoError(t, err)
	k := &kept{key: key, list: map[string][]Subscription{}}
	for _, path := range paths {
		k.list["person:ada"] = append(k.list["person:ada"], s.browser.at("https://push.test"+path))
	}
	return &Pager{Keeper: k, Contact: "mailto:it@hospital.test", Client: &http.Client{Transport: s}, Allow: func(*url.URL) bool { return true }}, s, k
}

func TestContract(t *testing.T) {
	topic := regexp.MustCompile(`(?m)^Topic: (\S{32})\r$`)
	pagerstest.Run(t, func(t *testing.T) (carewire.Pager, pagerstest.Gateway) {
		p, s, _ := newPager(t, "/1")
		return p, s
	}, func(m string) string { return strings.Join(topic.FindStringSubmatch(m), "") })
}

// The contents of a push, as the push service and the browser see it: IDs,
// urgency, and nothing else.
func TestMessage(t *testing.T) {
	p, s, k := newPager(t, "/1")
	page := pagerstest.Page("person:ada", 3)
	page.Alert.Test = true
	require.NoError(t, p.Page(t.Context(), page))
	header, text, _ := strings.Cut(s.Messages()[0], "\r\n\r\n")
	require.JSONEq(t, `{"key":"alert-1/3/person:ada","alert_id":"alert-1","level":3,"priority":"high","test":true}`, text)
	for _, want := range []string{"Ttl: 60\r\n", "Urgency: high\r\n", "Content-Encoding: aes128gcm\r\n", "Authorization: vapid t="} {
		require.Contains(t, header+"\r\n", want)
	}
	require.Contains(t, header, ", k="+k.key.Public())
	require.NotContains(t, header, "ada")

	p.TTL = 90 * time.Minute
	page.Alert.Priority = carewire.PriorityInfo
	require.NoError(t, p.Page(t.Context(), page))
	require.Contains(t, s.Messages()[1], "Ttl: 5400\r\n")
	require.Contains(t, s.Messages()[1], "Urgency: low\r\n")
}

func TestSubscriptionsThatAreGone(t *testing.T) {
	p, s, k := newPager(t, "/1", "/2", "/3")
	s.status["/1"], s.status["/2"] = http.StatusGone, http.StatusNotFound
	require.NoError(t, p.Page(t.Context(), pagerstest.Page("person:ada", 1)), "one is left")
	require.Len(t, k.list["person:ada"], 1)
	require.Contains(t, k.list["person:ada"][0].Endpoint, "/3")
	require.NoError(t, p.Page(t.Context(), pagerstest.Page("person:ada", 2)))
	require.Len(t, s.paths, 4)

	s.status["/3"] = http.StatusRequestEntityTooLarge
	require.Equal(t, pagers.StatusError(413).Error(), p.Page(t.Context(), pagerstest.Page("person:ada", 3)).Error())
	require.Len(t, k.list["person:ada"], 1, "a refusal is no farewell")
	s.status["/3"] = http.StatusGone
	require.ErrorIs(t, p.Page(t.Context(), pagerstest.Page("person:ada", 4)), pagers.ErrNoAddress)
	require.ErrorIs(t, p.Page(t.Context(), pagerstest.Page("person:ada", 5)), pagers.ErrNoAddress)
	require.Empty(t, k.list["person:ada"])
}

// A client cannot have the host call an address of its choice.
func TestEndpointsThatAreAllowed(t *testing.T) {
	p, s, _ := newPager(t, "/1")
	p.Allow = nil
	require.Error(t, p.Page(t.Context(), pagerstest.Page("person:ada", 1)))
	require.Empty(t, s.paths, "nothing was sent")
	for endpoint, want := range map[string]bool{
		"https://fcm.googleapis.com/fcm/send/x": true, "https://updates.push.services.mozilla.com/wpush/v2/x": true,
		"https://wns2-par02p.notify.windows.com/w/?token=x": true, "https://web.push.apple.com/x": true,
		"http://fcm.googleapis.com/x": false, "https://fcm.googleapis.com:8443/x": false, "https://fcm.googleapis.com.evil.test/x": false,
		"https://evilpush.apple.com/x": false, "https://127.0.0.1/x": false, "https://push.services.mozilla.com.evil.test/": false,
	} {
		u, err := url.Parse(endpoint)
		require.NoError(t, err)
		require.Equal(t, want, KnownService(u), endpoint)
	}
}

type broken struct{ kept }

func (*broken) Key(context.Context) (*Key, error) { return nil, errors.New("down") }

func TestWithoutRequiredOptions(t *testing.T) {
	require.Error(t, (&Pager{}).Page(t.Context(), pagerstest.Page("person:ada", 1)))
	require.Error(t, (&Pager{Keeper: &broken{}, Contact: "mailto:x"}).Page(t.Context(), pagerstest.Page("person:ada", 1)))
}

// A push that no service worker has reported has reached nobody, and the next step
// is due when the time of the option is over; one that was reported counts. So it
// is behind a rota and in a chain too, and the report may be an acceptance.
func TestEscalationWithoutAReceipt(t *testing.T) {
	for name, behind := range map[string]func(*Pager) carewire.Pager{
		"alone":      func(p *Pager) carewire.Pager { return p },
		"in a chain": func(p *Pager) carewire.Pager { return pagers.NewChain(p) },
		"behind a rota": func(p *Pager) carewire.Pager {
			now := time.Now()
			rota := &pagers.Rota{Shifts: []pagers.Shift{{Group: "ward", Person: "ada", Start: now.Add(-time.Hour), End: now.Add(time.Hour)}}}
			return &pagers.OnCall{Rota: func() *pagers.Rota { return rota }, Next: p}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, s, _ := newPager(t, "/1")
				to := "person:ada"
				if name == "behind a rota" {
					to = "group:ward"
				}
				hub, err := carewire.New(carewire.AuthenticatorFunc(func(*http.Request) (carewire.Principal, error) {
					return carewire.Principal{}, carewire.ErrUnauthenticated
				}),
					carewire.NewMemoryStore(nil), &carewire.Options{Pager: behind(p), ReportWithin: 20 * time.Second, Logger: slog.New(slog.DiscardHandler),
						Policy: func(context.Context, carewire.Alert, int) (carewire.Step, error) {
							return carewire.Step{To: []string{to}, After: 10 * time.Minute}, nil
						}})
				require.NoError(t, err)
				defer hub.Shutdown(t.Context())
				ada := carewire.Principal{ID: "ada", Role: carewire.RoleClinician, Patients: []string{"p1"}}
				var id string
				pushed := func() (list []Message) { // of this alert, not of the Hub's complaint that nobody is reached
					for _, text := range s.Messages() {
						_, text, _ = strings.Cut(text, "\r\n\r\n")
						var m Message
						require.NoError(t, json.Unmarshal([]byte(text), &m))
						if m.AlertID == id {
							list = append(list, m)
						}
					}
					return list
				}
				raised, err := hub.Raise(t.Context(), carewire.Raise{Patient: "p1", Key: "k", Text: "SpO2 low", Priority: carewire.PriorityHigh})
				require.NoError(t, err)
				id = raised.ID
				time.Sleep(10 * time.Second)
				require.Len(t, pushed(), 1)
				time.Sleep(15 * time.Second)
				require.Len(t, pushed(), 2, "nobody was reached: the next step, and not after ten minutes")
				_, err = hub.Receipt(t.Context(), carewire.PageReport{Key: pushed()[1].Key, Outcome: carewire.PageDelivered, By: ada})
				require.NoError(t, err)
				time.Sleep(5 * time.Minute)
				require.Len(t, pushed(), 2, "it was reported: the step has its time")
				a, err := hub.Receipt(t.Context(), carewire.PageReport{Key: pushed()[1].Key, Outcome: carewire.PageAccepted, By: ada})
				require.NoError(t, err)
				require.Equal(t, carewire.ResponsibilityAccepted, a.Responsibility.State)
			})
		})
	}
}

// panics is a Keeper whose database driver panics.
type panics struct{ *kept }

func (panics) Gone(context.Context, Subscription) error { panic("no connection") }

// The host's code that panics makes the page fail, and not the program end.
func TestHostsCodePanics(t *testing.T) {
	p, s, k := newPager(t, "/gone")
	s.status["/gone"] = http.StatusGone
	p.Keeper = panics{k}
	require.EqualError(t, p.Page(t.Context(), pagerstest.Page("person:ada", 1)), "pagers: a Pager panicked")
	p.Allow = func(*url.URL) bool { panic("no list") }
	require.EqualError(t, p.Page(t.Context(), pagerstest.Page("person:ada", 1)), "pagers: a Pager panicked")
}
