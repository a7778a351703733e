package carewire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

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

// lines tells what n has recorded, sorted: reads and the rest come by two ways.
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

// Everything that is done leaves its record.
func TestAuditTrail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &notary{}
		p := &pager{}
		w := newWorld(t, nil, &Options{Auditor: n, Pager: p, Authorizer: &judge{decide: func(a Access, patient string) (Decision, error) {
			if a.Action == ActionPublish {
				return Decision{Allow: patient == "p1"}, nil
			}
			return glass(a, patient)
		}}})
		_, err := w.tryDial("thief")
		require.Error(t, err)
		nurse, device := w.dial("nurse"), w.dial("device")
		nurse.until("inbox")
		nurse.ask(breakGlass)
		nurse.ask(`{"type":"watch","req":"2","patients":["p2"]}`)
		device.ask(`{"type":"watch","req":"2","patients":["p9"]}`)
		device.ask(`{"type":"watch","req":"2","patients":["p9"],"emergency":true,"reason":"curious"}`)
		nurse.ask(`{"type":"unwatch","req":"3","patients":["p2"]}`)
		vital := `{"patient":"p1","code":"8867-4","value":72,"unit":"/min"}`
		device.ask(`{"type":"publish","req":"4","vitals":[` + vital + `,` + vital + `,` + strings.Replace(vital, "p1", "p3", 1) + `]}`)
		device.ask(`{"type":"publish","req":"4","vitals":[` + vital + `]}`)
		device.ask(`{"type":"raise","req":"5","event_id":"a1","alert":{"patient":"p1","key":"hr","text":"x","priority":"high","to":["person:nurse"]}}`)
		time.Sleep(time.Second)
		alert := `"patient":"p1","key":"hr","alert_id":"a1"`
		nurse.ask(`{"type":"receipt","req":"6",` + alert + `,"stage":"presented"}`)
		nurse.ask(`{"type":"answer","req":"7",` + alert + `,"event_id":"a2","do":"accept"}`)
		nurse.ask(`{"type":"answer","req":"8",` + alert + `,"event_id":"a3","do":"close"}`)
		device.ask(`{"type":"clear","req":"9",` + alert + `,"event_id":"a4"}`)
		nurse.ask(`{"type":"notify","req":"10","notice":{"patient":"p1","notice_id":"n1","to":["patient"],"text":"x"}}`)
		nurse.ask(`{"type":"history","req":"11","patient":"p1"}`)
		device.ask(`{"type":"history","req":"11","patient":"p9"}`)
		// The host.
		_, err = w.hub.Publish(t.Context(), HeartRate.Of("p2", 60), HeartRate.Of("p1", 60))
		require.NoError(t, err)
		a, err := w.hub.Raise(t.Context(), Raise{Patient: "p2", Key: "k", Text: "x", Priority: PriorityInfo})
		require.NoError(t, err)
		_, err = w.hub.Answer(t.Context(), people["doctor"], a.Ref(), Answer{Do: AnswerAccept})
		require.NoError(t, err)
		_, err = w.hub.Clear(t.Context(), a.Ref())
		require.NoError(t, err)
		_, err = w.hub.Notify(t.Context(), Notice{Patient: "p2", To: []string{"patient"}, Text: "x"})
		require.NoError(t, err)
		_, err = w.hub.History(t.Context(), HistoryQuery{Patient: "p2"})
		require.NoError(t, err)
		require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "nurse"}))
		nurse.all()
		device.ws.CloseNow()
		synctest.Wait()
		w.close()
		want := []string{
			"refusal refused status=401 count=1",
			"connect done who=nurse",
			"connect done who=device",
			"emergency done who=nurse patient=p9 reason=not breathing",
			"watch done who=nurse patient=p1", "watch done who=nurse patient=p9", "watch done who=nurse patient=p2",
			"watch refused code=forbidden who=device patient=p9",
			"emergency refused code=forbidden who=device patient=p9 reason=curious",
			"watch_ended done who=nurse patient=p2",
			"publish done who=device count=3 refused=1",
			"raise done who=device patient=p1 key=hr",
			"page done who=@host asserted=true patient=p1 key=hr level=1 to=[person:nurse]",
			"escalation done who=@host asserted=true patient=p1 key=hr level=1 to=[person:nurse]",
			"receipt done who=nurse patient=p1 key=hr stage=presented",
			"answer done who=nurse patient=p1 key=hr do=accept",
			"close refused code=refused who=nurse patient=p1 key=hr do=close",
			"clear done who=device patient=p1 key=hr",
			"notice done who=nurse patient=p1",
			"history done who=nurse patient=p1",
			"history refused code=forbidden who=device patient=p9",
			"publish done who=@host asserted=true count=2",
			"raise done who=@host asserted=true patient=p2 key=k",
			"answer done who=doctor asserted=true patient=p2 key=k do=accept",
			"clear done who=@host asserted=true patient=p2 key=k",
			"notice done who=@host asserted=true patient=p2",
			"history done who=@host asserted=true patient=p2",
			"revocation done who=@host asserted=true about=nurse",
			"emergency_ended done who=@host asserted=true patient=p9 about=nurse",
			"disconnect done close=3003 who=nurse",
			"disconnect done who=device",
		}
		slices.Sort(want)
		require.Equal(t, want, n.lines())
		for _, r := range n.records {
			require.False(t, r.Time.IsZero())
			require.NotContains(t, fmt.Sprintf("%v %+v %#v", r, r, r), "breathing")
		}
		require.Zero(t, w.hub.Stats().AuditLost)
	})
}

