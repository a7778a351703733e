package carewire

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// trail is an Auditor that keeps its records.
type trail struct {
	mu   sync.Mutex
	list []Record
	err  error
}

func (a *trail) Record(_ context.Context, r Record) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		a.list = append(a.list, r)
	}
	return a.err
}

func (a *trail) of(e AuditEvent) (list []Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.list {
		if r.Event == e {
			list = append(list, r)
		}
	}
	return list
}

// A host's own handler lets in the same people as the Hub.
func TestIdentify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		audit := &trail{}
		w := newWorld(t, nil, &Options{Hosts: []string{"ehr.test"}, Auditor: audit})
		defer w.close()
		request := func(host, token string, header ...string) *http.Request {
			r := httptest.NewRequest("GET", "http://"+host+"/x", nil)
			if token != "" {
				r.Header.Set("Authorization", "Bearer "+token)
			}
			for i := 0; i < len(header); i += 2 {
				r.Header.Set(header[i], header[i+1])
			}
			return r
		}
		for _, c := range []struct {
			name string
			r    *http.Request
			who  string
			err  error
		}{
			{"with a token", request("ehr.test", "nurse"), "nurse", nil},
			{"without one", request("ehr.test", ""), "", ErrUnauthenticated},
			{"under another host", request("other.test", "nurse"), "", ErrForbidden},
			{"from a foreign page", request("ehr.test", "nurse", "Origin", "https://evil.test"), "", ErrForbidden},
			{"with a ticket that was never given", request("ehr.test", "", "Sec-WebSocket-Protocol", "carewire.ticket.x"), "", ErrUnauthenticated},
		} {
			p, err := w.hub.Identify(c.r)
			assert.ErrorIs(t, err, c.err, c.name)
			assert.Equal(t, c.who, p.ID, c.name)
		}
		require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "nurse"}))
		_, err := w.hub.Identify(request("ehr.test", "nurse"))
		assert.ErrorIs(t, err, ErrForbidden, "revoked")
		synctest.Wait()
		assert.Len(t, audit.of(AuditRefusal), 5)
	})
}

// AsPrincipal stands in for the Authenticator, and for nothing else.
func TestAsPrincipal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		post := func(p Principal, body string) (int, string) {
			r := httptest.NewRequest("POST", "http://ehr.test/x", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			rec := httptest.NewRecorder()
			w.hub.ServeHTTP(rec, r.WithContext(AsPrincipal(t.Context(), p)))
			return rec.Code, rec.Body.String()
		}
		read := `{"type":"history","req":"1","patient":"p1"}`
		status, text := post(people["nurse"], read)
		assert.Equal(t, 200, status)
		assert.Contains(t, text, `"ok"`)
		_, text = post(people["viewer"], read)
		assert.Contains(t, text, `"forbidden"`)
		status, _ = post(Principal{ID: "x"}, read)
		assert.Equal(t, 401, status, "a principal that is none does not count")
		require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "nurse"}))
		status, _ = post(people["nurse"], read)
		assert.Equal(t, 403, status, "revoked")
	})
}

// yesUnless is an Authorizer with the default rules and one exception.
type yesUnless struct {
	hub    *Hub
	denied string
	err    error
}

func (y *yesUnless) Authorize(ctx context.Context, a Access) ([]Decision, error) {
	if y.err != nil {
		return nil, y.err
	}
	list, err := y.hub.DefaultDecision(ctx, a)
	for i, p := range a.Patients {
		list[i].Allow = list[i].Allow && p != y.denied
	}
	return list, err
}

