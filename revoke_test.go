package carewire

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// all reads every frame until no more come, and the close code.
func (r *raw) all() (frames []object, code websocket.StatusCode) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	for {
		_, b, err := r.ws.Read(ctx)
		if err != nil {
			return frames, websocket.CloseStatus(err)
		}
		var o object
		require.NoError(r.t, json.Unmarshal(b, &o))
		frames = append(frames, o)
	}
}

// Replies and inbox pages that wait are not flushed to somebody revoked either.
func TestRevokePurgesRepliesToo(t *testing.T) {
	for _, patients := range [][]string{nil, {"p1"}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil, nil)
			defer w.close()
			for _, p := range []string{"p1", "p2"} {
				_, err := w.hub.Raise(t.Context(), Raise{Patient: p, Key: "k", Text: "secret-" + p, Priority: PriorityInfo})
				require.NoError(t, err)
			}
			nurse, doctor := w.dial("nurse"), w.dial("doctor")
			defer nurse.ws.CloseNow()
			defer doctor.ws.CloseNow()
			nurse.until("inbox")
			// The writer takes the first frames; all the rest waits.
			nurse.send(`{"type":"unwatch","req":"0","patients":["p3"]}`)
			synctest.Wait()
			nurse.send(`{"type":"history","req":"1","patient":"p1"}`)
			nurse.send(`{"type":"history","req":"2","patient":"p2"}`)
			nurse.send(`{"type":"raise","req":"3","event_id":"e","alert":{"patient":"p1","key":"n","text":"secret-p1","priority":"info"}}`)
			for _, p := range []string{"p1", "p2"} {
				_, err := w.hub.Notify(t.Context(), Notice{Patient: p, To: []string{"person:nurse"}, Text: "secret-" + p})
				require.NoError(t, err)
			}
			synctest.Wait()
			require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "nurse", Patients: patients}))
			synctest.Wait()
			frames, code := nurse.all()
			b, err := json.Marshal(frames)
			require.NoError(t, err)
			require.NotContains(t, string(b), "secret-p1")
			require.Equal(t, patients != nil, strings.Contains(string(b), "secret-p2"), "%s", b)
			if patients == nil {
				require.Equal(t, websocket.StatusCode(CloseForbidden), code)
				require.Len(t, frames, 1, "the frame that the writer had taken")
			} else {
				replies := map[any]any{}
				for _, f := range frames {
					if f["req"] != nil {
						replies[f["req"]] = f["code"]
					}
				}
				require.Equal(t, map[any]any{"0": nil, "1": "unknown", "2": nil, "3": "unknown"}, replies)
				require.Contains(t, string(b), "inbox", "with the notice of p2")
			}
			require.GreaterOrEqual(t, len(listAt(doctor.ask(`{"type":"history","req":"1","patient":"p1"}`), "events")), 2)
		})
	}
}

// A right that is taken while it is being decided does not count: nobody is
// authorised and revoked at once.
func TestNothingComesBetweenDecidedAndRevoked(t *testing.T) {
	for name, end := range map[string]func(w *world) error{
		"revocation": func(w *world) error {
			return w.hub.Revoke(context.Background(), Revocation{Principal: "nurse", Patients: []string{"p1"}})
		},
		"group": func(w *world) error { return w.hub.MembersChanged(context.Background(), "icu") },
	} {
		for _, request := range []string{`{"type":"watch","req":"1","patients":["p1","p2"]}`, `{"type":"history","req":"1","patient":"p1"}`} {
			t.Run(name+" "+request[9:14], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var w *world
					j := &judge{}
					w = newWorld(t, nil, &Options{Authorizer: j})
					defer w.close()
					doctorAnd := func(allow bool) func(a Access, patient string) (Decision, error) {
						return func(a Access, patient string) (Decision, error) {
							return Decision{Allow: allow || a.Principal.ID == "doctor" || patient != "p1"}, nil
						}
					}
					j.rule(doctorAnd(true))
					nurse, doctor := w.dial("nurse"), w.watching("doctor", "every")
					defer nurse.ws.CloseNow()
					defer doctor.ws.CloseNow()
					nurse.until("inbox")
					_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityInfo})
					require.NoError(t, err)
					once := false
					j.rule(func(a Access, patient string) (Decision, error) {
						if a.Principal.ID == "nurse" && !once { // it says yes, and before that is heard the answer is no
							once = true
							j.rule(doctorAnd(false))
							require.NoError(t, end(w))
						}
						return Decision{Allow: true}, nil
					})
					nurse.send(request)
					synctest.Wait()
					_, err = w.hub.Publish(t.Context(), HeartRate.Of("p1", 60))
					require.NoError(t, err)
					doctor.until("vital")
					frames, _ := nurse.all()
					seen := map[string]int{}
					for _, f := range frames {
						if f["patient"] == "p1" || f["code"] != nil {
							seen[f["type"].(string)]++
						}
						require.Nil(t, f["events"])
					}
					if strings.Contains(request, "watch") && name == "group" {
						require.Equal(t, map[string]int{"revoked": 1}, seen)
					} else if !strings.Contains(request, "watch") {
						require.Equal(t, map[string]int{"error": 1}, seen, "undecided: asked again, it is forbidden")
					} else {
						require.Empty(t, seen, "refused in the reply, or revoked")
					}
				})
			})
		}
	}
}

