package carewire

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// Each role's rights for a patient that it lists, and for one that it does not.
func TestDefaultRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		requests := map[Action]string{
			ActionWatch:   `{"type":"watch","req":"1","patients":["P"]}`,
			ActionHistory: `{"type":"history","req":"1","patient":"P"}`,
			ActionPublish: `{"type":"publish","req":"1","vitals":[{"patient":"P","code":"8867-4","value":72,"unit":"/min"}]}`,
			ActionTest:    `{"type":"publish","req":"1","vitals":[{"patient":"P","code":"8867-4","value":72,"unit":"/min","test":true}]}`,
			ActionRaise:   `{"type":"raise","req":"1","event_id":"e","alert":{"patient":"P","key":"K","text":"x","priority":"low"}}`,
			ActionAnswer:  `{"type":"answer","req":"1","patient":"P","key":"k","alert_id":"a","event_id":"e2","do":"accept"}`,
			ActionClose:   `{"type":"answer","req":"1","patient":"P","key":"k","alert_id":"a","event_id":"e3","do":"close","force":true,"reason":"x"}`,
			ActionClear:   `{"type":"clear","req":"1","patient":"P","key":"k","alert_id":"a","event_id":"e4"}`,
			ActionNotify:  `{"type":"notify","req":"1","notice":{"patient":"P","notice_id":"N","to":["patient"],"text":"x"}}`,
		}
		may := map[string][]Action{
			"device":  {ActionPublish, ActionTest, ActionRaise},
			"pat":     {ActionWatch, ActionHistory, ActionPublish, ActionRaise, ActionNotify},
			"nurse":   {ActionWatch, ActionHistory, ActionRaise, ActionAnswer, ActionClose, ActionNotify},
			"viewer":  {ActionWatch},
			"service": {ActionWatch, ActionHistory, ActionPublish, ActionTest, ActionRaise, ActionClear, ActionNotify},
			"nobody":  nil,
		}
		for token, actions := range may {
			for action, text := range requests {
				for _, patient := range []string{"p1", "foreign"} {
					a, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityLow})
					require.NoError(t, err)
					r := w.dial(token)
					reply := r.ask(replace(text, "P", patient, "K", token, "N", token+string(action), "a", a.ID, "e2", "2"+a.ID, "e3", "3"+a.ID, "e4", "4"+a.ID))
					code := reply["code"]
					if results, ok := reply["results"].([]any); ok && valueAt(results, 0, "error") != nil {
						code = valueAt(results, 0, "error", "code")
					}
					if refused, ok := reply["refused"].([]any); ok && len(refused) > 0 {
						code = valueAt(refused, 0, "code")
					}
					allowed := false
					for _, a := range actions {
						allowed = allowed || a == action && patient == "p1"
					}
					if allowed {
						require.Nil(t, code, "%s %s %s: %v", token, action, patient, reply)
					} else {
						require.Equal(t, "forbidden", code, "%s %s %s: %v", token, action, patient, reply)
					}
					r.ws.CloseNow()
					w.hub.Answer(t.Context(), people["nurse"], AlertRef{Patient: "p1", Key: "k"}, Answer{Do: AnswerClose, Force: true, Reason: "x"})
				}
			}
		}
	})
}

func replace(text string, pairs ...string) string {
	for i := 0; i < len(pairs); i += 2 {
		text = strings.ReplaceAll(text, `"`+pairs[i]+`"`, `"`+pairs[i+1]+`"`)
	}
	return text
}

// An unknown alert and one that is forbidden look the same.
func TestForbiddenLooksLikeUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p9", Key: "k", ID: "a", Text: "x", Priority: PriorityLow})
		require.NoError(t, err)
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		answer := `{"type":"answer","req":"1","patient":"PAT","key":"KEY","alert_id":"a","event_id":"e","do":"accept"}`
		receipt := `{"type":"receipt","req":"1","patient":"PAT","key":"KEY","alert_id":"a","stage":"read"}`
		for _, text := range []string{answer, receipt} {
			foreign := nurse.ask(replace(text, "PAT", "p9", "KEY", "k"))
			require.Equal(t, "forbidden", foreign["code"])
			require.Equal(t, foreign, nurse.ask(replace(text, "PAT", "p9", "KEY", "other")))
			require.Equal(t, foreign, nurse.ask(replace(text, "PAT", "nowhere", "KEY", "k")))
			require.Equal(t, foreign, nurse.ask(replace(text, "PAT", "p1", "KEY", "k")))
		}
	})
}

// wards is a Directory.
type wards struct {
	mu   sync.Mutex
	list map[string][]string
	err  error
}

func (w *wards) Patients(_ context.Context, group string) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.list[group], w.err
}

func (w *wards) set(group string, patients ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list[group] = patients
}

func TestGroupsGrantAndRevokeLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := &wards{list: map[string][]string{"icu": {"g1", "g2"}}}
		w := newWorld(t, nil, &Options{Directory: dir})
		defer w.close()
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		ok := nurse.ask(`{"type":"watch","req":"1","groups":["icu","other"]}`)
		require.Equal(t, []any{"g1", "g2"}, ok["watching"])
		require.Equal(t, []any{object{"group": "other", "code": "forbidden"}}, ok["refused"])
		nurse.until("synced")
		nurse.until("synced")
		dir.set("icu", "g2", "g3")
		require.NoError(t, w.hub.MembersChanged(t.Context(), "icu"))
		require.Equal(t, object{"type": "revoked", "patient": "g1"}, nurse.read())
		require.Equal(t, object{"type": "granted", "patient": "g3"}, nurse.read())
		require.Equal(t, "sync", nurse.read()["type"])
		require.Equal(t, "synced", nurse.read()["type"])
		for _, p := range []string{"g1", "g2", "g3"} {
			_, err := w.hub.Publish(t.Context(), HeartRate.Of(p, 60))
			require.NoError(t, err)
		}
		got := map[any]bool{nurse.read()["patient"]: true, nurse.read()["patient"]: true}
		require.Equal(t, map[any]bool{"g2": true, "g3": true}, got)
		require.Equal(t, "forbidden", nurse.ask(`{"type":"history","req":"2","patient":"g1"}`)["code"])
		// A Directory that fails decides nothing.
		dir.mu.Lock()
		dir.err = errors.New("down")
		dir.mu.Unlock()
		require.ErrorIs(t, w.hub.MembersChanged(t.Context(), "icu"), ErrUndecided)
		require.Equal(t, "undecided", nurse.ask(`{"type":"history","req":"3","patient":"g2"}`)["code"])
	})
}

// An event that waits for a principal whose access ends is not delivered.
func TestRevokePurgesTheQueue(t *testing.T) {
	for _, patients := range [][]string{nil, {"p1"}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil, nil)
			defer w.close()
			nurse, doctor := w.watching("nurse", "every"), w.watching("doctor", "every")
			defer nurse.ws.CloseNow()
			defer doctor.ws.CloseNow()
			for range 10 {
				_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 60))
				require.NoError(t, err)
				doctor.read()
				synctest.Wait() // the first is being written to the nurse, the others wait
			}
			require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "nurse", Patients: patients, Until: time.Now().Add(time.Minute)}))
			require.Equal(t, 1, seqOf(nurse.read()))
			if patients != nil {
				require.Equal(t, object{"type": "revoked", "patient": "p1"}, nurse.read())
				nurse.send(`{"type":"watch","req":"2","patients":["p1","p2"]}`)
				require.Equal(t, []any{"p2"}, nurse.read()["watching"], "and nothing of p1 before it")
				_, err := w.hub.Answer(t.Context(), people["nurse"], AlertRef{Patient: "p1", Key: "k"}, Answer{Do: AnswerAccept})
				require.ErrorIs(t, err, ErrForbidden)
			} else {
				_, _, err := nurse.ws.Read(context.Background())
				require.Equal(t, websocket.StatusCode(CloseForbidden), websocket.CloseStatus(err))
				_, err = w.tryDial("nurse")
				require.ErrorContains(t, err, "403")
			}
			// Everybody else is as before; another Hub on the store knows it, too.
			_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 61))
			require.NoError(t, err)
			require.Equal(t, 11, seqOf(doctor.read()))
			other := newWorld(t, w.store, nil)
			defer other.close()
			time.Sleep(2 * time.Second)
			require.True(t, other.hub.access.revoked.covers(&Principal{ID: "nurse"}, "p1", time.Now()))
			require.False(t, other.hub.access.revoked.covers(&Principal{ID: "doctor"}, "p1", time.Now()))
			// It ends when the old tokens have run out.
			time.Sleep(2 * time.Minute)
			r, err := w.tryDial("nurse")
			require.NoError(t, err)
			r.ws.CloseNow()
		})
	}
}

// leases are principals whose tokens end.
func leases(r *http.Request) (Principal, error) {
	token := Token(r)
	p, ok := people[token[:len(token)-1]]
	if !ok {
		return p, ErrUnauthenticated
	}
	p.Expires = time.Now().Add(time.Minute * time.Duration(token[len(token)-1]-'0'))
	return p, nil
}

