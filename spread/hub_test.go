package spread

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/carewiretest"
)

// faulty is a member that can be made to fail, or to hang.
type faulty struct {
	*carewire.MemoryStore
	failing atomic.Bool
	hanging atomic.Pointer[chan struct{}]
}

var errInjected = errors.New("injected")

func (f *faulty) fault(ctx context.Context) error {
	if gate := f.hanging.Load(); gate != nil {
		select {
		case <-*gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if f.failing.Load() {
		return errInjected
	}
	return nil
}

func (f *faulty) Append(ctx context.Context, list []carewire.Entry) ([]carewire.AppendResult, error) {
	if err := f.fault(ctx); err != nil {
		return nil, err
	}
	return f.MemoryStore.Append(ctx, list)
}

func (f *faulty) Read(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
	if err := f.fault(ctx); err != nil {
		return nil, err
	}
	return f.MemoryStore.Read(ctx, patient, after, q)
}

func (f *faulty) Latest(ctx context.Context, patient string) ([]carewire.Entry, carewire.Head, error) {
	if err := f.fault(ctx); err != nil {
		return nil, carewire.Head{}, err
	}
	return f.MemoryStore.Latest(ctx, patient)
}

func (f *faulty) Get(ctx context.Context, patient, key string) (carewire.Entry, error) {
	if err := f.fault(ctx); err != nil {
		return carewire.Entry{}, err
	}
	return f.MemoryStore.Get(ctx, patient, key)
}

func (f *faulty) Heads(ctx context.Context, patients []string) ([]carewire.Head, error) {
	if err := f.fault(ctx); err != nil {
		return nil, err
	}
	return f.MemoryStore.Heads(ctx, patients)
}

func (f *faulty) Changed(ctx context.Context, mark string, limit int) ([]carewire.Entry, string, error) {
	if err := f.fault(ctx); err != nil {
		return nil, "", err
	}
	return f.MemoryStore.Changed(ctx, mark, limit)
}

func (f *faulty) Waiting(ctx context.Context, due time.Time, limit int) ([]carewire.Entry, error) {
	if err := f.fault(ctx); err != nil {
		return nil, err
	}
	return f.MemoryStore.Waiting(ctx, due, limit)
}

// threeOf returns three members, and on each but the first two patients.
func threeOf(t *testing.T) (s *Store, members []*faulty, patients [3][]string) {
	var list []Member
	for i := range 3 {
		f := &faulty{MemoryStore: carewire.NewMemoryStore(nil)}
		members = append(members, f)
		list = append(list, Member{fmt.Sprint("m", i), f})
	}
	s = open(t, list, nil)
	for i := 0; len(patients[1]) < 2 || len(patients[2]) < 2; i++ {
		p := fmt.Sprint("p", i)
		owner := s.Owner(s.Part(p))
		patients[owner] = append(patients[owner], p)
	}
	return s, members, patients
}

// M1: one member that fails or hangs affects the patients on it, and nobody else.
// Their watchers are told, by the patients' IDs. Others notice nothing. Pages for
// both go on. All is well again when the member is.
func TestOneMemberFails(t *testing.T) {
	for _, how := range []string{"fails", "hangs"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, members, patients := threeOf(t)
				ill, well := patients[1][0], patients[2][0]
				door, pager := &carewiretest.Door{}, &pages{}
				hub, err := carewire.New(door, s, &carewire.Options{Logger: slog.New(slog.DiscardHandler), Pager: pager,
					Policy: func(context.Context, carewire.Alert, int) (carewire.Step, error) {
						return carewire.Step{To: []string{"person:doctor"}, After: 20 * time.Second}, nil
					}})
				require.NoError(t, err)
				server := carewiretest.Serve(t, hub)
				dial := func(name string, patients ...string) *events {
					c := server.Dial("/", door.Token(carewire.Principal{ID: name, Role: carewire.RoleClinician, Patients: patients}))
					_, err := c.Watch(t.Context(), carewire.WatchOptions{Patients: patients})
					require.NoError(t, err)
					e := &events{keys: map[string]bool{}}
					go e.follow(t.Context(), c)
					return e
				}
				theirs, others, both := dial("theirs", ill), dial("others", well), dial("both", ill, well)
				raise := func(patient, key string) error {
					ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
					defer cancel()
					_, err := hub.Raise(ctx, carewire.Raise{Patient: patient, Key: key, Text: "low", Priority: carewire.PriorityHigh})
					return err
				}
				require.NoError(t, raise(ill, "before"))
				require.NoError(t, raise(well, "before"))
				time.Sleep(5 * time.Second)

				gate := make(chan struct{})
				if how == "fails" {
					members[1].failing.Store(true)
				} else {
					members[1].hanging.Store(&gate)
				}
				began := time.Now()
				for i := range 60 {
					ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
					at := time.Now()
					_, err := hub.Publish(ctx, carewire.HeartRate.Of(well, float64(60+i)))
					require.NoError(t, err)
					require.Less(t, time.Since(at), 100*time.Millisecond, "nothing of another member is waited for")
					_, err = hub.Publish(ctx, carewire.HeartRate.Of(ill, 60))
					require.Error(t, err)
					cancel()
					time.Sleep(time.Second)
				}
				require.NoError(t, raise(well, "meanwhile"))
				require.Error(t, raise(ill, "meanwhile"))
				require.NoError(t, hub.Ready())
				stats := hub.Stats()
				require.Equal(t, 1, stats.MembersFailing)
				require.Equal(t, "failing", stats.StoreState)
				require.Equal(t, []string{"m0 ok 87", "m1 failing 85", "m2 ok 85"}, show(stats.Members))
				for _, p := range []string{ill, well} {
					require.GreaterOrEqual(t, pager.since(began, p), 2, "an open alert goes through its steps")
				}
				require.Equal(t, "failing ["+ill+"]", theirs.last())
				require.Equal(t, "failing ["+ill+"]", both.last())
				require.Empty(t, others.status())
				require.GreaterOrEqual(t, others.count(), 50, "the vitals of the others go on")
				late := dial("late", ill)
				time.Sleep(time.Second)
				require.Equal(t, []string{"failing [" + ill + "]"}, late.status())

				members[1].failing.Store(false)
				members[1].hanging.Store(nil)
				close(gate)
				time.Sleep(40 * time.Second)
				require.NoError(t, raise(ill, "after"))
				time.Sleep(5 * time.Second)
				require.Zero(t, hub.Stats().MembersFailing)
				require.Equal(t, "ok ["+ill+"]", theirs.last())
				require.Equal(t, "ok ["+ill+"]", both.last())
				require.Empty(t, others.status())
				require.True(t, theirs.has("before") && theirs.has("after"))
				require.NoError(t, hub.Shutdown(t.Context()))
			})
		})
	}
}