// While the Auditor fails nobody may begin to read. Everything else goes on,
// and is recorded afterwards.
func TestFailingAuditor(t *testing.T) {
	for name, fail := range map[string]func(context.Context) error{
		"fails":  func(context.Context) error { return errors.New("disk full") },
		"panics": func(context.Context) error { panic("x") },
		"hangs":  func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &notary{}
				w := newWorld(t, nil, &Options{Auditor: n, Authorizer: &judge{decide: glass}})
				doctor, nurse := w.watching("doctor", "every"), w.dial("nurse")
				defer doctor.ws.CloseNow()
				defer nurse.ws.CloseNow()
				nurse.until("inbox")
				synctest.Wait()
				n.fail(fail)
				a, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", ID: "a", Text: "x", Priority: PriorityHigh, To: []string{"person:nurse"}})
				require.NoError(t, err)
				require.Len(t, nurse.until("inbox")["items"], 1, "delivered")
				require.Equal(t, "ok", nurse.ask(`{"type":"answer","req":"1","patient":"p1","key":"k","alert_id":"` + a.ID + `","event_id":"e","do":"accept"}`)["type"])
				for _, text := range []string{breakGlass, `{"type":"watch","req":"2","patients":["p1","p9"]}`} {
					ok := nurse.ask(text)
					require.Empty(t, ok["watching"])
					require.Contains(t, ok["refused"], any(object{"patient": "p1", "code": "unavailable"}))
				}
				require.Equal(t, "unavailable", nurse.ask(`{"type":"history","req":"3","patient":"p1"}`)["code"])
				_, err = w.store.Get(t.Context(), "p9", emergencyKey("nurse"))
				require.ErrorIs(t, err, ErrNotFound, "no glass is broken")
				start := time.Now()
				_, err = w.hub.Publish(t.Context(), HeartRate.Of("p1", 60))
				require.NoError(t, err)
				doctor.until("vital")
				require.Zero(t, time.Since(start))
				require.Positive(t, w.hub.Stats().AuditFailed)
				require.Positive(t, w.hub.Stats().AuditWaiting)

				n.fail(nil)
				d := doctor.follow()
				nurse.follow()
				w.vitals("p1", 60) // what failed is tried again
				synctest.Wait()
				require.Zero(t, w.hub.Stats().AuditWaiting)
				require.Zero(t, w.hub.Stats().AuditLost)
				require.Len(t, n.of(AuditAnswer), 1)
				require.Len(t, d.vitals, 60)
				again := w.dial("nurse")
				require.Equal(t, []any{"p1", "p9"}, again.ask(breakGlass)["watching"])
				again.ws.CloseNow()
				w.close()
			})
		})
	}
}

// What finds no room is counted, and the log says so. A Hub ends although its
// Auditor never answers.
func TestAuditOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		n := &notary{failing: func(context.Context) error { return errNoIdea }}
		w := newWorld(t, nil, &Options{Auditor: n, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		for range recordsMax + 10 {
			w.hub.audit.record(Record{Event: AuditConnect})
		}
		time.Sleep(2 * time.Second)
		require.EqualValues(t, 10, w.hub.Stats().AuditLost)
		require.Equal(t, 1, strings.Count(log.String(), "audit records are lost"))
		start := time.Now()
		w.close()
		require.LessOrEqual(t, time.Since(start), 10*time.Second)
		require.EqualValues(t, recordsMax+10, w.hub.Stats().AuditLost)
		require.Equal(t, 2, strings.Count(log.String(), "audit records are lost"))
	})
}

