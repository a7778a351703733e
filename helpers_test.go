// The helpers that the tests of this package share.
//
//   - newWorld gives a Hub behind a server in memory, with the principals of people;
//     dial gives a raw client of it, which shows each frame as it comes. Most tests
//     begin so, most of them in a synctest bubble.
//   - peer (peer_test.go) writes and reads bytes, for input that no proper client sends;
//     everywhere runs a test over HTTP and HTTPS, in memory and on the loopback.
//   - script (script_test.go) plays the server, for tests of Client.
//   - poster (post_test.go) and reading (stream_test.go) use the fallback.
//   - seam, deaf, unreadable and unwritable (stores_test.go) are Stores that fail as a test
//     says; asked notes which patients a Store was asked for.
//   - newWorkbench (core_test.go) gives the core of a Hub without a Hub, for tests of one
//     component; newWatchroom (escalator_test.go) adds an escalator.
//   - judge is an Authorizer, notary an Auditor and pager a Pager that tests steer and
//     look into; the types that end in Func make one of a function.
//   - high, monitor, sends and vitalNow make alerts and vitals.
//   - valueAt, objectAt and listAt look into decoded JSON.

package carewire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/carewire/carewire/internal/memnet"
	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// people are the principals of the tests; the token is the key.
var people = map[string]Principal{
	"nurse":   {ID: "nurse", Name: "Nora Nurse", Role: RoleClinician, Patients: []string{"p1", "p2", "p3", SystemPatient}, Groups: []string{"icu"}},
	"doctor":  {ID: "doctor", Name: "Dora Doctor", Role: RoleClinician, Patients: []string{"p1", "p2"}, Groups: []string{"icu"}},
	"device":  {ID: "device", Role: RoleDevice, Patients: []string{"p1", "p2", "p3"}},
	"pat":     {ID: "pat", Name: "Pat", Role: RolePatient, Patients: []string{"p1"}},
	"family":  {ID: "family", Role: RolePatient, Patients: []string{"p1", "p2"}},
	"viewer":  {ID: "viewer", Role: RoleViewer, Patients: []string{"p1"}},
	"service": {ID: "service", Role: RoleService, Patients: []string{"p1", "p2"}},
	"nobody":  {ID: "nobody", Role: RoleClinician},
}

func byToken(r *http.Request) (Principal, error) {
	p, ok := people[Token(r)]
	if !ok {
		return Principal{}, ErrUnauthenticated
	}
	return p, nil
}

// world is a Hub behind an http.Server in memory.
type world struct {
	t     *testing.T
	hub   *Hub
	store Store
	net   *memnet.Listener
	srv   *http.Server
}

func newWorld(t *testing.T, store Store, o *Options) *world {
	t.Helper()
	if store == nil {
		store = NewMemoryStore(nil)
	}
	quiet := Options{}
	if o != nil {
		quiet = *o
	}
	if quiet.Logger == nil {
		quiet.Logger = slog.New(slog.DiscardHandler)
	}
	h, err := New(AuthenticatorFunc(byToken), store, &quiet)
	require.NoError(t, err)
	w := &world{t: t, hub: h, store: store, net: memnet.Listen(), srv: &http.Server{Handler: h}}
	go w.srv.Serve(w.net)
	return w
}

// close shuts everything down and waits for it.
func (w *world) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(w.t, w.hub.Shutdown(ctx))
	w.srv.Close()
}

// raw is a client that shows every frame as it comes.
type raw struct {
	t    *testing.T
	ws   *websocket.Conn
	conn net.Conn
}

func (w *world) dial(token string) *raw {
	w.t.Helper()
	r, err := w.tryDial(token)
	require.NoError(w.t, err)
	return r
}

func (w *world) tryDial(token string) (*raw, error) {
	r := &raw{t: w.t}
	ws, _, err := websocket.Dial(context.Background(), "ws://localhost/", &websocket.DialOptions{
		HTTPHeader:   http.Header{"Authorization": {"Bearer " + token}},
		Subprotocols: []string{Protocol},
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := w.net.Dial(ctx)
			r.conn = c
			return c, err
		}}},
	})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(1 << 20)
	r.ws = ws
	return r, nil
}

type object = map[string]any

// read returns the next frame.
func (r *raw) read() object {
	r.t.Helper()
	_, b, err := r.ws.Read(context.Background())
	require.NoError(r.t, err)
	var o object
	require.NoError(r.t, json.Unmarshal(b, &o))
	return o
}