// A revocation by session ends only that session, which does not come back until its
// token has run out.
func TestRevokeASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		w.hub.auth = AuthenticatorFunc(func(r *http.Request) (Principal, error) {
			p := people["nurse"]
			p.Session = Token(r)
			return p, nil
		})
		one, two := w.watching("one", "latest"), w.watching("two", "latest")
		defer one.ws.CloseNow()
		defer two.ws.CloseNow()
		a, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityHigh})
		require.NoError(t, err)
		two.until("alert")
		_, err = w.hub.Answer(t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerAccept})
		require.NoError(t, err)
		require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "nurse", Session: "one", Until: time.Now().Add(time.Hour)}))
		_, code := one.all()
		require.Equal(t, websocket.StatusCode(CloseForbidden), code)
		_, err = w.tryDial("one")
		require.ErrorContains(t, err, "403")
		require.Equal(t, "forbidden", two.ask(`{"type":"token","req":"t","token":"one"}`)["code"])
		third := w.dial("three")
		third.ws.CloseNow()
		_, err = w.hub.Publish(t.Context(), HeartRate.Of("p1", 60))
		require.NoError(t, err)
		two.until("vital")
		a, err = w.hub.Alert(t.Context(), "p1", "k")
		require.NoError(t, err)
		require.Equal(t, ResponsibilityAccepted, a.Responsibility.State, "the person is still there")
		time.Sleep(time.Hour)
		again := w.dial("one")
		again.ws.CloseNow()
	})
}

// The team sees in the patient's log whose access has ended, and alerts that the
// revoked person had accepted are escalated again.
func TestRevocationIsAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		a, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityHigh})
		require.NoError(t, err)
		_, err = w.hub.Answer(t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerAccept})
		require.NoError(t, err)
		doctor, pat := w.watching("doctor", "latest"), w.watching("pat", "alerts")
		defer doctor.ws.CloseNow()
		defer pat.ws.CloseNow()
		until := time.Now().Add(time.Hour)
		require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "nurse", Session: "", Patients: []string{"p1"}, Until: until}))
		require.Equal(t, object{"kind": "revoked", "principal": "nurse", "until": until.UTC().Format("2006-01-02T15:04:05.000Z07:00")}, doctor.until("access")["access"])
		require.Equal(t, "gap", pat.read()["type"])
		require.Equal(t, "undefined", valueAt(doctor.until("alert"), "alert", "responsibility", "state"))
	})
}

// A client that has lost a patient while away gets nothing of the backlog when
// resuming.
func TestResumeIsAuthorised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &judge{decide: everyone}
		w := newWorld(t, nil, &Options{Authorizer: j})
		defer w.close()
		doctor := w.watching("doctor", "every")
		defer doctor.ws.CloseNow()
		nurse := w.watching("nurse", "every")
		_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 60))
		require.NoError(t, err)
		at := nurse.read()
		nurse.ws.CloseNow()
		j.rule(func(a Access, patient string) (Decision, error) {
			return Decision{Allow: a.Principal.ID == "doctor" || patient != "p1"}, nil
		})
		_, err = w.hub.Publish(t.Context(), HeartRate.Of("p1", 61))
		require.NoError(t, err)
		nurse = w.dial("nurse")
		defer nurse.ws.CloseNow()
		nurse.until("inbox")
		since, _ := json.Marshal(object{"p1": object{"epoch": at["epoch"], "seq": at["seq"]}})
		nurse.send(`{"type":"watch","req":"1","patients":["p1","p2"],"since":` + string(since) + `}`)
		frames, _ := nurse.all()
		require.Equal(t, []any{object{"patient": "p1", "code": "forbidden"}}, frames[0]["refused"])
		for _, f := range frames[1:] {
			require.Equal(t, "p2", f["patient"], "%v", f)
		}
		require.Len(t, frames, 3)
		require.Equal(t, 1, seqOf(doctor.until("vital")))
		require.Equal(t, 2, seqOf(doctor.until("vital")))
	})
}