func TestTokensExpireAndAreRenewed(t *testing.T) {
	for _, c := range []struct {
		name, renew, reply string
		after              time.Duration
		code               CloseCode
	}{
		{"not renewed", "", "", time.Minute, CloseUnauthorized},
		{"renewed", "nurse3", "ok", 3*time.Minute + 30*time.Second, CloseUnauthorized},
		{"another's token", "doctor3", "", 30 * time.Second, ClosePolicy},
		{"a bad token", "thief3", "error", time.Minute, CloseUnauthorized},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, nil)
				defer w.close()
				w.hub.auth = AuthenticatorFunc(leases)
				start := time.Now()
				nurse := w.watching("nurse1", "latest")
				defer nurse.ws.CloseNow()
				if c.renew != "" {
					time.AfterFunc(30*time.Second, func() {
						nurse.ws.Write(context.Background(), websocket.MessageText, []byte(`{"type":"token","req":"t","token":"`+c.renew+`"}`))
					})
				}
				var err error
				reply := ""
				for err == nil {
					var b []byte
					var o object
					if _, b, err = nurse.ws.Read(context.Background()); err == nil && json.Unmarshal(b, &o) == nil && o["req"] == "t" {
						reply = o["type"].(string)
					}
				}
				require.Equal(t, c.reply, reply)
				require.Equal(t, websocket.StatusCode(c.code), websocket.CloseStatus(err))
				require.Equal(t, c.after, time.Since(start).Round(time.Second))
			})
		})
	}
}

func TestAuthorizerDecides(t *testing.T) {
	for name, c := range map[string]struct {
		authorize authorizer
		code      string
	}{
		"allows": {func(_ context.Context, a Access) ([]Decision, error) {
			return []Decision{{Allow: a.Patients[0] == "zz" && a.Action == ActionWatch && a.Principal.ID == "nobody"}}, nil
		}, ""},
		"denies":            {func(context.Context, Access) ([]Decision, error) { return []Decision{{}}, nil }, "forbidden"},
		"allowed until now": {func(context.Context, Access) ([]Decision, error) { return []Decision{{true, time.Now()}}, nil }, "forbidden"},
		"fails":             {func(context.Context, Access) ([]Decision, error) { return nil, errors.New("down") }, "undecided"},
		"too few":           {func(context.Context, Access) ([]Decision, error) { return nil, nil }, "undecided"},
		"panics":            {func(context.Context, Access) ([]Decision, error) { panic("x") }, "undecided"},
		"hangs":             {func(ctx context.Context, _ Access) ([]Decision, error) { <-ctx.Done(); return nil, ctx.Err() }, "undecided"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, &Options{Authorizer: c.authorize})
				defer w.close()
				r := w.dial("nobody")
				defer r.ws.CloseNow()
				reply := r.ask(`{"type":"watch","req":"1","patients":["zz"]}`)
				if c.code == "" {
					require.Equal(t, []any{"zz"}, reply["watching"])
				} else {
					require.Equal(t, []any{object{"patient": "zz", "code": c.code}}, reply["refused"])
				}
			})
		})
	}
}

// A gateway that knows beds has the patient named by the host.
func TestResolveNamesThePatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{Resolve: func(_ context.Context, _ Principal, v *Vital) error {
			if v.Device != "bed-7" {
				return ErrNotFound
			}
			v.Patient = "p2"
			return nil
		}})
		defer w.close()
		device := w.dial("device")
		defer device.ws.CloseNow()
		results := listAt(device.ask(`{"type":"publish","req":"1","vitals":[{"device":"bed-7","code":"8867-4","value":72,"unit":"/min"},{"device":"bed-8","code":"8867-4","value":72,"unit":"/min"}]}`), "results")
		require.EqualValues(t, 1, valueAt(results, 0, "seq"))
		require.Equal(t, "forbidden", valueAt(results, 1, "error", "code"))
		_, err := w.store.Get(t.Context(), "p2", "v/ 8867-4 bed-7 ")
		require.NoError(t, err)
	})
}

// In process, the host watches any patient.
func TestHostWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		got := make(chan Event, 100)
		ended := make(chan error, 1)
		go func() {
			for e, err := range w.hub.Watch(ctx, WatchOptions{Patients: []string{"p1", SystemPatient}, Delivery: DeliverEvery}) {
				if err != nil {
					ended <- err
					return
				}
				got <- e
			}
		}()
		synctest.Wait()
		for range 4 {
			<-got // sync and synced
		}
		for i := range 50 {
			_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", float64(50+i)))
			require.NoError(t, err)
		}
		_, err := w.hub.Raise(t.Context(), Raise{Patient: SystemPatient, Key: "gateway", Text: "x", Priority: PriorityInfo})
		require.NoError(t, err)
		next := 50
		for range 51 {
			if e := <-got; e.Type == EventVital {
				require.Equal(t, DecimalOf(float64(next)), e.Vital.Value)
				next++
			}
		}
		require.Equal(t, 100, next)
		w.close()
		require.ErrorIs(t, <-ended, ErrClosed)
		_, err = w.hub.Publish(t.Context(), HeartRate.Of("p1", 50))
		require.ErrorIs(t, err, ErrClosed)
	})
}