// The Hub decides for its host as for its clients, and records a
// disclosure before it makes it.
func TestAuthorizeAndDisclose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		audit, rules := &trail{}, &yesUnless{}
		w := newWorld(t, nil, &Options{Authorizer: rules, Auditor: audit})
		defer w.close()
		rules.hub = w.hub
		nurse := people["nurse"]
		nurse.Patients = []string{"p1", "p2"}
		ask := Access{Principal: nurse, Action: ActionWatch, Patients: []string{"p2", "foreign", "p1"}}
		allowed := func() (list []bool) {
			ds, err := w.hub.Authorize(t.Context(), ask)
			require.NoError(t, err)
			for _, d := range ds {
				list = append(list, d.Allow)
			}
			return list
		}
		assert.Equal(t, []bool{true, false, true}, allowed())
		rules.denied = "p2"
		assert.Equal(t, []bool{false, false, true}, allowed())
		_, err := w.hub.Disclose(t.Context(), ask)
		assert.ErrorIs(t, err, ErrForbidden)
		ask.Patients = []string{"p1"}
		_, err = w.hub.Disclose(t.Context(), ask)
		assert.NoError(t, err)
		synctest.Wait()
		var seen []string
		for _, r := range audit.of(AuditWatch) {
			seen = append(seen, r.Who.ID+" "+r.Patient+" "+string(r.Outcome))
		}
		assert.ElementsMatch(t, []string{"nurse p2 refused", "nurse foreign refused", "nurse p1 refused", "nurse p1 done"}, seen)
		rules.err = errors.New("down")
		_, err = w.hub.Disclose(t.Context(), ask)
		assert.ErrorIs(t, err, ErrUndecided)
		rules.err = nil
		audit.mu.Lock()
		audit.err = errors.New("full")
		audit.mu.Unlock()
		_, err = w.hub.Disclose(t.Context(), ask)
		assert.ErrorIs(t, err, ErrUnavailable, "a disclosure that cannot be recorded does not happen")
		audit.mu.Lock()
		audit.err = nil
		audit.mu.Unlock()
		require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "nurse", Patients: []string{"p1"}}))
		assert.Equal(t, []bool{false}, allowed())
	})
}

// Sees follows the rule of the audience, as reads of the log do.
func TestSees(t *testing.T) {
	vital := HeartRate.Of("p1", 70)
	alert := func(a Audience, to ...string) Event {
		return Event{Type: EventAlert, Patient: "p1", Alert: &Alert{Patient: "p1", Audience: a, To: to}}
	}
	notice := func(from string, to ...string) Event {
		return Event{Type: EventNotice, Patient: "p1", Notice: &Notice{Patient: "p1", From: from, Audience: AudienceNamed, To: to}}
	}
	told := alert(AudienceNamed)
	told.Alert.Escalation.recipients = []string{"person:nurse"}
	for _, c := range []struct {
		who  string
		ev   Event
		sees bool
	}{
		{"pat", Event{Type: EventVital, Patient: "p1", Vital: &vital}, true},
		{"pat", alert(AudienceStaff), false}, {"nurse", alert(AudienceStaff), true}, {"pat", alert(AudienceAll), true},
		{"pat", alert(AudienceStaff, "patient"), true}, {"nurse", alert(AudienceNamed, "person:other"), false},
		{"nurse", alert(AudienceNamed, "role:clinician"), true}, {"nurse", told, true},
		{"pat", notice("nurse", "patient"), true}, {"nurse", notice("nurse", "patient"), true}, {"viewer", notice("nurse", "patient"), false},
		{"pat", Event{Type: EventReceipt, Patient: "p1", Receipt: &Receipt{}}, false},
	} {
		assert.Equal(t, c.sees, people[c.who].Sees(c.ev), "%s %v", c.who, c.ev.Type)
	}
}

type fixedWards map[string][]string

func (w fixedWards) Patients(_ context.Context, group string) ([]string, error) {
	list, ok := w[group]
	if !ok {
		return nil, errors.New("down")
	}
	return list, nil
}

