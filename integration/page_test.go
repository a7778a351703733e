package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/examples/javascript"
	"github.com/carewire/carewire/internal/process"
	"github.com/carewire/carewire/js/ble"
	"github.com/carewire/carewire/js/client"
	"github.com/carewire/carewire/js/elements"
)

// A stage is a hospital of a test's own behind the page of the ward example.
// Its only user, ada, is a clinician; a device is in the test.
type stage struct {
	hub    *carewire.Hub
	server *httptest.Server

	mu        sync.Mutex
	patients  []string // the patients on the ward
	known     bool     // ada's token is good
	undecided bool     // nobody can decide access
	refused   bool     // ada may not publish: and nobody else
}

func openStage(t *testing.T, patients ...string) *stage {
	s := &stage{patients: patients, known: true}
	authenticate := func(r *http.Request) (carewire.Principal, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch token := carewire.Token(r); {
		case token == "device":
			return carewire.Principal{ID: token, Role: carewire.RoleDevice}, nil
		case token == "ada" && s.known:
			return carewire.Principal{ID: token, Name: "Ada", Role: carewire.RoleClinician, Groups: []string{"ward"}}, nil
		case token == "pat":
			return carewire.Principal{ID: token, Name: "Pat", Role: carewire.RolePatient}, nil
		}
		return carewire.Principal{}, carewire.ErrUnauthenticated
	}
	hub, err := carewire.New(carewire.AuthenticatorFunc(authenticate), carewire.NewMemoryStore(nil),
		&carewire.Options{Directory: s, Authorizer: s, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	s.hub = hub
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir("../examples/ward/page")))
	mux.Handle("/elements.js", elements.Handler())
	mux.Handle("/client.js", client.Handler())
	mux.Handle("/ble.js", ble.Handler())
	mux.Handle("/waves.js", client.Waves())
	mux.HandleFunc("/wave", func(w http.ResponseWriter, _ *http.Request) { w.Write(javascript.Wave) })
	mux.Handle("/carewire", hub)
	mux.HandleFunc("GET /pages", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("[]")) })
	mux.HandleFunc("GET /ward", func(w http.ResponseWriter, r *http.Request) {
		p, err := authenticate(r)
		if err != nil {
			http.Error(w, "unknown token", http.StatusUnauthorized)
			return
		}
		list := []map[string]string{}
		in, _ := s.Patients(r.Context(), "ward")
		for _, id := range in {
			list = append(list, map[string]string{"id": id, "name": "Name of " + id, "bed": "Bed " + id, "group": "ward"})
		}
		groups := []string{"ward"}
		if p.Role == carewire.RolePatient {
			list, groups = list[:1], []string{}
		}
		json.NewEncoder(w).Encode(map[string]any{"groups": groups, "patients": list, "names": map[string]string{}})
	})
	s.server = httptest.NewServer(mux)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), process.Patience)
		defer cancel()
		hub.Shutdown(ctx)
		s.server.CloseClientConnections()
		s.server.Close()
	})
	return s
}

// set changes the stage.
func (s *stage) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *stage) Patients(context.Context, string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.patients), nil
}

func (s *stage) Authorize(_ context.Context, a carewire.Access) ([]carewire.Decision, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.undecided {
		return nil, errors.New("undecided")
	}
	list := make([]carewire.Decision, len(a.Patients))
	for i, p := range a.Patients {
		list[i].Allow = slices.Contains(s.patients, p) && !(s.refused && a.Action == carewire.ActionPublish)
	}
	return list, nil
}

func (s *stage) publish(t *testing.T, v carewire.Vital) {
	t.Helper()
	got, err := s.hub.Publish(t.Context(), v)
	require.NoError(t, err)
	require.NoError(t, got[0].Err)
}

func (s *stage) raise(t *testing.T, r carewire.Raise) carewire.Alert {
	t.Helper()
	r.Priority = carewire.PriorityHigh
	a, err := s.hub.Raise(t.Context(), r)
	require.NoError(t, err)
	return a
}

// draw has the page look after itself, as it does each second, and waits until
// it has drawn.
func (p tab) draw() {
	p.t.Helper()
	p.run(`document.dispatchEvent(new Event("visibilitychange"));
		requestAnimationFrame(() => document.body.append(Object.assign(document.createElement("p"), {className: "drawn", textContent: "drawn"})))`)
	p.shows(".drawn", "drawn")
}