// until reads up to the first frame of the given type, and returns it.
func (r *raw) until(typ string) object {
	r.t.Helper()
	for range 1000 {
		if o := r.read(); o["type"] == typ {
			return o
		}
	}
	require.Fail(r.t, "no "+typ)
	return nil
}

func (r *raw) send(text string) {
	r.t.Helper()
	require.NoError(r.t, r.ws.Write(context.Background(), websocket.MessageText, []byte(text)))
}

// ask sends a request and returns its reply, dropping events before it.
func (r *raw) ask(text string) object {
	r.t.Helper()
	r.send(text)
	for range 1000 {
		if o := r.read(); o["type"] == "ok" || o["type"] == "error" {
			return o
		}
	}
	require.Fail(r.t, "no reply")
	return nil
}

func seqOf(o object) int { return int(o["seq"].(float64)) }

// valueAt follows names and numbers into decoded JSON. It is nil where they lead nowhere.
func valueAt(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			o, _ := v.(object)
			v = o[p]
		case int:
			list, _ := v.([]any)
			if p >= len(list) {
				return nil
			}
			v = list[p]
		}
	}
	return v
}

// objectAt is valueAt for an object.
func objectAt(v any, path ...any) object { o, _ := valueAt(v, path...).(object); return o }

// listAt is valueAt for an array.
func listAt(v any, path ...any) []any { l, _ := valueAt(v, path...).([]any); return l }

// A judge is an Authorizer whose mind a test can change.
type judge struct {
	mu     sync.Mutex
	decide func(a Access, patient string) (Decision, error)
	asked  []time.Time
}

var errNoIdea = errors.New("no idea")

func (j *judge) Authorize(_ context.Context, a Access) ([]Decision, error) {
	j.mu.Lock()
	decide := j.decide
	j.asked = append(j.asked, time.Now())
	j.mu.Unlock()
	list := make([]Decision, 0, len(a.Patients))
	for _, p := range a.Patients {
		d, err := decide(a, p)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, nil
}

func (j *judge) rule(f func(a Access, patient string) (Decision, error)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.decide, j.asked = f, nil
}

// times returns when j was asked, in whole seconds after start.
func (j *judge) times(start time.Time) (list []int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, at := range j.asked {
		list = append(list, int(at.Sub(start).Round(time.Second)/time.Second))
	}
	return list
}

func everyone(Access, string) (Decision, error) { return Decision{Allow: true}, nil }

type directoryFunc func(context.Context, string) ([]string, error)

func (f directoryFunc) Patients(ctx context.Context, group string) ([]string, error) {
	return f(ctx, group)
}

// A notary is an Auditor that a test can look into.
type notary struct {
	mu      sync.Mutex
	records []Record
	failing func(ctx context.Context) error // called before a record is taken; nil: none fails
}

func (n *notary) Record(ctx context.Context, r Record) error {
	n.mu.Lock()
	failing := n.failing
	n.mu.Unlock()
	if failing != nil {
		if err := failing(ctx); err != nil {
			return err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.records = append(n.records, r)
	return nil
}

func (n *notary) fail(f func(context.Context) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failing = f
}

// of returns the records of the given events.
func (n *notary) of(events ...AuditEvent) []Record {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(n.records), func(r Record) bool { return !slices.Contains(events, r.Event) })
}

// lines lists the records of n, sorted: reads and the rest come by two ways.
func (n *notary) lines() (list []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.records {
		s := fmt.Sprintf("%s %s", r.Event, r.Outcome)
		add := func(name string, v any, zero bool) {
			if !zero {
				s += fmt.Sprintf(" %s=%v", name, v)
			}
		}
		add("code", r.Code, r.Code == "")
		add("status", r.Status, r.Status == 0)
		add("close", r.Close, r.Close == 0)
		add("who", r.Who.ID, r.Who.ID == "")
		add("asserted", true, !r.Asserted)
		add("patient", r.Patient, r.Patient == "")
		add("group", r.Group, r.Group == "")
		add("key", r.Key, r.Key == "")
		add("do", r.Do, r.Do == "")
		add("stage", r.Stage, r.Stage == "")
		add("level", r.Level, r.Level == 0)
		add("to", r.To, len(r.To) == 0)
		add("about", r.About, r.About == "")
		add("reason", r.Reason, r.Reason == "")
		add("count", r.Count, r.Count == 0)
		add("refused", r.Refused, r.Refused == 0)
		list = append(list, s)
	}
	slices.Sort(list)
	return list
}

type auditorFunc func(context.Context, Record) error

func (f auditorFunc) Record(ctx context.Context, r Record) error { return f(ctx, r) }

// authorizer decides by a function.
type authorizer func(context.Context, Access) ([]Decision, error)

func (f authorizer) Authorize(ctx context.Context, a Access) ([]Decision, error) { return f(ctx, a) }

// pager records the pages it is given; to those in deaf it says no.
type pager struct {
	mu    sync.Mutex
	pages []Page
	at    []time.Time
	deaf  map[string]bool
}

func (p *pager) Page(_ context.Context, page Page) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deaf[page.To] {
		return errors.New("no such pager")
	}
	p.pages = append(p.pages, page)
	p.at = append(p.at, time.Now())
	return nil
}

// told lists the persons paged for patients, and when after start, and forgets them.
func (p *pager) told(start time.Time) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []string
	for i, page := range p.pages {
		if page.Alert.Patient == SystemPatient {
			continue
		}
		list = append(list, p.at[i].Sub(start).Round(time.Second).String()+" "+page.To)
	}
	p.pages, p.at = nil, nil
	return list
}