// Open entries come in pages, of all patients or of some.
func TestOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{Directory: fixedWards{"ward": {"p1", "p3"}}})
		defer w.close()
		for _, p := range []string{"p2", "p1", "p3"} {
			for _, key := range []string{"b", "a"} {
				_, err := w.hub.Raise(t.Context(), Raise{Patient: p, Key: key, Text: "x", Priority: PriorityInfo})
				require.NoError(t, err)
			}
		}
		_, err := w.hub.Notify(t.Context(), Notice{Patient: "p2", ID: "n", Text: "x", To: []string{"patient"}})
		require.NoError(t, err)
		_, err = w.hub.Clear(t.Context(), AlertRef{Patient: "p3", Key: "a"})
		require.NoError(t, err)
		names := func(q OpenQuery) (list []string) {
			for {
				items, next, err := w.hub.Open(t.Context(), q)
				require.NoError(t, err)
				assert.LessOrEqual(t, len(items), 2)
				for _, it := range items {
					if it.Notice != nil {
						list = append(list, it.Notice.Patient+"/"+it.Notice.ID)
					} else {
						list = append(list, it.Alert.Patient+"/"+it.Alert.Key)
					}
				}
				if q.After = next; next == "" {
					return list
				}
			}
		}
		assert.Equal(t, []string{"p1/a", "p1/b", "p2/a", "p2/b", "p2/n", "p3/b"}, names(OpenQuery{Limit: 2}))
		assert.Equal(t, []string{"p2/a", "p2/b", "p2/n"}, names(OpenQuery{Patients: []string{"p2"}, Limit: 2}))
		assert.Equal(t, []string{"p1/a", "p1/b", "p3/b"}, names(OpenQuery{Group: "ward", Limit: 2}))
		assert.Equal(t, []string{"p3/b"}, names(OpenQuery{Group: "ward", Patients: []string{"p2", "p3"}, Limit: 2}))
		assert.Empty(t, names(OpenQuery{Patients: []string{}, Limit: 2}))
		_, _, err = w.hub.Open(t.Context(), OpenQuery{Group: "unknown"})
		assert.ErrorIs(t, err, ErrUndecided)
		var invalid *ValidationError
		_, _, err = w.hub.Open(t.Context(), OpenQuery{Patients: []string{"p 1"}})
		assert.ErrorAs(t, err, &invalid)
		_, _, err = w.hub.Open(t.Context(), OpenQuery{Limit: -1})
		assert.ErrorAs(t, err, &invalid)
	})
}

// Latest shows the first events of a watcher.
func TestLatestIsTyped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		for i, hr := range []float64{70, 71} {
			v := HeartRate.Of("p1", hr)
			v.Time = time.Now().Add(time.Duration(i) * time.Second)
			_, err := w.hub.Publish(t.Context(), v, SpO2.Of("p1", 97))
			require.NoError(t, err)
		}
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityInfo})
		require.NoError(t, err)
		events, head, err := w.hub.Latest(t.Context(), "p1")
		require.NoError(t, err)
		require.Len(t, events, 3)
		assert.EqualValues(t, "71", events[0].Vital.Value)
		assert.Equal(t, SpO2.Code, events[1].Vital.Code)
		assert.Equal(t, "k", events[2].Alert.Key)
		assert.Equal(t, events[2].Position, head.Position)
		assert.Equal(t, "p1", head.Patient)
		events, head, err = w.hub.Latest(t.Context(), "nobody")
		assert.NoError(t, err)
		assert.Empty(t, events)
		assert.Zero(t, head.Seq)
		_, _, err = w.hub.Latest(t.Context(), "no body")
		assert.Error(t, err)
	})
}

// leaving is an Auditor in whose first call the caller goes.
type leaving struct{ leave context.CancelFunc }

func (l *leaving) Record(ctx context.Context, _ Record) error {
	if leave := l.leave; leave != nil {
		l.leave = nil
		leave()
		<-ctx.Done()
	}
	return ctx.Err()
}

// A caller who has gone is no fault of the Auditor: others go on reading.
func TestCallerWhoHasGoneIsNoFaultOfTheAuditor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone, cancel := context.WithCancel(t.Context())
		w := newWorld(t, nil, &Options{Auditor: &leaving{cancel}})
		defer w.close()
		ask := Access{Principal: Principal{ID: "nurse", Role: RoleClinician, Patients: []string{"p1"}}, Action: ActionHistory, Patients: []string{"p1"}}
		_, err := w.hub.Disclose(gone, ask)
		require.Error(t, err)
		_, err = w.hub.Disclose(t.Context(), ask)
		require.NoError(t, err)
	})
}