// hides waits until nothing that find finds is shown.
func (p tab) hides(find string) {
	p.t.Helper()
	process.Poll(p.t, process.Patience, func() (bool, string) { return len(p.texts(find)) == 0, find + " goes" })
}

// The page shows each value correctly: with its own unit, the two pressures by their
// codes, and no value that is not to be used.
func TestBrowserShowsValuesAsTheyAre(t *testing.T) {
	b := openBrowser(t)
	s := openStage(t, "p-1")
	ada := b.open("ada", s.server.URL+"/#token=ada")
	ada.shows(lineWord, "Live")

	s.publish(t, carewire.Vital{Patient: "p-1", Code: "8310-5", Value: "98.6", Unit: "[degF]"})
	ada.shows(card("p-1", "Temperature"), "98.6")
	ada.shows(card("p-1", "Temperature"), "°F")
	s.publish(t, carewire.Vital{Patient: "p-1", Code: "59408-5", Value: "70", Unit: "%", Comparator: carewire.ComparatorBelow})
	ada.shows(card("p-1", "SpO₂"), "<70")
	s.publish(t, carewire.Vital{Patient: "p-1", Code: "85354-9", Components: []carewire.Component{
		{Code: "8478-0", Value: "93", Unit: "mm[Hg]"}, {Code: "8462-4", Value: "80", Unit: "mm[Hg]"}, {Code: "8480-6", Value: "120", Unit: "mm[Hg]"}}})
	ada.shows(card("p-1", "Pressure"), "120/80")
	s.publish(t, carewire.Vital{Patient: "p-1", Code: "8867-4", Value: "72", Unit: "/min", ID: "v"})
	ada.shows(card("p-1", "Heart rate"), "72")
	s.publish(t, carewire.Vital{Patient: "p-1", Code: "8867-4", Value: "72", Unit: "/min", Status: carewire.VitalEnteredInError, Replaces: "v"})
	ada.shows(card("p-1", "Heart rate"), "–")
	require.NotContains(t, ada.texts(card("p-1", "Heart rate"))[0], "72")
}

// A test alert does not stand for, or end, the real one of the same key; and
// alerts of two patients that have the same ID are both shown, once.
func TestBrowserKeepsAlertsApart(t *testing.T) {
	b := openBrowser(t)
	s := openStage(t, "p-1", "p-2")
	ada := b.open("ada", s.server.URL+"/#token=ada")
	ada.shows(lineWord, "Live")

	s.raise(t, carewire.Raise{Patient: "p-1", ID: "one", Key: "k", Text: "real"})
	s.raise(t, carewire.Raise{Patient: "p-2", ID: "one", Key: "k", Text: "real too"})
	s.raise(t, carewire.Raise{Patient: "p-1", ID: "two", Key: "k", Text: "test", Test: true})
	ada.shows("#alerts h3", "(3)")
	process.Poll(t, process.Patience, func() (bool, string) {
		return slices.Equal(ada.alerts(), []string{"one", "one", "two"}), "two alerts and a test"
	})
	ada.draw()
	for _, text := range []string{"real", "real too", "test"} {
		ada.shows("#alerts .line2", text)
	}

	ada.click(row("test") + " .more")
	ada.fill(row("test")+" .panel input", "only a test")
	ada.click(row("test") + ` [data-do="close"]`)
	ada.shows("#alerts h3", "(2)")
	process.Poll(t, process.Patience, func() (bool, string) {
		return slices.Equal(ada.alerts(), []string{"one", "one"}), "the real ones alone"
	})
}

// A patient whose access is taken from a user leaves the page, on the line and
// while it is away; with the token all patients go.
func TestBrowserForgetsPatientsTakenAway(t *testing.T) {
	b := openBrowser(t)
	s := openStage(t, "p-1", "p-2", "p-3")
	way := openProxy(t, "tcp", s.server.Listener.Addr().String())
	ada := b.open("ada", "http://"+way.listener.Addr().String()+"/#token=ada")
	ada.shows(lineWord, "Live")
	for _, p := range []string{"p-1", "p-2", "p-3"} {
		s.publish(t, carewire.HeartRate.Of(p, 71))
		s.raise(t, carewire.Raise{Patient: p, Key: "k", Text: "of " + p})
		ada.shows("#alerts .line2", "of "+p)
	}

	s.set(func() { s.patients = []string{"p-1", "p-2"} })
	require.NoError(t, s.hub.MembersChanged(t.Context(), "ward"))
	ada.shows("#alerts h3", "(2)")
	ada.hides(`cw-patient[patient="p-3"] article`)

	way.cut()
	ada.shows(trouble, "The connection is lost")
	s.set(func() { s.patients = []string{"p-1"} })
	way.mend()
	ada.shows(lineWord, "Live")
	ada.shows("#alerts h3", "(1)")
	ada.shows("#alerts .line2", "of p-1")
	ada.hides(`cw-patient[patient="p-2"] article`)

	s.set(func() { s.known = false })
	way.cut()
	way.mend()
	ada.shows("#refused", "not known")
	ada.draw()
	require.Empty(t, ada.texts("#app"))
}

