package carewire

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// inShift runs f with a Hub, a nurse who has accepted an alert, and a doctor who
// is known.
func inShift(t *testing.T, o *Options, f func(w *world, p *pager, a Alert, start time.Time)) {
	synctest.Test(t, func(t *testing.T) {
		p := &pager{deaf: make(map[string]bool)}
		o.Policy, o.Pager = threeSteps, p
		w := newWorld(t, nil, o)
		defer w.close()
		w.dial("doctor").ws.CloseNow()
		start := time.Now()
		a, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		synctest.Wait()
		a, err = w.hub.Answer(t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerAccept})
		require.NoError(t, err)
		require.Equal(t, []string{"0s person:nurse"}, p.told(start))
		f(w, p, a, start)
	})
}

// A colleague's alert is taken over by force, for a reason; both see it.
func TestTakeOver(t *testing.T) {
	n := &notary{}
	inShift(t, &Options{Auditor: n}, func(w *world, p *pager, a Alert, start time.Time) {
		t := w.t
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		nurse.until("inbox")
		_, err := w.hub.Answer(t.Context(), people["doctor"], a.Ref(), Answer{Do: AnswerAccept})
		require.ErrorIs(t, err, ErrConflict)
		_, err = w.hub.Answer(t.Context(), people["doctor"], a.Ref(), Answer{Do: AnswerAccept, Force: true})
		require.Error(t, err, "a reason is required")
		a, err = w.hub.Answer(t.Context(), people["doctor"], a.Ref(), Answer{Do: AnswerAccept, Force: true, Reason: "she is in theatre"})
		require.NoError(t, err)
		require.Equal(t, "doctor", a.Responsibility.By.ID)
		seen := objectAt(nurse.until("inbox"), "items", 0, "alert")
		require.Equal(t, "doctor", valueAt(seen, "responsibility", "by", "id"))
		require.Equal(t, "she is in theatre", valueAt(seen, "answers", 1, "reason"))
		synctest.Wait()
		require.Contains(t, fmt.Sprint(n.lines()), "answer done who=doctor")
	})
}

// An acceptance holds no longer than the host allows for its priority.
func TestHoldsAreCapped(t *testing.T) {
	for _, c := range []struct {
		holds Holds
		asked time.Duration
		want  time.Duration
	}{
		{Holds{}, 0, 30 * time.Minute},
		{Holds{}, 5 * time.Hour, time.Hour},
		{Holds{High: 10 * time.Minute}, 0, 10 * time.Minute},
		{Holds{High: -1}, 5 * time.Hour, 5 * time.Hour},
	} {
		inShift(t, &Options{MaxHold: c.holds}, func(w *world, _ *pager, a Alert, _ time.Time) {
			a, err := w.hub.Answer(w.t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerAccept, For: c.asked})
			require.NoError(w.t, err)
			require.Equal(w.t, c.want, a.Responsibility.Until.Sub(a.Responsibility.At))
		})
	}
}

// An alert that is handed over stays with the giver until somebody to whom it
// was offered accepts, for a bounded time.
func TestHandover(t *testing.T) {
	doctor := people["doctor"]
	for _, c := range []struct {
		name   string
		do     func(w *world, ref AlertRef) error // a minute later
		holder string                             // then
		pages  []string                           // within twelve minutes
	}{
		{"accepted", func(w *world, ref AlertRef) error {
			_, err := w.hub.Answer(context.Background(), doctor, ref, Answer{Do: AnswerAccept})
			return err
		}, "doctor", []string{"0s person:doctor", "1m0s person:doctor"}},
		{"rejected", func(w *world, ref AlertRef) error {
			_, err := w.hub.Answer(context.Background(), doctor, ref, Answer{Do: AnswerReject})
			return err
		}, "nurse", []string{"0s person:doctor", "1m0s person:doctor", "10m0s person:nurse", "10m30s person:doctor", "11m30s group:icu"}},
		{"somebody else accepts", func(w *world, ref AlertRef) error {
			_, err := w.hub.Answer(context.Background(), Principal{ID: "else", Role: RoleClinician, Patients: []string{"p1"}}, ref, Answer{Do: AnswerAccept})
			if !errors.Is(err, ErrConflict) {
				return errors.New("it was not offered to them")
			}
			return nil
		}, "nurse", nil},
		{"given back", func(w *world, ref AlertRef) error {
			_, err := w.hub.Answer(context.Background(), people["nurse"], ref, Answer{Do: AnswerRelease})
			return err
		}, "", nil},
		{"nothing", func(*world, AlertRef) error { return nil }, "nurse", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			inShift(t, &Options{}, func(w *world, p *pager, a Alert, start time.Time) {
				t := w.t
				handed, err := w.hub.Handover(t.Context(), people["nurse"], "person:doctor", "night shift")
				require.NoError(t, err)
				require.Len(t, handed, 1)
				require.Equal(t, "person:doctor", handed[0].Responsibility.To)
				require.Equal(t, "nurse", handed[0].Responsibility.By.ID)
				time.Sleep(61 * time.Second)
				require.NoError(t, c.do(w, a.Ref()))
				now, err := w.hub.Alert(t.Context(), "p1", "k")
				require.NoError(t, err)
				require.Equal(t, c.holder, now.Responsibility.By.ID)
				time.Sleep(11 * time.Minute)
				if c.pages != nil {
					require.Equal(t, c.pages, p.told(start))
				} else {
					require.Contains(t, p.told(start), "0s person:doctor")
				}
				now, err = w.hub.Alert(t.Context(), "p1", "k")
				require.NoError(t, err)
				require.Equal(t, c.holder == "doctor", now.Responsibility.State == ResponsibilityAccepted, "the giver's time is over")
			})
		})
	}
}

