package integration

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/memnet"
)

var (
	accessSteps = flag.Int("access.steps", 3000, "steps of the access model")
	accessSeed  = flag.Uint64("access.seed", 0, "seed of the access model; 0: a new one")
)

// A person is the model's state of a principal: their rights, and the patients that
// they watch.
type person struct {
	carewire.Principal
	barred  time.Time            // access has ended until then
	without map[string]time.Time // and that to these patients

	line    *listener // nil: not connected
	expires time.Time
	byName  map[string]bool            // watched
	through map[string]map[string]bool // and through which groups
	follows map[string]bool
	left    map[string]bool // unwatched by name although a followed group has them
}

// A model is everything that decides which principal gets which events.
type model struct {
	now    time.Time
	mu     sync.Mutex // held to change groups, and by the Directory
	groups map[string]map[string]bool
	people []*person
	holds  map[string]*hold // by patient
}

// A hold is an acceptance in the model.
type hold struct {
	by    *person
	until time.Time
	unfit time.Time // since when by may not answer any more; zero: by may
}

// ends forgets the acceptances of p that a revocation has ended.
func (w *model) ends(p *person, patients ...string) {
	for _, patient := range patients {
		if h := w.holds[patient]; h != nil && h.by == p {
			delete(w.holds, patient)
		}
	}
}

// checkHold compares an alert with the acceptance that the model knows. It ends within
// the re-check interval when its person's access has ended, and not before.
func (w *model) checkHold(t *testing.T, a *carewire.Alert, what string) {
	h := w.holds[a.Patient]
	accepted := a.Responsibility.State == carewire.ResponsibilityAccepted
	if h == nil {
		require.False(t, accepted, "%s: nobody has %s", what, a.Patient)
		return
	}
	may := w.may(h.by, a.Patient)
	switch {
	case !h.until.After(w.now):
		require.False(t, accepted, "%s: the acceptance of %s has run out", what, a.Patient)
	case may && h.unfit.IsZero():
		require.True(t, accepted, "%s: %s has %s", what, h.by.ID, a.Patient)
	case !may && h.unfit.IsZero():
		h.unfit = w.now
	case w.now.Sub(h.unfit) > recheck+5*time.Second:
		require.False(t, accepted && !may, "%s: %s may not answer for %s any more", what, h.by.ID, a.Patient)
	}
	if !accepted {
		delete(w.holds, a.Patient)
		return
	}
	require.Equal(t, h.by.ID, a.Responsibility.By.ID, what)
	if may {
		h.unfit = time.Time{}
	}
}

// recheck is the interval by default.
const recheck = time.Minute

func (w *model) may(p *person, patient string) bool {
	if p.barred.After(w.now) || p.without[patient].After(w.now) {
		return false
	}
	return slices.Contains(p.Patients, patient) ||
		slices.ContainsFunc(p.Groups, func(g string) bool { return w.groups[g][patient] })
}

func (p *person) watching(patient string) bool {
	return p.byName[patient] || len(p.through[patient]) > 0
}

func (p *person) forget(patient string) {
	delete(p.byName, patient)
	delete(p.through, patient)
}

func (p *person) add(patient, group string) {
	delete(p.left, patient)
	if p.through[patient] == nil {
		p.through[patient] = make(map[string]bool)
	}
	p.through[patient][group] = true
}

// settle carries out the periodic authorisation.
func (w *model) settle(p *person, patients []string) {
	if len(p.Groups) == 0 {
		return
	}
	for _, patient := range patients {
		for g := range p.follows {
			switch has := w.groups[g][patient]; {
			case !has:
				delete(p.through[patient], g)
			case p.watching(patient) || !p.left[patient] && w.may(p, patient):
				p.add(patient, g)
			}
		}
		if !w.may(p, patient) {
			p.forget(patient)
		}
	}
}

func (p *person) connected(l *listener, expires time.Time) {
	p.line, p.expires = l, expires
	p.byName, p.through, p.follows, p.left = make(map[string]bool), make(map[string]map[string]bool), make(map[string]bool), make(map[string]bool)
}

// A listener is a client's connection, from which everything is read.
type listener struct {
	ws     *websocket.Conn
	mu     sync.Mutex
	frames []map[string]any
}

func (l *listener) listen() {
	for {
		_, b, err := l.ws.Read(context.Background())
		if err != nil {
			return
		}
		var f map[string]any
		json.Unmarshal(b, &f)
		l.mu.Lock()
		l.frames = append(l.frames, f)
		l.mu.Unlock()
	}
}