// The default Auditor writes no ID, name, key, reason or address as it is.
func TestSlogAuditor(t *testing.T) {
	var one, two, other lockedBuffer
	secret := Record{Event: AuditEmergency, Outcome: OutcomeDone, Who: Person{"secret1", "secret2", RoleClinician}, Asserted: true, Session: "secret3",
		Conn: "C0NN", Address: "secret4", Patient: "secret5", Group: "secret6", Key: "secret7", ID: "secret8", Do: AnswerAccept, Stage: StageRead, Level: 3,
		To: []string{"person:secret9"}, About: "secret10", Until: time.Now(), Reason: "secret11", Test: true, Count: 4, Refused: 5, Status: 401, Close: 3003,
		Code: CodeForbidden, Time: time.Now()}
	for buffer, key := range map[*lockedBuffer]string{&one: "k", &two: "k", &other: "l"} {
		a := NewSlogAuditor(slog.New(slog.NewTextHandler(buffer, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})), []byte(key))
		require.NoError(t, a.Record(t.Context(), secret))
	}
	require.NotContains(t, one.String(), "secret")
	require.Equal(t, 1, strings.Count(one.String(), "\n"))
	require.Equal(t, one.String(), two.String())
	require.NotEqual(t, one.String(), other.String())
	for _, part := range []string{"event=emergency", "outcome=done", "code=forbidden", "status=401", "close=3003", "role=clinician", "asserted=true", "conn=C0NN",
		"do=accept", "stage=read", "level=3", "told=1", "count=4", "refused=5", "test=true"} {
		require.Contains(t, one.String(), part)
	}
	for _, name := range []string{"who", "session", "address", "patient", "group", "key", "id", "about"} {
		require.Regexp(t, " "+name+"=[0-9a-f]{16} ", one.String())
	}
}

// A line has one time, the Record's.
func TestSlogAuditorWritesOneTime(t *testing.T) {
	var b lockedBuffer
	a := NewSlogAuditor(slog.New(slog.NewTextHandler(&b, nil)), nil)
	require.NoError(t, a.Record(t.Context(), Record{Event: AuditConnect, Outcome: OutcomeDone, Time: wireTime}))
	require.Equal(t, "time="+wireTime.Format("2006-01-02T15:04:05.000Z07:00")+` level=INFO msg="carewire: audit" event=connect outcome=done`+"\n", b.String())
}

// Vitals are recorded once a minute, for each connection.
func TestPublishesAreCountedByTheMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &notary{}
		w := newWorld(t, nil, &Options{Auditor: n})
		device, gateway := w.dial("device"), w.dial("service")
		for range 150 {
			device.ask(`{"type":"publish","req":"1","vitals":[{"patient":"p1","code":"8867-4","value":72,"unit":"/min"},{"patient":"p1","code":"8867-4","value":-1,"unit":"/min"}]}`)
			gateway.ask(`{"type":"publish","req":"1","vitals":[{"patient":"p1","code":"8867-4","value":72,"unit":"/min"},{"patient":"p2","code":"8867-4","value":72,"unit":"/min"}]}`)
			time.Sleep(time.Second)
		}
		device.ws.CloseNow()
		gateway.ws.CloseNow()
		w.close()
		for who, patient := range map[string]string{"device": "p1", "service": ""} {
			done, refused, records := 0, 0, 0
			for _, r := range n.of(AuditPublish) {
				if r.Who.ID == who {
					done, refused, records = done+r.Count, refused+r.Refused, records+1
					require.Equal(t, patient, r.Patient)
				}
			}
			require.Equal(t, 300, done+refused)
			require.Equal(t, 3, records)
		}
	})
}

// A flood of bad handshakes does not fill the trail, and none is lost from it.
func TestRefusalsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &notary{}
		w := newWorld(t, nil, &Options{Auditor: n})
		control := w.watching("nurse", "every")
		defer control.ws.CloseNow()
		for range 1000 {
			p := shake(t, dialler(w, w.net, nil)(), hello("thief"))
			require.Equal(t, http.StatusUnauthorized, p.status.StatusCode)
			p.conn.Close()
		}
		time.Sleep(2 * time.Second)
		count := 0
		list := n.of(AuditRefusal)
		for _, r := range list {
			count += r.Count
		}
		require.Equal(t, 1000, count)
		require.LessOrEqual(t, len(list), 130)
		require.Empty(t, n.of(AuditConnect)[1:], "who was refused has not connected")
		_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 60))
		require.NoError(t, err)
		control.until("vital")
		w.close()
	})
}

// Of a hundred who accept at once one wins, and the trail says who.
func TestManyAnswersOneWinner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &notary{}
		w := newWorld(t, nil, &Options{Auditor: n})
		a, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityHigh})
		require.NoError(t, err)
		var wg sync.WaitGroup
		var won atomic.Int64
		for i := range 100 {
			wg.Go(func() {
				by := people["nurse"]
				by.ID = fmt.Sprint("nurse", i)
				_, err := w.hub.Answer(t.Context(), by, a.Ref(), Answer{Do: AnswerAccept, ID: fmt.Sprint("e", i)})
				switch {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, ErrConflict) && !errors.Is(err, ErrBusy):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		w.close()
		require.EqualValues(t, 1, won.Load())
		a, err = decodeAlertOf(t, w.store)
		require.NoError(t, err)
		done := slices.DeleteFunc(n.of(AuditAnswer), func(r Record) bool { return r.Outcome != OutcomeDone })
		require.Len(t, done, 1)
		require.Equal(t, a.Responsibility.By.ID, done[0].Who.ID)
		require.Len(t, n.of(AuditAnswer), 100)
	})
}