// An alert goes only to somebody who may answer for the patient.
func TestAlertsAreGivenToThoseWhoMayAnswer(t *testing.T) {
	for _, o := range []*Options{
		{},
		{Directory: directoryFunc(func(_ context.Context, group string) ([]string, error) {
			return map[string][]string{"icu": {"p1"}}[group], nil
		})},
		{Person: func(_ context.Context, id string) (Principal, error) {
			if id == "slow" {
				return Principal{}, errors.New("down")
			}
			p := people[id]
			p.ID, p.Role = id, RoleClinician
			return p, nil
		}},
	} {
		inShift(t, o, func(w *world, p *pager, a Alert, start time.Time) {
			for to, want := range map[string]error{
				"person:doctor": nil, "person:stranger": ErrRefused, "role:viewer": ErrRefused, "role:clinician": nil,
				"group:icu": nil, "group:other": ErrRefused,
				"person:slow": map[bool]error{true: ErrUndecided, false: ErrRefused}[o.Person != nil],
			} {
				_, err := w.hub.Answer(w.t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerAssign, To: to})
				require.ErrorIs(w.t, err, want, to)
				_, err = w.hub.Answer(w.t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerAccept})
				require.NoError(w.t, err)
			}
		})
	}
}

// An alert is given to a group only if one of its members may answer: the
// Authorizer is asked, as for a person.
func TestAlertsAreGivenToGroupsThatMayAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		rule func(Access) (Decision, error)
		want map[string]error // by group
	}{
		"by the group": {func(a Access) (Decision, error) {
			return Decision{Allow: slices.Contains(a.Principal.Groups, "icu")}, nil
		}, map[string]error{"icu": nil, "er": ErrRefused}},
		"by the person": {func(a Access) (Decision, error) { return Decision{Allow: people[a.Principal.ID].ID != ""}, nil }, map[string]error{"icu": nil, "er": ErrRefused}},
		"no answers": {func(a Access) (Decision, error) {
			return Decision{Allow: a.Principal.ID == "nurse" || a.Action != ActionAnswer}, nil
		}, map[string]error{"icu": nil, "er": ErrRefused}},
		"undecided": {func(a Access) (Decision, error) {
			if a.Principal.ID != "nurse" {
				return Decision{}, errNoIdea
			}
			return Decision{Allow: true}, nil
		}, map[string]error{"icu": nil, "er": ErrUndecided}},
	} {
		t.Run(name, func(t *testing.T) {
			j := &judge{decide: everyone}
			inShift(t, &Options{Authorizer: j}, func(w *world, _ *pager, a Alert, _ time.Time) {
				j.rule(func(a Access, _ string) (Decision, error) { return c.rule(a) })
				for group, want := range c.want {
					for _, do := range []AnswerVerb{AnswerHandover, AnswerAssign} {
						_, err := w.hub.Answer(w.t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerAccept})
						require.NoError(w.t, err)
						_, err = w.hub.Answer(w.t.Context(), people["nurse"], a.Ref(), Answer{Do: do, To: "group:" + group})
						require.ErrorIs(w.t, err, want, "%s %s", do, group)
					}
				}
			})
		})
	}
}