// threeSteps is a policy: the nurse, after 30 s the doctor, after a minute the whole unit.
func threeSteps(_ context.Context, _ Alert, step int) (Step, error) {
	steps := []Step{
		{To: []string{"person:nurse"}, After: 30 * time.Second},
		{To: []string{"person:doctor"}, After: time.Minute},
		{To: []string{"group:icu"}, After: 2 * time.Minute},
	}
	if step > len(steps) {
		return Step{}, ErrNoStep
	}
	return steps[step-1], nil
}

func high(key string) Raise {
	return Raise{Patient: "p1", Key: key, ID: key + "-1", Text: "x", Priority: PriorityHigh}
}

// escalating runs f with a Hub that pages by threeSteps.
func escalating(t *testing.T, f func(w *world, p *pager, start time.Time)) {
	synctest.Test(t, func(t *testing.T) {
		p := &pager{deaf: make(map[string]bool)}
		w := newWorld(t, nil, &Options{Policy: threeSteps, Pager: p})
		defer w.close()
		f(w, p, time.Now())
	})
}

type pagerFunc func(context.Context, Page) error

func (f pagerFunc) Page(ctx context.Context, p Page) error { return f(ctx, p) }

// steps is a Policy that names these, one a step, each for 30 s.
func steps(list ...[]string) Policy {
	return func(_ context.Context, _ Alert, step int) (Step, error) {
		if step > len(list) {
			return Step{}, ErrNoStep
		}
		return Step{To: list[step-1], After: 30 * time.Second}, nil
	}
}

func total(h Histogram) (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// levels lists the persons paged at each level of the alert of p1 with the given key.
func levels(p *pager, key string) map[int][]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	to := make(map[int][]string)
	for _, page := range p.pages {
		if page.Alert.Patient == "p1" && page.Alert.Key == key {
			to[page.Level] = append(to[page.Level], page.To)
		}
	}
	return to
}

// monitor is a reading of a device that sends every five seconds.
func monitor() Vital {
	v := HeartRate.Of("p1", 60)
	v.Device, v.Every = "mon-1", 5*time.Second
	return v
}

// silent reports whether there is an open alert that something is silent.
func silent(t *testing.T, w *world, patient, key string) bool {
	t.Helper()
	a, err := w.hub.Alert(t.Context(), patient, key)
	if err != nil {
		require.ErrorIs(t, err, ErrNotFound)
		return false
	}
	return a.Condition == ConditionPresent
}

// sends publishes a heart rate of a device.
func sends(t *testing.T, w *world, patient, device string, every time.Duration) {
	t.Helper()
	v := HeartRate.Of(patient, 60)
	v.Device, v.Every = device, every
	_, err := w.hub.Publish(t.Context(), v)
	require.NoError(t, err)
}

// eventually waits, in real time, for something to become true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patienceOfTests); !f(); {
		require.True(t, time.Now().Before(end), "not within %v: %s", patienceOfTests, what)
		runtime.Gosched()
	}
}

// A lockedBuffer is a buffer that a logger may write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var wireTime = time.Date(2026, time.March, 1, 8, 0, 0, 0, time.UTC)

// patienceOfTests is how long a test waits for an event, on a machine that may be very
// busy.
const patienceOfTests = 2 * time.Minute