func decodeAlertOf(t *testing.T, s Store) (Alert, error) {
	e, err := s.Get(t.Context(), "p1", "a/k")
	if err != nil {
		return Alert{}, err
	}
	a, err := decodeAlert(&e)
	return *a, err
}

// What comes by POST is recorded like everything else, and counts as a
// connection of its principal while it is under way.
func TestPostsAreRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &notary{}
		w := newWorld(t, nil, &Options{Auditor: n})
		device := w.poster("device")
		device.do(t.Context(), `{"type":"publish","req":"1","vitals":[{"patient":"p1","code":"8867-4","value":72,"unit":"/min"}]}`)
		device.do(t.Context(), `{"type":"history","req":"2","patient":"p1"}`)
		synctest.Wait()
		w.hub.seats.mu.Lock()
		require.Empty(t, w.hub.seats.principals)
		w.hub.seats.mu.Unlock()
		w.close()
		require.Equal(t, []string{"history refused code=forbidden who=device patient=p1", "publish done who=device patient=p1 count=1"}, n.lines())
	})
}

// A record that the Auditor refuses again and again, while it takes others, is
// given up, loudly and alone; while it takes nothing, none is.
func TestRecordThatIsAlwaysRefused(t *testing.T) {
	for _, poisons := range []int{1, 3} {
		for _, shut := range []bool{false, true} {
			t.Run(fmt.Sprint(poisons, " shut down at once: ", shut), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var log lockedBuffer
					var down atomic.Bool
					down.Store(true)
					n := &notary{}
					auditor := auditorFunc(func(ctx context.Context, r Record) error {
						if down.Load() || strings.HasPrefix(r.Key, "poison") {
							return errNoIdea
						}
						return n.Record(ctx, r)
					})
					w := newWorld(t, nil, &Options{Auditor: auditor, Logger: slog.New(slog.NewTextHandler(&log, nil))})
					raise := func(key string) {
						_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: key, Text: "x", Priority: PriorityInfo})
						require.NoError(t, err)
					}
					for i := range poisons {
						raise(fmt.Sprint("poison", i))
					}
					for i := range 5 {
						raise(fmt.Sprint("good", i))
					}
					time.Sleep(30 * time.Minute)
					require.Zero(t, w.hub.Stats().AuditRejected, "it is the Auditor that fails")
					require.Zero(t, w.hub.Stats().AuditLost)
					down.Store(false)
					if !shut {
						time.Sleep(time.Duration(poisons) * 6 * time.Minute)
						require.Zero(t, w.hub.Stats().AuditWaiting)
						raise("later")
						time.Sleep(time.Second)
						require.Len(t, n.of(AuditRaise), 6)
					}
					w.close()
					var keys []string
					for _, r := range n.of(AuditRaise) {
						keys = append(keys, r.Key)
					}
					for i := range 5 {
						require.Contains(t, keys, fmt.Sprint("good", i))
					}
					require.EqualValues(t, poisons, w.hub.Stats().AuditRejected+w.hub.Stats().AuditLost)
					if !shut {
						require.EqualValues(t, poisons, w.hub.Stats().AuditRejected)
						require.Equal(t, poisons, strings.Count(log.String(), "given up"))
					}
					require.NotContains(t, log.String(), "poison")
				})
			})
		}
	}
}

type auditorFunc func(context.Context, Record) error

func (f auditorFunc) Record(ctx context.Context, r Record) error { return f(ctx, r) }

// After a flood of refusals each is recorded by itself again, with who it was.
func TestRefusalsAfterAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var last Record
		w := newWorld(t, nil, &Options{Auditor: auditorFunc(func(_ context.Context, r Record) error {
			mu.Lock()
			defer mu.Unlock()
			last = r
			return nil
		})})
		defer w.close()
		knock := func() {
			r := httptest.NewRecorder()
			w.hub.ServeHTTP(r, httptest.NewRequest(http.MethodPost, "/", nil))
			require.Equal(t, http.StatusUnauthorized, r.Code)
		}
		for range 200 {
			knock()
		}
		time.Sleep(time.Hour + 50*time.Millisecond) // between two ticks of the Hub's clock
		knock()
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, AuditRefusal, last.Event)
		require.Equal(t, "192.0.2.1", last.Address)
	})
}