// A person who was told stays addressed. After coming back they find the alert,
// and hear how it goes on.
func TestToldStayAddressed(t *testing.T) {
	escalating(t, func(w *world, p *pager, start time.Time) {
		t := w.t
		a, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		time.Sleep(40 * time.Second) // the doctor's turn
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		require.Len(t, nurse.until("inbox")["items"], 1)
		_, err = w.hub.Answer(t.Context(), people["doctor"], a.Ref(), Answer{Do: AnswerAccept})
		require.NoError(t, err)
		seen := objectAt(nurse.until("inbox"), "items", 0, "alert")
		require.Equal(t, "accepted", valueAt(seen, "responsibility", "state"))
		_, err = w.hub.Answer(t.Context(), people["doctor"], a.Ref(), Answer{Do: AnswerClose, Force: true, Reason: "x"})
		require.NoError(t, err)
		seen = objectAt(nurse.until("inbox"), "items", 0, "alert")
		require.NotEmpty(t, seen["ended"])
	})
}

// Of more people than an alert can be addressed to, those who were told last stay,
// and groups and roles do. That is complained of until somebody accepts.
func TestMoreAreToldThanAnAlertIsAddressedTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := newWorld(t, nil, &Options{Pager: &pager{}, Policy: func(context.Context, Alert, int) (Step, error) {
			to := []string{"group:icu", "role:clinician"}
			for ; len(to) < recipientsMost; n++ {
				to = append(to, fmt.Sprint("person:p", n))
			}
			return Step{To: to, After: time.Minute}, nil
		}})
		defer w.close()
		a, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		complaint := func() (Alert, error) {
			return w.hub.Alert(t.Context(), SystemPatient, complaintKey(AlertRef{Patient: "p1", Key: "a/k"}, toldRule))
		}
		time.Sleep(4*time.Minute - time.Second)
		now, err := w.hub.Alert(t.Context(), "p1", "k")
		require.NoError(t, err)
		require.Len(t, now.Escalation.addressed, 250)
		_, err = complaint()
		require.ErrorIs(t, err, ErrNotFound)
		time.Sleep(time.Minute)
		now, err = w.hub.Alert(t.Context(), "p1", "k")
		require.NoError(t, err)
		require.Len(t, now.Escalation.addressed, addressedMost)
		require.Subset(t, now.Escalation.addressed, []string{"group:icu", "role:clinician", "person:p309", "person:p56"})
		require.NotContains(t, now.Escalation.addressed, "person:p55")
		c, err := complaint()
		require.NoError(t, err)
		require.Equal(t, ConditionPresent, c.Condition)
		require.Equal(t, "p1", c.About.Patient)
		_, err = w.hub.Answer(t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerAccept})
		require.NoError(t, err)
		synctest.Wait()
		c, err = complaint()
		require.NoError(t, err)
		require.Equal(t, ConditionOver, c.Condition)
	})
}

// One request offers all alerts that a person has; it may be repeated.
func TestHandoverRequest(t *testing.T) {
	inShift(t, &Options{}, func(w *world, p *pager, a Alert, start time.Time) {
		t := w.t
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p2", Key: "k", Text: "x", Priority: PriorityLow})
		require.NoError(t, err)
		other, err := w.hub.Answer(t.Context(), people["doctor"], AlertRef{Patient: "p2", Key: "k"}, Answer{Do: AnswerAccept})
		require.NoError(t, err)
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		for range 2 {
			require.EqualValues(t, 1, nurse.ask(`{"type":"handover","req":"1","event_id":"h-1","to":"person:doctor"}`)["count"])
		}
		now, err := w.hub.Alert(t.Context(), "p1", "k")
		require.NoError(t, err)
		require.Equal(t, "person:doctor", now.Responsibility.To)
		require.Equal(t, a.Rev+1, now.Rev, "once")
		same, err := w.hub.Alert(t.Context(), "p2", "k")
		require.NoError(t, err)
		require.Equal(t, other.Rev, same.Rev, "another's is not touched")
		device := w.dial("device")
		defer device.ws.CloseNow()
		require.Equal(t, "forbidden", device.ask(`{"type":"handover","req":"1","event_id":"h-2","to":"person:doctor"}`)["code"])
	})
}

// leaver is a host that knows everybody, and after a while answers err for all.
func leaver(err error) (o *Options, leave func(*world)) {
	var left atomic.Bool
	return &Options{Person: func(_ context.Context, id string) (Principal, error) {
		if left.Load() {
			return Principal{}, err
		}
		return people[id], nil
	}}, func(*world) { left.Store(true) }
}