// A member that does not answer when a Hub begins keeps nobody out, unless it has
// the revocations.
func TestHubBeginsWithoutAMember(t *testing.T) {
	for member, in := range []bool{false, true, true} {
		synctest.Test(t, func(t *testing.T) {
			s, members, patients := threeOf(t)
			gate := make(chan struct{})
			members[member].hanging.Store(&gate)
			door := &carewiretest.Door{}
			hub, err := carewire.New(door, s, &carewire.Options{Logger: slog.New(slog.DiscardHandler), CallTimeout: 10 * time.Second})
			require.NoError(t, err)
			server := carewiretest.Serve(t, hub)
			token := door.Token(carewire.Principal{ID: "nurse", Role: carewire.RoleClinician, Patients: patients[2]})
			_, err = server.TryDial("/", &carewire.DialOptions{Token: func(context.Context) (string, error) { return token, nil }})
			require.Equal(t, in, err == nil, "member %d: %v", member, err)
			members[member].hanging.Store(nil)
			close(gate)
			require.NoError(t, hub.Shutdown(t.Context()))
		})
	}
}

func show(members []carewire.MemberStats) (list []string) {
	for _, m := range members {
		list = append(list, fmt.Sprint(m.Name, " ", m.State, " ", m.Parts))
	}
	return list
}

// pages is a Pager that notes the patients of its pages, and the times.
type pages struct {
	mu  sync.Mutex
	all []struct {
		patient string
		at      time.Time
	}
}

func (p *pages) Page(_ context.Context, page carewire.Page) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, struct {
		patient string
		at      time.Time
	}{page.Alert.Patient, time.Now()})
	return nil
}

func (p *pages) since(t time.Time, patient string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.all {
		if one.patient == patient && one.at.After(t) {
			n++
		}
	}
	return n
}

// events notes a client's events.
type events struct {
	mu     sync.Mutex
	told   []string // of status
	vitals int
	keys   map[string]bool // of alerts
}

func (e *events) follow(ctx context.Context, c *carewire.Client) {
	for ev, err := range c.Events(ctx) {
		if err != nil {
			return
		}
		e.mu.Lock()
		switch ev.Type {
		case carewire.EventStatus:
			e.told = append(e.told, fmt.Sprint(ev.Store, " ", ev.Patients))
		case carewire.EventVital:
			e.vitals++
		case carewire.EventAlert:
			e.keys[ev.Alert.Key] = true
		}
		e.mu.Unlock()
	}
}

// status is the sequence of states told, without repetitions.
func (e *events) status() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Compact(slices.Clone(e.told))
}

func (e *events) last() string {
	told := e.status()
	if len(told) == 0 {
		return ""
	}
	return told[len(told)-1]
}

func (e *events) has(key string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.keys[key]
}

func (e *events) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.vitals
}
