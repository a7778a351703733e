package faults

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/boltstore"
	"github.com/carewire/carewire/internal/process"
	"github.com/carewire/carewire/pgstore"
)

var neighboursFor = flag.Duration("faults.neighbours", 0, "how long TestBadNeighbours is attacked, and held to its times; 0: some seconds, in which only losses count")

const (
	wardBeds       = 50
	wardClinicians = 20
)

// A healthy ward of 50 patients and 20 clinicians works beside all attacks at once:
// each of its vitals and alerts is accepted, shown to all its clinicians, and paged.
// In the long form this also happens in time: 99 of 100 vitals within 100 ms, each
// page within two seconds.
func TestBadNeighbours(t *testing.T) {
	stores := map[string]func(t *testing.T) carewire.Store{
		"bolt": func(t *testing.T) carewire.Store {
			s, err := boltstore.Open(filepath.Join(t.TempDir(), "ward.db"), nil)
			require.NoError(t, err)
			t.Cleanup(func() { s.Close() })
			return s
		},
		"postgres": func(t *testing.T) carewire.Store {
			s, err := pgstore.Open(t.Context(), pool(t, database(t)), &pgstore.Options{NoListen: true, Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			t.Cleanup(func() { s.Close() })
			return s
		},
	}
	for _, name := range []string{"bolt", "postgres"} {
		t.Run(name, func(t *testing.T) { badNeighbours(t, stores[name](t)) })
	}
}

func badNeighbours(t *testing.T, store carewire.Store) {
	w := &healthyWard{sent: make(map[string]time.Time), shown: make(map[string]int), raised: make(map[string]time.Time), paged: make(map[string]time.Duration)}
	hub, err := carewire.New(carewire.AuthenticatorFunc(neighbours), store, &carewire.Options{
		Directory: groups{}, Policy: tellAtOnce, Pager: w, Auditor: w, Logger: slog.New(slog.DiscardHandler),
		TicketsInStore: true, MaxPerPrincipal: 64,
	})
	require.NoError(t, err)
	srv := httptest.NewServer(hub)
	t.Cleanup(func() {
		late, cancel := context.WithTimeout(context.Background(), process.Patience)
		defer cancel()
		assert.NoError(t, hub.Shutdown(late))
		srv.CloseClientConnections()
		srv.Close()
	})
	w.url = "ws" + strings.TrimPrefix(srv.URL, "http")

	quiet, long := 2*time.Second, 5*time.Second
	if *neighboursFor > 0 {
		quiet, long = 20*time.Second, *neighboursFor
	}
	// The state that the attackers have left in the Store before.
	begun := prepareAttacks(t, hub)
	w.open(t)
	before := w.live(t, quiet)
	t.Logf("alone:    %s", before)
	a := startAttacks(t, hub, w.url)
	during := w.live(t, long)
	t.Logf("attacked: %s, %d notices, alerts and vitals of the attackers beforehand", during, begun)
	a.stop(t)
	w.over.Store(true)
	w.close(t)

	assert.Zero(t, during.refused+before.refused, "calls of the ward")
	assert.Zero(t, before.unshown+during.unshown, "vitals that some clinician was not shown")
	assert.Zero(t, before.unpaged+during.unpaged, "alerts that were not paged")
	assert.NoError(t, hub.Ready())
	if *neighboursFor > 0 {
		assert.Less(t, during.vitals99, 100*time.Millisecond, "p99 of vitals")
		assert.Less(t, during.pageMost, 2*time.Second, "latest page")
	}
}

// neighbours lets in devices, clinicians, patients and viewers by the beginnings
// of their tokens; bad ones never.
func neighbours(r *http.Request) (carewire.Principal, error) {
	id := carewire.Token(r)
	p := carewire.Principal{ID: id, Session: "s"}
	kind, of, _ := strings.Cut(id, "-")
	switch kind {
	case "device":
		p.Role, p.Patients = carewire.RoleDevice, []string{of}
	case "clinician":
		p.Role, p.Groups = carewire.RoleClinician, []string{"ward"}
	case "patient":
		p.Role, p.Patients = carewire.RolePatient, []string{of}
	case "viewer":
		p.Role = carewire.RoleViewer
	case "gateway": // of many patients, none of whom is known yet
		p.Role, p.Groups = carewire.RoleDevice, []string{"unknown"}
	case "crowd":
		p.Role, p.Groups = carewire.RoleClinician, []string{"huge"}
	default:
		return p, carewire.ErrUnauthenticated
	}
	return p, nil
}

// groups are the groups: that of the healthy, one of 20,000, and one whose patients
// nobody knows.
type groups struct{}

func (groups) Patients(_ context.Context, group string) (list []string, err error) {
	switch group {
	case "ward":
		return numbered("bed", wardBeds), nil
	case "huge":
		return numbered("huge", 20000), nil
	case "unknown":
		return numbered("unknown", 5000), nil
	}
	return nil, nil
}

func numbered(name string, n int) (list []string) {
	for i := range n {
		list = append(list, name+strconv.Itoa(i))
	}
	return list
}

// tellAtOnce pages somebody who is never connected; the healthy ward's own, or
// that of the attackers.
func tellAtOnce(_ context.Context, a carewire.Alert, step int) (carewire.Step, error) {
	to := "person:theirs"
	if strings.HasPrefix(a.Patient, "bed") {
		to = "person:ours"
	}
	return carewire.Step{To: []string{to}, After: 10 * time.Second}, nil
}

// A healthyWard publishes a vital a second for each bed, raises high alerts, and
// writes down when which of its clinicians are shown them. It is its own Pager,
// which takes a second for everybody else.
type healthyWard struct {
	url        string
	devices    []*carewire.Client
	clinicians []*carewire.Client
	running    sync.WaitGroup
	end        context.CancelFunc

	over    atomic.Bool // the Auditor is quick again, so that it takes what waits
	mu      sync.Mutex
	sent    map[string]time.Time // vitals, by ID: when
	shown   map[string]int       // to how many clinicians
	delays  []time.Duration
	raised  map[string]time.Time // alerts, by ID: when
	paged   map[string]time.Duration
	refused int
}

// lived are the figures of a time.
type lived struct {
	vitals, alerts            int
	vitals50, vitals99        time.Duration
	page50, pageMost          time.Duration
	refused, unshown, unpaged int
}

func (l lived) String() string {
	ms := time.Millisecond
	return fmt.Sprintf("%d vitals to %d clinicians in %v (p50) and %v (p99), %d pages in %v (p50) and %v (the latest)",
		l.vitals, wardClinicians, l.vitals50.Round(ms), l.vitals99.Round(ms), l.alerts, l.page50.Round(ms), l.pageMost.Round(ms))
}

// Record implements carewire.Auditor. It takes one record after the other.
func (w *healthyWard) Record(ctx context.Context, _ carewire.Record) error {
	if w.over.Load() {
		return nil
	}
	select {
	case <-time.After(5 * time.Millisecond):
	case <-ctx.Done():
	}
	return nil
}

// Page implements carewire.Pager.
func (w *healthyWard) Page(ctx context.Context, p carewire.Page) error {
	if !strings.HasPrefix(p.Alert.Patient, "bed") {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if at, ok := w.raised[p.Alert.ID]; ok && w.paged[p.Alert.ID] == 0 {
		w.paged[p.Alert.ID] = time.Since(at)
	}
	return nil
}

func (w *healthyWard) dial(t *testing.T, token string) *carewire.Client {
	c, err := carewire.Dial(t.Context(), w.url, &carewire.DialOptions{Token: func(context.Context) (string, error) { return token, nil },
		Logger: slog.New(slog.DiscardHandler), Buffer: 100000})
	require.NoError(t, err)
	return c
}

func (w *healthyWard) open(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w.end = cancel
	for i := range wardClinicians {
		c := w.dial(t, fmt.Sprint("clinician-", i))
		w.clinicians = append(w.clinicians, c)
		got, err := c.Watch(ctx, carewire.WatchOptions{Groups: []string{"ward"}, Delivery: carewire.DeliverEvery})
		require.NoError(t, err)
		require.Empty(t, got.Refused)
		w.running.Go(func() {
			for ev, err := range c.Events(ctx) {
				if err != nil {
					return
				}
				if ev.Vital != nil {
					w.show(ev.Vital.ID)
				}
			}
		})
	}
	for _, bed := range numbered("bed", wardBeds) {
		w.devices = append(w.devices, w.dial(t, "device-"+bed))
	}
}

func (w *healthyWard) show(vital string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at, ok := w.sent[vital]; ok {
		w.shown[vital]++
		w.delays = append(w.delays, time.Since(at))
	}
}

// live has the ward go on for so long, and returns its figures.
func (w *healthyWard) live(t *testing.T, long time.Duration) lived {
	w.mu.Lock()
	clear(w.sent)
	clear(w.shown)
	clear(w.raised)
	clear(w.paged)
	w.delays, w.refused = nil, 0
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	var all sync.WaitGroup
	for i, device := range w.devices {
		all.Go(func() { w.bed(t, ctx, i, device) })
	}
	all.Wait()
	var missing string
	process.Poll(t, 2*process.Patience, func() (bool, string) {
		l := w.figures()
		missing = fmt.Sprint(l.unshown, " vitals and ", l.unpaged, " alerts")
		return l.unshown+l.unpaged == 0, missing
	})
	return w.figures()
}

// bed is one bed: a vital each second, and a high alert every ten, which a
// clinician answers and the device ends.
func (w *healthyWard) bed(t *testing.T, ctx context.Context, i int, device *carewire.Client) {
	patient := fmt.Sprint("bed", i)
	after := time.NewTimer(time.Duration(i) * time.Second / wardBeds)
	defer after.Stop()
	for n := 0; ; n++ {
		select {
		case <-after.C:
		case <-ctx.Done():
			return
		}
		after.Reset(time.Second)
		v := carewire.HeartRate.Of(patient, float64(60+n%40))
		v.ID = fmt.Sprintf("%s-%d-%d", patient, time.Now().UnixNano(), n)
		w.note(w.sent, v.ID)
		if _, err := device.Publish(t.Context(), v); err != nil {
			w.refuse()
		}
		if n%10 == i%10 {
			w.alert(t, patient, i, device)
		}
	}
}

func (w *healthyWard) alert(t *testing.T, patient string, i int, device *carewire.Client) {
	id := fmt.Sprintf("a-%s-%d", patient, time.Now().UnixNano())
	w.note(w.raised, id)
	a, err := device.Raise(t.Context(), carewire.Raise{Patient: patient, ID: id, Key: id, Text: "x", Priority: carewire.PriorityHigh, To: []string{"group:ward"}})
	if err != nil {
		w.refuse()
		return
	}
	// It is paged first: a person who has accepted need not be told any more.
	process.Poll(t, 2*process.Patience, func() (bool, string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.paged[id] > 0, "the page of a high alert"
	})
	_, err = w.clinicians[i%wardClinicians].Answer(t.Context(), a.Ref(), carewire.Answer{Do: carewire.AnswerAccept})
	if err == nil {
		_, err = device.Clear(t.Context(), a.Ref())
	}
	if err != nil {
		w.refuse()
	}
}

func (w *healthyWard) note(in map[string]time.Time, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	in[id] = time.Now()
}

func (w *healthyWard) refuse() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refused++
}

func (w *healthyWard) figures() (l lived) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.vitals, l.alerts, l.refused = len(w.sent), len(w.raised), w.refused
	for id := range w.sent {
		if w.shown[id] < wardClinicians {
			l.unshown++
		}
	}
	var pages []time.Duration
	for id := range w.raised {
		if d, ok := w.paged[id]; ok {
			pages = append(pages, d)
		} else {
			l.unpaged++
		}
	}
	l.vitals50, l.vitals99 = share(w.delays, 0.5), share(w.delays, 0.99)
	l.page50, l.pageMost = share(pages, 0.5), share(pages, 1)
	return l
}

// share returns the value that the given share of a list does not exceed.
func share[T cmp.Ordered](list []T, part float64) (d T) {
	if len(list) == 0 {
		return d
	}
	sorted := slices.Sorted(slices.Values(list))
	return sorted[min(int(part*float64(len(sorted))), len(sorted)-1)]
}

func (w *healthyWard) close(t *testing.T) {
	w.end()
	w.running.Wait()
	for _, c := range slices.Concat(w.devices, w.clinicians) {
		assert.NoError(t, c.Err(), "somebody of the ward was shut out")
		c.Close()
	}
}