// An acceptance ends when its person may no longer answer for the patient,
// whether they watch or not.
func TestAcceptanceEndsWithTheRight(t *testing.T) {
	for _, c := range []struct {
		name string
		o    func() (*Options, func(w *world)) // and the event that takes the right away
	}{
		{"the Authorizer says no", func() (*Options, func(*world)) {
			j := &judge{decide: everyone}
			return &Options{Authorizer: j}, func(*world) {
				j.rule(func(a Access, _ string) (Decision, error) { return Decision{Allow: a.Principal.ID != "nurse"}, nil })
			}
		}},
		{"a later session lists fewer", func() (*Options, func(*world)) {
			return &Options{}, func(w *world) {
				p := people["nurse"]
				p.Patients, p.Groups = []string{"p2"}, nil
				w.hub.clinicians.remember(&p) // as joining does
			}
		}},
		{"a second connection lists fewer", func() (*Options, func(*world)) {
			return &Options{}, func(w *world) {
				w.hub.auth = AuthenticatorFunc(func(r *http.Request) (Principal, error) {
					p, err := byToken(r)
					if p.ID == "nurse" {
						p.Patients, p.Groups = []string{"p2"}, nil
					}
					return p, err
				})
				nurse := w.dial("nurse")
				w.t.Cleanup(func() { nurse.ws.CloseNow() })
				nurse.until("inbox")
			}
		}},
		{"the host does not know them any more", func() (*Options, func(*world)) { return leaver(ErrNotFound) }},
		{"the host does not let them in any more", func() (*Options, func(*world)) { return leaver(ErrForbidden) }},
		{"the break-glass ran out", func() (*Options, func(*world)) {
			j := &judge{decide: everyone}
			return &Options{Authorizer: j}, func(w *world) {
				nurse := w.dial("nurse")
				defer nurse.ws.CloseNow()
				time.Sleep(5 * time.Second) // a check of access that is under way is over
				until := time.Now().Add(2 * time.Minute)
				j.rule(func(a Access, _ string) (Decision, error) {
					if a.Principal.ID == "nurse" && !a.Emergency {
						return Decision{}, nil
					}
					return Decision{Allow: true, Until: until}, nil
				})
				require.Equal(w.t, []any{"p1"}, nurse.ask(`{"type":"watch","req":"1","patients":["p1"],"emergency":true,"reason":"not breathing"}`)["watching"])
				time.Sleep(time.Until(until) - 5*time.Second)
				now, err := w.hub.Alert(w.t.Context(), "p1", "k")
				require.NoError(w.t, err)
				require.Equal(w.t, ResponsibilityAccepted, now.Responsibility.State, "while it runs")
			}
		}},
		{"the patient left the group", func() (*Options, func(*world)) {
			var gone atomic.Bool
			return &Options{Directory: directoryFunc(func(context.Context, string) ([]string, error) {
					if gone.Load() {
						return nil, nil
					}
					return []string{"p1"}, nil
				})}, func(w *world) {
					p := people["nurse"]
					p.Patients, p.Groups = nil, []string{"icu"}
					w.hub.clinicians.remember(&p)
					gone.Store(true)
				}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, end := c.o()
			inShift(t, o, func(w *world, p *pager, a Alert, start time.Time) {
				time.Sleep(5 * time.Minute)
				now, err := w.hub.Alert(w.t.Context(), "p1", "k")
				require.NoError(w.t, err)
				require.Equal(w.t, ResponsibilityAccepted, now.Responsibility.State, "asked again and again, and allowed")
				end(w)
				time.Sleep(2*time.Minute + 5*time.Second) // groups are kept in mind for a minute
				now, err = w.hub.Alert(w.t.Context(), "p1", "k")
				require.NoError(w.t, err)
				require.Equal(w.t, ResponsibilityUndefined, now.Responsibility.State)
				require.NotEmpty(w.t, p.told(start))
			})
		})
	}
}