// A Hub that has just begun lets nobody in before it knows the revocations and
// the open entries.
func TestNobodyComesInBeforeTheStoreIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityInfo, To: []string{"role:clinician"}})
		require.NoError(t, err)
		require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "nurse"}))
		w.close()
		s := &seam{Store: w.store}
		s.failing.Store(true)
		again := newWorld(t, s, nil)
		defer again.close()
		for _, token := range []string{"nurse", "doctor"} {
			_, err = again.tryDial(token)
			require.ErrorContains(t, err, "503")
		}
		time.AfterFunc(2*time.Second, func() { s.failing.Store(false) })
		doctor := again.dial("doctor")
		defer doctor.ws.CloseNow()
		require.Len(t, doctor.until("inbox")["items"], 1)
		_, err = again.tryDial("nurse")
		require.ErrorContains(t, err, "403")
	})
}

// Each revocation ends in its own time; of two of the same the newer one counts,
// a shorter one too.
func TestRevocationsOfOnePrincipal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		other := newWorld(t, w.store, nil)
		defer other.close()
		start := time.Now()
		for _, r := range []Revocation{{Patients: []string{"p1"}, Until: start.Add(time.Hour)}, {Until: start.Add(time.Minute)},
			{Patients: []string{"p2"}, Until: start.Add(10 * time.Minute)}, {Patients: []string{"p1"}, Until: start.Add(time.Minute)}} {
			r.Principal = "nurse"
			require.NoError(t, w.hub.Revoke(t.Context(), r))
		}
		nurse := new(people["nurse"])
		for _, c := range []struct {
			after time.Duration
			ends  map[string]bool
		}{
			{30 * time.Second, map[string]bool{"": true, "p1": true, "p2": true, "p3": true}},
			{2 * time.Minute, map[string]bool{"": false, "p1": false, "p2": true, "p3": false}},
			{11 * time.Minute, map[string]bool{"": false, "p1": false, "p2": false, "p3": false}},
		} {
			time.Sleep(time.Until(start.Add(c.after)))
			for patient, ended := range c.ends {
				for _, h := range []*Hub{w.hub, other.hub} {
					require.Equal(t, ended, h.access.revoked.covers(nurse, patient, h.now()), "%v %q", c.after, patient)
				}
			}
		}
	})
}

// Access that is taken on one node ends on all of them, within five seconds.
func TestRevocationReachesEveryNode(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(w *world, dir *wards) error
		code CloseCode
	}{
		"a principal": {func(w *world, _ *wards) error {
			return w.hub.Revoke(context.Background(), Revocation{Principal: "nurse"})
		}, CloseForbidden},
		"a patient": {func(w *world, _ *wards) error {
			return w.hub.Revoke(context.Background(), Revocation{Principal: "nurse", Patients: []string{"g1"}})
		}, 0},
		"a group's change": {func(w *world, dir *wards) error {
			dir.set("icu", "g2")
			return w.hub.MembersChanged(context.Background(), "icu")
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := &wards{list: map[string][]string{"icu": {"g1", "g2"}}}
				a := newWorld(t, nil, &Options{Directory: dir})
				t.Cleanup(a.close)
				b := newWorld(t, a.store, &Options{Directory: dir})
				t.Cleanup(b.close)
				nurse := join(t, dialler(b, b.net, nil)(), "nurse", masked(opText, `{"type":"watch","req":"1","patients":["g1"],"delivery":"every"}`))
				n := nurse.listen()
				time.Sleep(time.Second)
				require.NoError(t, c.end(a, dir))
				time.Sleep(5 * time.Second)
				before := n.count("vital")
				for range 20 {
					_, err := b.hub.Publish(t.Context(), HeartRate.Of("g1", 60))
					require.NoError(t, err)
					time.Sleep(time.Second)
				}
				require.Zero(t, n.count("vital")-before)
				require.Equal(t, c.code, n.closeCode())
				if c.code == 0 {
					require.Equal(t, 1, n.count("revoked"))
				}
			})
		})
	}
}

// An alert that is accepted on one node while access ends on another is nobody's
// either.
func TestAcceptedAsAccessEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newWorld(t, nil, nil)
		defer a.close()
		b := newWorld(t, a.store, nil)
		defer b.close()
		x, err := a.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityLow})
		require.NoError(t, err)
		time.Sleep(3200 * time.Millisecond)
		_, err = b.hub.Answer(t.Context(), people["nurse"], x.Ref(), Answer{Do: AnswerAccept})
		require.NoError(t, err)
		require.NoError(t, a.hub.Revoke(t.Context(), Revocation{Principal: "nurse"}))
		time.Sleep(5 * time.Second)
		x, err = a.hub.Alert(t.Context(), "p1", "k")
		require.NoError(t, err)
		require.Equal(t, ResponsibilityUndefined, x.Responsibility.State)
	})
}