// take returns the events since the last time.
func (l *listener) take() []map[string]any {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	frames := l.frames
	l.frames = nil
	return frames
}

func (l *listener) ask(t *testing.T, request string) map[string]any {
	require.NoError(t, l.ws.Write(context.Background(), websocket.MessageText, []byte(request)))
	for _, f := range l.take() {
		if f["req"] != nil {
			return f
		}
	}
	require.Fail(t, "no reply")
	return nil
}

// members is the Directory.
type members struct{ *model }

func (m members) Patients(_ context.Context, group string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.groups[group])), nil
}

// After any steps in any order, everybody gets the events that the model predicts,
// and no others. An acceptance ends with its person's access, watched or not.
func TestAccessModel(t *testing.T) {
	seed := *accessSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-access.seed=%d -access.steps=%d", seed, *accessSteps)
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(seed, 1))
		patients := []string{"a", "b", "c", "d", "e", "f"}
		m := &model{now: time.Now(), groups: map[string]map[string]bool{"g1": {"a": true}, "g2": {"b": true, "c": true}}, holds: make(map[string]*hold)}
		for i, p := range []carewire.Principal{{Patients: []string{"a", "b"}}, {Groups: []string{"g1"}}, {Groups: []string{"g1", "g2"}},
			{Patients: []string{"c"}, Groups: []string{"g2"}}, {}} {
			p.ID, p.Role = fmt.Sprint("n", i), carewire.RoleClinician
			m.people = append(m.people, &person{Principal: p, without: make(map[string]time.Time)})
		}
		var expires time.Time
		hub, err := carewire.New(carewire.AuthenticatorFunc(func(r *http.Request) (carewire.Principal, error) {
			for _, p := range m.people {
				if p.ID == carewire.Token(r) {
					who := p.Principal
					who.Expires = expires
					return who, nil
				}
			}
			return carewire.Principal{}, carewire.ErrUnauthenticated
		}), carewire.NewMemoryStore(nil), &carewire.Options{Directory: members{m}, Lanes: 2, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		for _, patient := range patients {
			_, err := hub.Raise(context.Background(), carewire.Raise{Patient: patient, Key: "k", Text: "x", Priority: carewire.PriorityLow})
			require.NoError(t, err)
		}
		l := memnet.Listen()
		srv := &http.Server{Handler: hub}
		go srv.Serve(l)
		defer srv.Close()
		defer func() { require.NoError(t, hub.Shutdown(context.Background())) }()
		client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) }}}

		for step := range *accessSteps {
			p, patient, group := m.people[r.IntN(len(m.people))], patients[r.IntN(len(patients))], []string{"g1", "g2"}[r.IntN(2)]
			m.now = time.Now()
			what := ""
			switch k := r.IntN(112); {
			case k < 30 && p.line == nil:
				what = "connect " + p.ID
				expires = time.Now().Add(time.Duration(1+r.IntN(600)) * time.Second).Truncate(time.Millisecond)
				ws, _, err := websocket.Dial(context.Background(), "ws://localhost/", &websocket.DialOptions{HTTPClient: client,
					HTTPHeader: http.Header{"Authorization": {"Bearer " + p.ID}}})
				require.Equal(t, p.barred.After(m.now), err != nil, "%d %s: %v", step, what, err)
				if err == nil {
					p.connected(&listener{ws: ws}, expires)
					go p.line.listen()
				}
			case k < 35 && p.line != nil:
				what = "disconnect " + p.ID
				p.line.ws.CloseNow()
				p.line = nil
			case k < 55 && p.line != nil:
				what = fmt.Sprint(p.ID, " watches ", patient)
				ok := p.line.ask(t, fmt.Sprintf(`{"type":"watch","req":"1","patients":["%s"],"delivery":"every"}`, patient))
				require.Equal(t, m.may(p, patient), len(ok["watching"].([]any)) == 1, "%d %s", step, what)
				if m.may(p, patient) {
					p.byName[patient] = true
					delete(p.left, patient)
				}
			case k < 65 && p.line != nil:
				what = fmt.Sprint(p.ID, " watches ", group)
				p.line.ask(t, fmt.Sprintf(`{"type":"watch","req":"1","groups":["%s"],"delivery":"every"}`, group))
				if slices.Contains(p.Groups, group) {
					p.follows[group] = true
					for in := range m.groups[group] {
						if m.may(p, in) {
							p.add(in, group)
						}
					}
				}
			case k < 72 && p.line != nil:
				what = fmt.Sprint(p.ID, " unwatches ", patient)
				p.line.ask(t, fmt.Sprintf(`{"type":"unwatch","req":"1","patients":["%s"]}`, patient))
				if len(p.through[patient]) > 0 {
					p.left[patient] = true
				}
				p.forget(patient)
			case k < 75 && p.line != nil:
				what = fmt.Sprint(p.ID, " unwatches ", group)
				p.line.ask(t, fmt.Sprintf(`{"type":"unwatch","req":"1","groups":["%s"]}`, group))
				delete(p.follows, group)
				for _, through := range p.through {
					delete(through, group)
				}
			case k < 80 && p.line != nil:
				what = fmt.Sprint(p.ID, " reads ", patient)
				ok := p.line.ask(t, fmt.Sprintf(`{"type":"history","req":"1","patient":"%s","limit":1}`, patient))
				require.Equal(t, m.may(p, patient), ok["code"] != "forbidden", "%d %s", step, what)
			case k < 88:
				what = fmt.Sprint("change ", patient, " in ", group)
				members := maps.Clone(m.groups[group])
				if members[patient] = !members[patient]; !members[patient] {
					delete(members, patient)
				}
				m.mu.Lock()
				m.groups[group] = members
				m.mu.Unlock()
				require.NoError(t, hub.MembersChanged(context.Background(), group))
				for _, p := range m.people {
					if p.line != nil && slices.Contains(p.Groups, group) {
						m.settle(p, patients)
					}
				}
			case k < 92:
				until := time.Now().Add(time.Duration(1+r.IntN(200)) * time.Second)
				what = fmt.Sprint("revoke ", p.ID, " for ", patient)
				require.NoError(t, hub.Revoke(context.Background(), carewire.Revocation{Principal: p.ID, Patients: []string{patient}, Until: until}))
				p.without[patient] = until // a later call counts, also where it shortens
				m.ends(p, patient)
				if p.line != nil {
					p.forget(patient)
				}
			case k < 94:
				until := time.Now().Add(time.Duration(1+r.IntN(200)) * time.Second)
				what = "revoke " + p.ID
				require.NoError(t, hub.Revoke(context.Background(), carewire.Revocation{Principal: p.ID, Until: until}))
				p.barred = until
				p.line = nil
				m.ends(p, patients...)
			case k < 106:
				what = fmt.Sprint(p.ID, " accepts ", patient)
				_, err := hub.Answer(context.Background(), p.Principal, carewire.AlertRef{Patient: patient, Key: "k"},
					carewire.Answer{Do: carewire.AnswerAccept, For: time.Hour, Force: true, Reason: "now I"})
				if !m.may(p, patient) {
					require.ErrorIs(t, err, carewire.ErrForbidden, "%d %s", step, what)
					break
				}
				require.NoError(t, err, "%d %s", step, what)
				m.holds[patient] = &hold{by: p, until: m.now.Add(time.Hour)}
			default:
				what = "time passes"
				time.Sleep(time.Duration(1+r.IntN(90)) * time.Second)
				m.now = time.Now()
				for _, p := range m.people {
					if p.line != nil && !p.expires.After(m.now) {
						p.line = nil
					}
				}
				for g := range m.groups { // rights that have run out meanwhile are asked for again now
					require.NoError(t, hub.MembersChanged(context.Background(), g))
				}
				for _, p := range m.people {
					if p.line != nil {
						m.settle(p, patients)
					}
				}
			}
			synctest.Wait()
			for _, p := range m.people {
				if p.line != nil {
					p.line.take()
				}
			}
			for _, patient := range patients {
				a, err := hub.Alert(context.Background(), patient, "k")
				require.NoError(t, err)
				m.checkHold(t, &a, fmt.Sprint("after step ", step, ", ", what))
				_, err = hub.Publish(context.Background(), carewire.HeartRate.Of(patient, 60))
				require.NoError(t, err)
			}
			for _, p := range m.people {
				if p.line == nil {
					continue
				}
				want, got := []string{}, []string{}
				for _, patient := range patients {
					if p.watching(patient) {
						want = append(want, patient)
					}
				}
				for _, f := range p.line.take() {
					if f["type"] == "vital" {
						got = append(got, f["patient"].(string))
					}
				}
				slices.Sort(got)
				require.Equal(t, want, got, "after step %d, %s: %s", step, what, p.ID)
			}
		}
	})
}