// A patient for whom the decision failed is asked for again.
func TestBrowserAsksAgain(t *testing.T) {
	b := openBrowser(t)
	s := openStage(t, "p-1")
	s.set(func() { s.undecided = true })
	s.publish(t, carewire.HeartRate.Of("p-1", 71))
	pat := b.open("pat", s.server.URL+"/#token=pat")
	pat.shows(lineWord, "Live")
	pat.shows("#own dl", "no reading")
	s.set(func() { s.undecided = false })
	pat.shows("#own dl", "71")
}

// A patient is thanked only for a report that was accepted.
func TestBrowserTellsOfRefusedVitals(t *testing.T) {
	b := openBrowser(t)
	s := openStage(t, "p-1")
	pat := b.open("pat", s.server.URL+"/#token=pat")
	pat.shows(lineWord, "Live")
	s.set(func() { s.refused = true })
	pat.click(`#call [data-feel="good"]`)
	pat.shows("#call p", "This does not work now")
	require.NotContains(t, fmt.Sprint(pat.texts("#call p")), "Thank you")
	s.set(func() { s.refused = false })
	pat.click(`#call [data-feel="good"]`)
	pat.shows("#call p", "Thank you.")
}

// An old value does not look new when the clock of the browser's machine is set
// back.
func TestBrowserWhoseClockIsSetBack(t *testing.T) {
	b := openBrowser(t)
	s := openStage(t, "p-1")
	ada := b.open("ada", s.server.URL+"/#token=ada")
	ada.shows(lineWord, "Live")
	v := carewire.HeartRate.Of("p-1", 71)
	v.Every = time.Second
	s.publish(t, v)
	ada.shows(card("p-1", "Heart rate"), "71")
	ada.run("const real = Date.now; Date.now = () => real() - 3600000")
	ada.shows(card("p-1", "Heart rate"), " old")
}

// A patient measures with a Bluetooth device, behind a button. The device is one in
// the page's memory that sends a recorded value: DevTools' BluetoothEmulation answers
// reads, writes and subscriptions, but cannot have an emulated device notify.
func TestBrowserMeasuresByBluetooth(t *testing.T) {
	b := openBrowser(t)
	s := openStage(t, "pat")
	pat := b.open("pat", s.server.URL+"/#token=pat")
	pat.shows(lineWord, "Live")
	pat.run(`
		const heart = Object.assign(new EventTarget(), {uuid: "00002a37-0000-1000-8000-00805f9b34fb", async startNotifications() {
			this.value = new DataView(Uint8Array.from([0x06, 72]).buffer); // a heart rate of 72, with contact to the skin
			setTimeout(() => this.dispatchEvent(new Event("characteristicvaluechanged")));
		}});
		const server = {getPrimaryServices: async () => [{getCharacteristics: async () => [heart]}]};
		Object.defineProperty(navigator, "bluetooth", {configurable: true, value: {requestDevice: async ({filters}) => {
			if (!filters.some((f) => f.services[0] === 0x180D)) throw new DOMException("none", "NotFoundError");
			return {id: "strap/1", gatt: {connect: async () => server, disconnect() {}}};
		}}})`)
	pat.draw()
	pat.click("#measure")
	pat.shows("#own dl", "72")
	events, _, err := s.hub.Latest(t.Context(), "pat")
	require.NoError(t, err)
	require.Len(t, events, 1)
	require.Equal(t, []string{"8867-4", "72", "strap-1"}, []string{events[0].Vital.Code, string(events[0].Vital.Value), events[0].Vital.Device})
	require.Empty(t, pat.said())
}