// A revocation lasts by the Store's clock: a node whose own is ahead lets nobody
// in early.
func TestRevocationOfANodeWhoseClockIsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &clocked{Store: NewMemoryStore(nil)}
		store.ahead.Store(int64(-48 * time.Hour))
		w := newWorld(t, store, nil)
		defer w.close()
		time.Sleep(time.Second)
		require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "nurse"}))
		require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "doctor"}))
		time.Sleep(5 * time.Second)
		_, err := w.tryDial("nurse")
		require.ErrorContains(t, err, "403")
	})
}

// A late logout ends the sessions before it, on every node. It spares sessions,
// acceptances and emergencies since, and ends no other revocation.
func TestRevokeUntilATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newWorld(t, nil, nil)
		defer a.close()
		b := newWorld(t, a.store, nil)
		defer b.close()
		accept := func(key string) {
			x, err := a.hub.Raise(t.Context(), Raise{Patient: "p1", Key: key, Text: "x", Priority: PriorityLow})
			require.NoError(t, err)
			_, err = a.hub.Answer(t.Context(), people["nurse"], x.Ref(), Answer{Do: AnswerAccept})
			require.NoError(t, err)
		}
		nurse := new(people["nurse"])
		help := func(patient string) {
			require.NoError(t, a.hub.access.emergencies.begin(t.Context(), nurse, patient, "r", a.hub.now().Add(time.Hour)))
		}
		accept("old")
		help("p1")
		time.Sleep(time.Second)
		logout := a.hub.now()
		time.Sleep(time.Second)
		accept("new")
		help("p2")
		ends := func(issued time.Time) (list [2]bool) {
			for i, h := range []*Hub{a.hub, b.hub} {
				list[i] = h.access.revoked.covers(&Principal{ID: "nurse", Issued: issued}, "", h.now())
			}
			return list
		}
		late := Revocation{Principal: "nurse", Issued: logout}
		require.NoError(t, a.hub.Revoke(t.Context(), late))
		time.Sleep(5 * time.Second)
		require.Equal(t, [2]bool{true, true}, ends(logout))
		require.Equal(t, [2]bool{false, false}, ends(logout.Add(time.Millisecond)))
		for key, want := range map[string]ResponsibilityState{"old": ResponsibilityUndefined, "new": ResponsibilityAccepted} {
			x, err := b.hub.Alert(t.Context(), "p1", key)
			require.NoError(t, err)
			require.Equal(t, want, x.Responsibility.State, key)
		}
		require.Equal(t, []string{"p2"}, slices.Collect(maps.Keys(a.hub.access.emergencies.running("nurse", a.hub.now()))))

		require.NoError(t, b.hub.Revoke(t.Context(), Revocation{Principal: "nurse"}))
		now := b.hub.now()
		time.Sleep(5 * time.Second)
		require.NoError(t, a.hub.Revoke(t.Context(), late)) // sent again
		time.Sleep(5 * time.Second)
		require.Equal(t, [2]bool{true, true}, ends(now))
		require.NoError(t, a.hub.Restore(t.Context(), late))
		accept("suspended")
		help("p2")
		require.NoError(t, a.hub.Suspend(t.Context(), late)) // spares nothing
		time.Sleep(5 * time.Second)
		require.Equal(t, [2]bool{true, true}, ends(now.Add(time.Hour)))
		require.Empty(t, a.hub.access.emergencies.running("nurse", a.hub.now()))
		x, err := b.hub.Alert(t.Context(), "p1", "suspended")
		require.NoError(t, err)
		require.Equal(t, ResponsibilityUndefined, x.Responsibility.State)
	})
}

// urgents notes what was appended as urgent.
type urgents struct {
	Store
	mu   sync.Mutex
	keys []string
}

func (u *urgents) Append(ctx context.Context, list []Entry) ([]AppendResult, error) {
	u.mu.Lock()
	for i := range list {
		if list[i].Urgent {
			u.keys = append(u.keys, list[i].Patient+" "+strconv.Itoa(int(list[i].Kind)))
		}
	}
	u.mu.Unlock()
	return u.Store.Append(ctx, list)
}

// A revocation and a suspension have the last of a full Store's room, as high alerts
// have: they would be forgotten at a restart.
func TestRevocationsAreUrgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &urgents{Store: NewMemoryStore(nil)}
		w := newWorld(t, store, nil)
		defer w.close()
		require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "nurse"}))
		require.NoError(t, w.hub.Suspend(t.Context(), Revocation{Principal: "nurse", Patients: []string{"p1"}}))
		require.NoError(t, w.hub.MembersChanged(t.Context(), "ward"))
		synctest.Wait()
		own := SystemPatient + " " + strconv.Itoa(int(KindAccess))
		store.mu.Lock()
		defer store.mu.Unlock()
		require.Equal(t, []string{own, own}, store.keys)
	})
}