// At Shutdown everybody is told to come back, and accepted events are stored.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		nurse := w.watching("nurse", "latest")
		defer nurse.ws.CloseNow()
		codes := make(chan websocket.StatusCode, 1)
		go func() {
			for {
				if _, _, err := nurse.ws.Read(context.Background()); err != nil {
					codes <- websocket.CloseStatus(err)
					return
				}
			}
		}()
		w.close()
		require.Equal(t, websocket.StatusServiceRestart, <-codes)
		require.ErrorIs(t, w.hub.Ready(), ErrClosed)
		require.NoError(t, w.hub.Shutdown(t.Context()), "again")
	})
}

// A client that does not close holds nobody up longer than the context.
func TestShutdownWithStuckClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.srv.Close()
		for range 5 {
			r := w.watching("nurse", "latest")
			defer r.conn.Close()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		w.hub.Shutdown(ctx)
		require.LessOrEqual(t, time.Since(start), 4*time.Second)
		synctest.Wait()
		require.Zero(t, w.hub.Stats().Connections)
	})
}

// A token's scopes restrict the role's rights, and those that an Authorizer grants.
func TestActionsNarrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		everything := authorizer(func(context.Context, Access) ([]Decision, error) { return []Decision{{Allow: true}}, nil })
		for name, o := range map[string]*Options{"default rules": nil, "an Authorizer": {Authorizer: everything}} {
			w := newWorld(t, nil, o)
			p := Principal{ID: "n", Role: RoleClinician, Patients: []string{"p1"}}
			for _, x := range []struct {
				actions       []Action
				watch, answer bool
			}{{nil, true, true}, {[]Action{}, false, false}, {[]Action{ActionWatch}, true, false}, {[]Action{ActionAnswer}, false, true}} {
				p.Actions = x.actions
				require.Equal(t, x.watch, w.hub.access.decide(t.Context(), &p, ActionWatch, []string{"p1"})["p1"] == nil, name)
				require.Equal(t, x.answer, w.hub.access.decide(t.Context(), &p, ActionAnswer, []string{"p1"})["p1"] == nil, name)
			}
			w.close()
		}
	})
}

// A request that the host cannot resolve now is undecided and is tried again; one
// whose device the host does not know is refused. This holds for vitals and for
// every action on alerts.
func TestResolveFails(t *testing.T) {
	for name, c := range map[string]struct {
		err     error
		code    string
		counted bool
	}{
		"cannot say":  {errors.New("canary"), "undecided", true},
		"panics":      {nil, "undecided", true},
		"no such bed": {ErrNotFound, "forbidden", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var good atomic.Bool
				name := func(patient *string) error {
					if !good.Load() {
						if c.err == nil {
							panic("canary")
						}
						return c.err
					}
					*patient = "p1"
					return nil
				}
				book := &logbook{}
				w := newWorld(t, nil, &Options{Logger: book.logger(), Resolve: func(_ context.Context, _ Principal, v *Vital) error { return name(&v.Patient) },
					ResolveAlert: func(_ context.Context, _ Principal, ref *AlertRef) error { return name(&ref.Patient) }})
				defer w.close()
				device, nurse := w.dial("device"), w.dial("nurse")
				defer device.ws.CloseNow()
				defer nurse.ws.CloseNow()
				results := func() object {
					reply := device.ask(`{"type":"publish","req":"1","vitals":[{"device":"bed-7","vital_id":"v","code":"8867-4","value":72,"unit":"/min"}]}`)
					return objectAt(reply, "results", 0)
				}
				raise := `{"type":"raise","req":"2","event_id":"e","alert":{"patient":"bed-7","key":"k","text":"x","priority":"high"}}`
				clear := `{"type":"clear","req":"3","event_id":"c","patient":"bed-7","key":"k","alert_id":"e"}`
				answer := `{"type":"answer","req":"4","event_id":"a","patient":"bed-7","key":"k","alert_id":"e","do":"accept"}`
				require.Equal(t, c.code, valueAt(results(), "error", "code"))
				for _, reply := range []object{device.ask(raise), nurse.ask(answer), device.ask(clear)} {
					require.Equal(t, c.code, reply["code"])
					require.Equal(t, map[bool]string{true: "later", false: "never"}[c.counted], reply["retry"])
				}
				require.Equal(t, map[bool]uint64{true: 4}[c.counted], w.hub.Stats().Unresolved)
				require.Equal(t, map[bool]int{true: 4}[c.counted], strings.Count(book.String(), "could not be resolved"))
				require.NotContains(t, book.String(), "canary")
				good.Store(true)
				require.EqualValues(t, 1, results()["seq"])
				for _, reply := range []object{device.ask(raise), nurse.ask(answer), device.ask(clear)} {
					require.Equal(t, "p1", valueAt(reply, "alert", "patient"))
				}
			})
		})
	}
}
