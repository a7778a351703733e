package carewire

import (
	"bytes"
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
		require.Empty(t, n.of(AuditConnect)[1:], "a refused person has not connected")
		_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 60))
		require.NoError(t, err)
		control.until("vital")
		w.close()
	})
}

// Of a hundred people who accept at once one wins, and the trail names the winner.
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

// A request by POST is recorded like any other, and counts as a connection of
// its principal while it is under way.
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

// After a flood of refusals each is recorded by itself again, with its sender.
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

// Lines that are written together are those that are written one by one.
func TestAuditLinesTogether(t *testing.T) {
	nurse := Person{ID: "nurse", Role: RoleClinician}
	at := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	list := []Record{
		{Time: at, Event: AuditWatch, Outcome: OutcomeDone, Who: nurse, Session: "s", Conn: "c", Address: "10.1.2.3", Patient: "p1"},
		{Time: at, Event: AuditWatch, Outcome: OutcomeDone, Who: nurse, Session: "s", Conn: "c", Address: "10.1.2.3", Patient: "p2"},
		{Time: at, Event: AuditWatch, Outcome: OutcomeRefused, Code: CodeForbidden, Who: nurse, Conn: "c", Patient: "p3", Test: true},
		{Time: at, Event: AuditHistory, Outcome: OutcomeDone, Who: Person{ID: "@host"}, Asserted: true, Patient: "p1", Count: 3},
	}
	var alone, together bytes.Buffer
	auditor := func(b *bytes.Buffer) *slogAuditor {
		return NewSlogAuditor(slog.New(slog.NewTextHandler(b, nil)), []byte("key")).(*slogAuditor)
	}
	for _, r := range list {
		require.NoError(t, auditor(&alone).Record(t.Context(), r))
	}
	auditor(&together).recordAll(t.Context(), list)
	require.Equal(t, alone.String(), together.String())
	require.Equal(t, len(list), strings.Count(alone.String(), "\n"))
}
