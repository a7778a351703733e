package rules

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// Users' complaints about other systems, by the numbers that docs/rules.md gives
// them. Those that are not here bear their number in another test.

func (w *ward) answer(key string, a carewire.Answer) {
	by := carewire.Principal{ID: "nurse", Role: carewire.RoleClinician, Patients: []string{"p1"}}
	_, err := w.hub.Answer(context.Background(), by, carewire.AlertRef{Patient: "p1", Key: key}, a)
	require.NoError(w.t, err)
}

// 1, 2: an alert that a person has accepted does not sound again with the next reading.
// 3: an acceptance can be taken back. 4: no new alert until it has cleared and recurred.
func TestComplaints1To4(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		w.run(w.hub, Options{}, high(Timing{}))
		w.rate(200)
		w.answer("hr-high", carewire.Answer{Do: carewire.AnswerAccept})
		time.Sleep(2 * time.Second)
		level := w.alerts("hr-high")[0].Escalation.Level
		w.rate(repeat(300, 200, 190)...)
		a := w.alerts("hr-high")
		require.Len(t, a, 1)
		require.Equal(t, carewire.ResponsibilityAccepted, a[0].Responsibility.State)
		require.Equal(t, level, a[0].Escalation.Level, "somebody was told again")
		w.answer("hr-high", carewire.Answer{Do: carewire.AnswerRelease})
		time.Sleep(2 * time.Second)
		require.Greater(t, w.alerts("hr-high")[0].Escalation.Level, level)
		w.answer("hr-high", carewire.Answer{Do: carewire.AnswerAccept})
		w.rate(100, 200)
		a = w.alerts("hr-high")
		require.Len(t, a, 2)
		require.Equal(t, carewire.ResponsibilityUndefined, a[1].Responsibility.State)
	})
}

// 5, 6, 7, 13: when data stop, people are told, by the server. 8: accepting that
// leaves the patient's own alert as it is. 12: it is one alert. A gateway that is
// unplugged gives one technical alert, and its return clears it.
func TestComplaints5To8(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		w.run(w.hub, Options{Settings: func(context.Context, string) (Settings, error) { return adult, nil }}, twelve()...)
		send := func(seconds int) {
			for k := range seconds {
				list := five("p1", k)
				list[0] = carewire.HeartRate.Of("p1", 150)
				for i := range list {
					list[i].Device, list[i].Every = "gateway", time.Second
				}
				for _, v := range list { // not all in the same millisecond
					_, err := w.hub.Publish(context.Background(), v)
					require.NoError(t, err)
					time.Sleep(time.Second / 5)
				}
			}
		}
		technical := func() (open []carewire.Alert) {
			for _, key := range []string{"no-data.gateway", blindKey, "spo2-off"} {
				for _, a := range w.alerts(key) {
					if a.Condition == carewire.ConditionPresent {
						open = append(open, a)
					}
				}
			}
			return open
		}
		send(30)
		require.Empty(t, technical())
		time.Sleep(time.Hour)
		list := technical()
		require.Len(t, list, 1)
		require.Equal(t, "no-data.gateway", list[0].Key)
		require.NotZero(t, list[0].Escalation.Level)
		w.answer("no-data.gateway", carewire.Answer{Do: carewire.AnswerAccept})
		require.Equal(t, carewire.ResponsibilityUndefined, w.alerts("hr-high")[0].Responsibility.State)
		send(30)
		require.Empty(t, technical())
		stopped := time.Now()
		time.Sleep(time.Hour) // and it is raised again
		list = technical()
		require.Len(t, list, 1)
		require.Equal(t, "no-data.gateway", list[0].Key)
		require.Equal(t, carewire.ResponsibilityUndefined, list[0].Responsibility.State)
		require.Less(t, list[0].Raised.Sub(stopped), time.Minute)
	})
}

// judgement.md: an acceptance expires; escalation does not stop at any level.
func TestOnlyAPersonEndsEscalation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		w.run(w.hub, Options{}, high(Timing{}))
		w.rate(200)
		w.answer("hr-high", carewire.Answer{Do: carewire.AnswerAccept, For: time.Minute})
		time.Sleep(3 * time.Hour)
		a := w.alerts("hr-high")[0]
		require.Equal(t, carewire.ResponsibilityUndefined, a.Responsibility.State)
		require.Greater(t, a.Escalation.Level, 5)
	})
}

// A beeper keeps the pages that it is given.
type beeper struct {
	mu    sync.Mutex
	pages []carewire.Page
}

func (b *beeper) Page(_ context.Context, p carewire.Page) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pages = append(b.pages, p)
	return nil
}