// A node that has seen the person only before the acceptance, with other rights, does
// not end it. It does once it has seen them without the right.
func TestOldPictureOfAPersonEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore(nil)
		w, other := newWorld(t, store, nil), newWorld(t, store, nil)
		defer w.close()
		defer other.close()
		nurse := Principal{ID: "nurse", Role: RoleClinician, Patients: []string{"p1"}}
		before := Principal{ID: "nurse", Role: RoleClinician, Patients: []string{"p2"}}
		other.hub.clinicians.remember(&before)
		time.Sleep(2 * time.Minute)
		a, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		_, err = w.hub.Answer(t.Context(), nurse, a.Ref(), Answer{Do: AnswerAccept})
		require.NoError(t, err)
		time.Sleep(5 * time.Minute)
		now, err := other.hub.Alert(t.Context(), "p1", "k")
		require.NoError(t, err)
		require.Equal(t, ResponsibilityAccepted, now.Responsibility.State)
		other.hub.clinicians.remember(&before)
		time.Sleep(2*time.Minute + 5*time.Second)
		now, err = other.hub.Alert(t.Context(), "p1", "k")
		require.NoError(t, err)
		require.Equal(t, ResponsibilityUndefined, now.Responsibility.State)
	})
}

// Of a person whose groups cannot all be kept with the alert nothing is kept: the group
// that entitles might be missing.
func TestGroupsThatCannotBeKept(t *testing.T) {
	require.NotNil(t, newHolder(&Principal{Groups: make([]string, 0)}, "p1"))
	require.NotNil(t, newHolder(&Principal{Groups: numberedGroups(groupsHeld)}, "p1"))
	require.Nil(t, newHolder(&Principal{Groups: numberedGroups(groupsHeld + 1)}, "p1"))
	require.Nil(t, newHolder(&Principal{Groups: []string{"ICU \x00 West"}}, "p1"))
}

func numberedGroups(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprint("g", i))
	}
	return list
}

// An acceptance ends with the right also on a node that has not seen the person:
// another one, or the same after a restart. It ends in no other case.
func TestAcceptanceEndsOnWhicheverNode(t *testing.T) {
	var gone atomic.Bool
	patients := func(context.Context, string) ([]string, error) {
		if gone.Load() {
			return nil, nil
		}
		return []string{"p1"}, nil
	}
	by := func(patients, groups []string) Principal {
		return Principal{ID: "nurse", Role: RoleClinician, Patients: patients, Groups: groups}
	}
	for _, c := range []struct {
		name string
		by   Principal
		o    Options
		ends bool
	}{
		{"the Authorizer says no", by(nil, nil), Options{Authorizer: authorizer(func(_ context.Context, a Access) ([]Decision, error) {
			return slices.Repeat([]Decision{{Allow: !gone.Load()}}, len(a.Patients)), nil
		})}, true},
		{"the Authorizer goes by groups", by(nil, []string{"icu"}), Options{Authorizer: authorizer(func(_ context.Context, a Access) ([]Decision, error) {
			return slices.Repeat([]Decision{{Allow: slices.Contains(a.Principal.Groups, "icu")}}, len(a.Patients)), nil
		})}, false},
		{"the Authorizer does not know", by(nil, nil), Options{Authorizer: authorizer(func(_ context.Context, a Access) ([]Decision, error) {
			if gone.Load() {
				return nil, errNoIdea
			}
			return slices.Repeat([]Decision{{Allow: true}}, len(a.Patients)), nil
		})}, false},
		{"the patient has left the group", by(nil, []string{"er", "icu"}), Options{Directory: directoryFunc(patients)}, true},
		{"the patient is listed by name", by([]string{"p1"}, []string{"icu"}), Options{Directory: directoryFunc(patients)}, false},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, restart), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					gone.Store(false)
					store := NewMemoryStore(nil)
					w := newWorld(t, store, &c.o)
					a, err := w.hub.Raise(t.Context(), high("k"))
					require.NoError(t, err)
					_, err = w.hub.Answer(t.Context(), c.by, a.Ref(), Answer{Do: AnswerAccept})
					require.NoError(t, err)
					if restart {
						w.close()
					} else {
						w.hub.clinicians.mu.Lock() // as if the person had been at a node that is gone
						clear(w.hub.clinicians.known)
						w.hub.clinicians.mu.Unlock()
						defer w.close()
					}
					other := newWorld(t, store, &c.o)
					defer other.close()
					time.Sleep(5 * time.Minute)
					now, err := other.hub.Alert(t.Context(), "p1", "k")
					require.NoError(t, err)
					require.Equal(t, ResponsibilityAccepted, now.Responsibility.State, "allowed")
					gone.Store(true)
					time.Sleep(2*time.Minute + 5*time.Second)
					now, err = other.hub.Alert(t.Context(), "p1", "k")
					require.NoError(t, err)
					require.Equal(t, c.ends, now.Responsibility.State == ResponsibilityUndefined)
				})
			})
		}
	}
}