// of lists the persons paged for an alert.
func (b *beeper) of(key string) (to []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.pages {
		if p.Alert.Key == key {
			to = append(to, p.To)
		}
	}
	return to
}

// paging is a Hub with a beeper, on a Store of its own.
func (w *ward) paging(b *beeper) *carewire.Hub {
	nobody := carewire.AuthenticatorFunc(func(*http.Request) (carewire.Principal, error) {
		return carewire.Principal{}, carewire.ErrUnauthenticated
	})
	team := func(context.Context, carewire.Alert, int) (carewire.Step, error) {
		return carewire.Step{To: []string{"group:ward"}, After: time.Minute}, nil
	}
	hub, err := carewire.New(nobody, w.store, &carewire.Options{Logger: slog.New(slog.DiscardHandler), Pager: b, Policy: team})
	require.NoError(w.t, err)
	w.ends = append(w.ends, func() { hub.Shutdown(context.Background()) })
	w.hub = hub
	return hub
}

// 3: one person's pause quiets everyone and cannot be cancelled. Here it ends by
// itself, a colleague can end it, and alerts still present are told then.
func TestComplaint3(t *testing.T) {
	for _, colleague := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := &ward{t: t, store: carewire.NewMemoryStore(nil)} // of one Hub: another would tell without the Pager
			defer w.close()
			b := &beeper{}
			w.run(w.paging(b), Options{}, high(Timing{}))
			nurse := func(id string) carewire.Principal {
				return carewire.Principal{ID: id, Role: carewire.RoleClinician, Patients: []string{"p1"}}
			}
			require.NoError(t, w.hub.Pause(t.Context(), nurse("ada"), carewire.Pause{Patient: "p1", For: 5 * time.Minute, Reason: "washing"}))
			w.rate(repeat(60, 200)...)
			require.Len(t, w.alerts("hr-high"), 1, "it is raised and shown all the same")
			require.Empty(t, b.of("hr-high"))
			if colleague {
				require.NoError(t, w.hub.Unpause(t.Context(), nurse("bob"), "p1"))
				w.rate(repeat(10, 200)...)
			} else {
				w.rate(repeat(250, 200)...)
			}
			require.NotEmpty(t, b.of("hr-high"))
		})
	}
}

// 7: the server tells the pager too that a value on a screen is old; 13: and also
// where the device has stopped during an alert.
func TestComplaint7(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &ward{t: t, store: carewire.NewMemoryStore(nil)} // of one Hub: another would tell without the Pager
		defer w.close()
		b := &beeper{}
		w.run(w.paging(b), Options{}, high(Timing{}))
		for range 10 {
			v := carewire.HeartRate.Of("p1", 200)
			v.Device, v.Every = "uploader", time.Second
			_, err := w.hub.Publish(t.Context(), v)
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		require.Empty(t, b.of("no-data.uploader"))
		paged := len(b.of("hr-high"))
		require.NotZero(t, paged)
		time.Sleep(10 * time.Minute) // nobody watches, and nothing comes
		require.Contains(t, b.of("no-data.uploader"), "group:ward")
		require.Greater(t, len(b.of("hr-high")), paged, "the alert of then is told on")
	})
}

// 14: a remote snooze does nothing. What a clinician does on another node counts on the
// node that pages: an acceptance, and a pause.
func TestComplaint14(t *testing.T) {
	for _, act := range []string{"accept", "pause", "nothing"} {
		t.Run(act, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &ward{t: t, store: carewire.NewMemoryStore(nil)}
				defer w.close()
				b := &beeper{}
				remote := w.paging(b)
				w.run(w.paging(b), Options{}, high(Timing{}))
				w.rate(200)
				time.Sleep(30 * time.Second)
				paged := len(b.of("hr-high"))
				require.NotZero(t, paged)
				ada := carewire.Principal{ID: "ada", Role: carewire.RoleClinician, Patients: []string{"p1"}}
				switch act {
				case "accept":
					_, err := remote.Answer(t.Context(), ada, carewire.AlertRef{Patient: "p1", Key: "hr-high"}, carewire.Answer{Do: carewire.AnswerAccept})
					require.NoError(t, err)
				case "pause":
					require.NoError(t, remote.Pause(t.Context(), ada, carewire.Pause{Patient: "p1", For: 5 * time.Minute, Reason: "washing"}))
				}
				w.rate(repeat(4*60, 200)...)
				require.Equal(t, act == "nothing", len(b.of("hr-high")) > paged)
			})
		})
	}
}
