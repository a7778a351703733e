package hl7v2

import (
	"context"
	"errors"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/memnet"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var noon = time.Date(2026, time.January, 5, 12, 0, 0, 0, time.UTC)

// low is an open alert.
func low() carewire.Alert {
	return carewire.Alert{Patient: "123", Key: "spo2-low", ID: "A1", Rev: 1, Code: "59408-5", System: carewire.LOINC, Text: "SpO2 low", Priority: carewire.PriorityMedium,
		Kind: carewire.AlertPhysiological, Condition: carewire.ConditionPresent, Source: carewire.Source{Limits: "90-100", Value: "84", Unit: "%"},
		Raised: noon, Updated: noon, Responsibility: carewire.Responsibility{State: carewire.ResponsibilityUndefined}}
}

// An alert is written as the example of IHE's rules says.
func TestAlertMessage(t *testing.T) {
	t.Parallel()
	w := &Writer{Application: "CAREWIRE^0200000000000001^EUI-64", Facility: "HOSP"}
	a := low()
	text := string(w.Message(PhaseStart, &a, noon.Add(time.Second)))
	text = regexp.MustCompile(`\|[A-Z2-7]{20}\|P\|`).ReplaceAllString(text, "|M1|P|")
	require.Equal(t, strings.Join([]string{
		`MSH|^~\&|CAREWIRE^0200000000000001^EUI-64|HOSP|||20260105120001+0000||ORU^R40^ORU_R40|M1|P|2.6|||NE|AL||UNICODE UTF-8`,
		`PID|||123`,
		`OBR|1|A1^CAREWIRE^0200000000000001^EUI-64|A1^CAREWIRE^0200000000000001^EUI-64|196616^MDC_EVT_ALARM^MDC|||20260105120001+0000`,
		`OBX|1||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|1.0.0.0|||||||X`,
		`OBX|2|ST|196674^MDC_EVT_LO_VAL_LT_LIM^MDC|1.1.1.1.1|SpO2 low||||||R|||20260105120000+0000`,
		`OBX|3|NM|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.1.1.1.2|84|262688^MDC_DIM_PERCENT^MDC|90-100||||R`,
		`OBX|4|ST|68481^MDC_ATTR_EVENT_PHASE^MDC|1.1.1.1.3|start||||||R`,
		`OBX|5|ST|68482^MDC_ATTR_ALARM_STATE^MDC|1.1.1.1.4|active||||||R`,
		`OBX|6|ST|68483^MDC_ATTR_ALARM_INACTIVATION_STATE^MDC|1.1.1.1.5|enabled||||||R`,
		`OBX|7|ST|68484^MDC_ATTR_ALARM_PRIORITY^MDC|1.1.1.1.6|PM||||||R`,
		`OBX|8|ST|68485^MDC_ATTR_ALERT_TYPE^MDC|1.1.1.1.7|SP||||||R`,
	}, "\r")+"\r", text)
}

// Each kind, state and priority has its code.
func TestAlertFacets(t *testing.T) {
	t.Parallel()
	w := new(Writer)
	for _, row := range []struct {
		name  string
		phase Phase
		set   func(*carewire.Alert)
		want  []string // parts of the message
	}{
		{"above the limits", PhaseStart, func(a *carewire.Alert) {
			a.Source = carewire.Source{Limits: "50-120", Value: "180", Unit: "/min"}
			a.Code = "8867-4"
		},
			[]string{"|ST|196648^MDC_EVT_HI^MDC|", "|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1.1.2|180|264864^MDC_DIM_BEAT_PER_MIN^MDC|50-120|"}},
		{"breath", PhaseStart, func(a *carewire.Alert) {
			a.Source = carewire.Source{Limits: "8-", Value: "5", Unit: "/min"}
			a.Code = "9279-1"
		},
			[]string{"|ST|196674^MDC_EVT_LO_VAL_LT_LIM^MDC|", "|NM|151562^MDC_RESP_RATE^MDC|1.1.1.1.2|5|264928^MDC_DIM_RESP_PER_MIN^MDC|8-|"}},
		{"below a rule's limit", PhaseStart, func(a *carewire.Alert) { a.Source.Limits = "≥ 90 %, well at 92, for 8 s" },
			[]string{"|ST|196674^MDC_EVT_LO_VAL_LT_LIM^MDC|", "|84|262688^MDC_DIM_PERCENT^MDC|90-|"}},
		{"above a rule's limit", PhaseStart, func(a *carewire.Alert) {
			a.Source = carewire.Source{Limits: "≤ 130 beats/min, severe 150", Value: "140", Unit: "/min"}
			a.Code = "8867-4"
		},
			[]string{"|ST|196648^MDC_EVT_HI^MDC|", "|140|264864^MDC_DIM_BEAT_PER_MIN^MDC|-130|"}},
		{"by a rule", PhaseStart, func(a *carewire.Alert) {
			a.Source = carewire.Source{Rule: "news2"}
			a.Code, a.System = "1104051000000101", "snomed"
		},
			[]string{"|ST|196616^MDC_EVT_ALARM^MDC^1104051000000101^^SCT|", "|CWE|68480^MDC_ATTR_ALERT_SOURCE^MDC|1.1.1.1.2|1104051000000101^news2^SCT|"}},
		{"technical", PhaseStart, func(a *carewire.Alert) { a.Kind, a.Code, a.Text = carewire.AlertTechnical, "", "no data & no line" },
			[]string{`|CWE|196616^MDC_EVT_ALARM^MDC|1.1.1.1.1|spo2-low^no data \T\ no line^L|`, "|CWE|68480^MDC_ATTR_ALERT_SOURCE^MDC|1.1.1.1.2|spo2-low^^L|", "|ST||||||R"}},
		{"accepted", PhaseUpdate, func(a *carewire.Alert) { a.Responsibility.State = carewire.ResponsibilityAccepted; a.Rev = 2 },
			[]string{"|update|", "|active|", "|alert-acknowledged|", "^A1&CAREWIRE\r"}},
		{"latched", PhaseUpdate, func(a *carewire.Alert) { a.Condition, a.Latched = carewire.ConditionOver, true }, []string{"|update|", "|latched|"}},
		{"ended", PhaseEnd, func(a *carewire.Alert) { a.Condition, a.Ended = carewire.ConditionOver, noon }, []string{"|end|", "|inactive|"}},
		{"high", PhaseEscalate, func(a *carewire.Alert) { a.Priority = carewire.PriorityHigh }, []string{"|escalate|", "|PH|"}},
		{"low", PhaseDeescalate, func(a *carewire.Alert) { a.Priority = carewire.PriorityLow }, []string{"|deescalate|", "|PL|"}},
		{"info is an advisory", PhaseStart, func(a *carewire.Alert) { a.Priority = carewire.PriorityInfo }, []string{"|PN|", "|SA|"}},
		{"advisory", PhaseStart, func(a *carewire.Alert) { a.Kind = carewire.AlertAdvisory }, []string{"|SA|"}},
		{"test", PhaseStart, func(a *carewire.Alert) { a.Test = true }, []string{"|D|2.6|"}},
		{"text that could end a segment", PhaseStart, func(a *carewire.Alert) { a.Text = "a|b\r\nPID|||x" }, []string{`|a\F\b\.br\PID\F\\F\\F\x||`}},
		{"nobody's", PhaseStart, func(a *carewire.Alert) { a.Patient = carewire.SystemPatient }, []string{"\rPID|||\r"}},
	} {
		a := low()
		row.set(&a)
		b := w.Message(row.phase, &a, noon)
		m, err := Parse(b, nil)
		require.NoError(t, err, row.name)
		require.Len(t, m.Segments(), 11, row.name)
		for _, want := range row.want {
			assert.Contains(t, string(b), want, row.name)
		}
	}
	a := low()
	named := &Writer{PatientID: func(p string) string { return p + "^^^HOSP^MR" }, Metric: func(*carewire.Alert) string { return "8310-5" }}
	assert.Contains(t, string(named.Message(PhaseStart, &a, noon)), "\rPID|||123^^^HOSP^MR\r")
	assert.Contains(t, string(named.Message(PhaseStart, &a, noon)), "150344^MDC_TEMP^MDC")
}

func TestPhases(t *testing.T) {
	t.Parallel()
	with := func(set func(*carewire.Alert)) *carewire.Alert {
		a := low()
		if set != nil {
			set(&a)
		}
		return &a
	}
	present := with(nil)
	latched := with(func(a *carewire.Alert) { a.Condition, a.Latched = carewire.ConditionOver, true })
	ended := with(func(a *carewire.Alert) { a.Condition, a.Ended = carewire.ConditionOver, noon })
	high := with(func(a *carewire.Alert) { a.Priority = carewire.PriorityHigh })
	for _, row := range []struct {
		name    string
		prev, a *carewire.Alert
		want    Phase
	}{
		{"came", nil, present, PhaseStart},
		{"came, known only latched", nil, latched, PhaseUpdate},
		{"known only when over", nil, ended, PhaseEnd},
		{"another occurrence", with(func(a *carewire.Alert) { a.ID = "A0" }), present, PhaseStart},
		{"unchanged", present, present, PhaseContinue},
		{"higher", present, high, PhaseEscalate},
		{"lower", high, present, PhaseDeescalate},
		{"higher and another text", present, with(func(a *carewire.Alert) { a.Priority, a.Text = carewire.PriorityHigh, "x" }), PhaseUpdate},
		{"another number", present, with(func(a *carewire.Alert) { a.Source.Value = "80" }), PhaseUpdate},
		{"accepted", present, with(func(a *carewire.Alert) { a.Responsibility.State = carewire.ResponsibilityAccepted }), PhaseUpdate},
		{"gone and latched", present, latched, PhaseUpdate},
		{"back from latched", latched, present, PhaseStart},
		{"over", present, ended, PhaseEnd},
		{"closed by force", present, with(func(a *carewire.Alert) { a.Ended = noon }), PhaseEnd},
		{"latched is over", latched, ended, PhaseReset},
		{"over twice", ended, ended, PhaseContinue},
	} {
		assert.Equal(t, row.want, PhaseOf(row.prev, row.a), row.name)
	}
}

// receive reads one message of a connection.
func receive(t *testing.T, p *peer) *Message {
	t.Helper()
	return p.answer()
}

func ackTo(m *Message, code string, more ...string) []byte {
	return lines(append([]string{`MSH|^~\&|AM||CW||20260105120001+0000||ACK^R40^ACK|X|P|2.6`, "MSA|" + code + "|" + m.ControlID()}, more...)...)
}

// sent runs f with a Client whose connections come out of accept.
func sent(t *testing.T, f func(t *testing.T, c *Client, accept func() *peer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		c, err := NewClient(ClientOptions{Dial: ln.Dial, Logger: silent})
		require.NoError(t, err)
		f(t, c, func() *peer {
			conn, err := ln.Accept()
			require.NoError(t, err)
			t.Cleanup(func() { _ = conn.Close() })
			return newPeer(t, conn)
		})
		require.NoError(t, c.Close())
		_ = ln.Close()
	})
}

// The acknowledgement of another message is none. One that comes too late is
// never taken for the next message's. A message that is sent again has its
// MSH-10.
func TestClientWaitsForItsOwnAck(t *testing.T) {
	t.Parallel()
	sent(t, func(t *testing.T, c *Client, accept func() *peer) {
		a := low()
		w := new(Writer)
		one, two := w.Message(PhaseStart, &a, noon), w.Message(PhaseUpdate, &a, noon)
		results := make(chan error, 2)
		go func() {
			_, err := c.Send(t.Context(), one)
			results <- err
			_, err = c.Send(t.Context(), two)
			results <- err
		}()
		p := accept()
		first := receive(t, p)
		p.send([]byte("no message"))
		p.send(lines(`MSH|^~\&|AM||CW||20260105120001+0000||ACK^R40^ACK|X|P|2.6`, "MSA|AA|OTHER"))
		p.send(lines(`MSH|^~\&|AM||CW||20260105120001+0000||ACK^R40^ACK|X|P|2.6`, "MSA|AA|"))
		p.send(lines(`MSH|^~\&|AM||CW||20260105120001+0000||ACK^R40^ACK|X|P|2.6`, "MSA|YES|"+first.ControlID()))
		synctest.Wait()
		require.Empty(t, results, "none of these is it")
		p.gone() // after the timeout

		p = accept()
		again := receive(t, p)
		require.Equal(t, first.ControlID(), again.ControlID())
		p.send(ackTo(again, "AA"))
		require.NoError(t, <-results)
		second := receive(t, p)
		require.NotEqual(t, first.ControlID(), second.ControlID())
		p.send(ackTo(first, "AE")) // late
		synctest.Wait()
		require.Empty(t, results)
		p.send(ackTo(second, "CA"))
		require.NoError(t, <-results)
	})
}

// A receiver's own troubles are waited out; a refusal is not repeated.
func TestClientRefused(t *testing.T) {
	t.Parallel()
	sent(t, func(t *testing.T, c *Client, accept func() *peer) {
		a := low()
		message := new(Writer).Message(PhaseStart, &a, noon)
		results := make(chan error, 1)
		send := func() { _, err := c.Send(t.Context(), message); results <- err }
		go send()
		p := accept()
		for range 3 {
			p.send(ackTo(receive(t, p), "AR", "ERR|||207^internal^HL70357|E"))
		}
		p.send(ackTo(receive(t, p), "AA"))
		require.NoError(t, <-results)
		for _, answer := range [][]string{{"AE", "ERR||OBX^2^5|102^x^HL70357|E"}, {"AR", "ERR||MSH^1^9|200^x^HL70357|E"}, {"CE"}, {"AR"}} {
			go send()
			p.send(ackTo(receive(t, p), answer[0], answer[1:]...))
			var fault *AckFault
			require.ErrorAs(t, <-results, &fault)
			require.Equal(t, AckCode(answer[0]), fault.Ack.Code)
		}
		_, err := c.Send(t.Context(), []byte("no message"))
		require.Error(t, err)
		_, err = NewClient(ClientOptions{})
		require.Error(t, err)
	})
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		c, err := NewClient(ClientOptions{Logger: silent, Dial: func(context.Context) (net.Conn, error) { tries++; return nil, errors.New("no route") }})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		a := low()
		_, err = c.Send(ctx, new(Writer).Message(PhaseStart, &a, noon))
		require.ErrorIs(t, err, ErrNoAck)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Greater(t, tries, 20, "at most every 30 s")
		require.Less(t, tries, 60)
	})
}

// answered has a nurse answer an alert.
func answered(t *testing.T, hub *carewire.Hub, a carewire.Alert, do carewire.AnswerVerb) {
	nurse := carewire.Principal{ID: "nurse", Role: carewire.RoleClinician, Patients: []string{"p"}}
	_, err := hub.Answer(t.Context(), nurse, a.Ref(), carewire.Answer{Do: do})
	require.NoError(t, err)
}

// An alarm manager is told every phase of its alerts, in order.
func TestReporter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hub, err := carewire.New(carewire.AuthenticatorFunc(nil), carewire.NewMemoryStore(nil), &carewire.Options{Logger: silent})
		require.NoError(t, err)
		raise := func(patient, key string, p carewire.Priority) carewire.Alert {
			a, err := hub.Raise(t.Context(), carewire.Raise{Patient: patient, Key: key, Text: key, Priority: p})
			require.NoError(t, err)
			return a
		}
		answer := func(a carewire.Alert, do carewire.AnswerVerb) { answered(t, hub, a, do) }
		clearIt := func(a carewire.Alert) { _, err := hub.Clear(t.Context(), a.Ref()); require.NoError(t, err) }
		before := raise("p", "before", carewire.PriorityLow)

		ln := memnet.Listen()
		client, err := NewClient(ClientOptions{Dial: ln.Dial, Logger: silent})
		require.NoError(t, err)
		var mu sync.Mutex
		var told []Phase
		r := &Reporter{Client: client, Logger: silent, Told: func(_ *carewire.Alert, phase Phase, err error) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, phase)
		}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Follow(ctx, hub, carewire.WatchOptions{Patients: []string{"p"}}) }()
		conn, err := ln.Accept()
		require.NoError(t, err)
		p := newPeer(t, conn)
		next := func() string {
			m := receive(t, p)
			p.send(ackTo(m, "AA"))
			synctest.Wait()
			text := func(i int) string { return m.Segments()[i].Field(5).Component(1).String() }
			return text(4) + " " + text(6) + " " + text(7) + " " + text(8) + " " + text(9)
		}
		require.Equal(t, "before continue active enabled PL", next())
		a := raise("p", "apnoea", carewire.PriorityMedium)
		require.Equal(t, "apnoea start active enabled PM", next())
		raise("p", "apnoea", carewire.PriorityHigh)
		require.Equal(t, "apnoea escalate active enabled PH", next())
		time.Sleep(5 * time.Minute) // the escalation goes on meanwhile, and is no news
		answer(a, carewire.AnswerAccept)
		require.Equal(t, "apnoea update active alert-acknowledged PH", next())
		clearIt(a)
		require.Equal(t, "apnoea end inactive alert-acknowledged PH", next())
		clearIt(before)
		require.Equal(t, "before update latched enabled PL", next())
		answer(before, carewire.AnswerAccept)
		require.Equal(t, "before reset inactive alert-acknowledged PL", next())

		// The manager is away: alerts that came and went are not told, and the
		// most urgent come first.
		_ = conn.Close()
		stuck := raise("p", "stuck", carewire.PriorityLow)
		synctest.Wait()
		gone := raise("p", "gone", carewire.PriorityLow)
		answer(gone, carewire.AnswerAccept)
		clearIt(gone)
		raise("p", "lowly", carewire.PriorityLow)
		raise("p", "urgent", carewire.PriorityHigh)
		answer(stuck, carewire.AnswerAccept)
		time.Sleep(time.Minute)
		conn, err = ln.Accept()
		require.NoError(t, err)
		p = newPeer(t, conn)
		require.Equal(t, "stuck start active enabled PL", next(), "it was being sent")
		require.Equal(t, "urgent start active enabled PH", next())
		require.Equal(t, "stuck update active alert-acknowledged PL", next())
		require.Equal(t, "lowly start active enabled PL", next())
		mu.Lock()
		require.Equal(t, []Phase{PhaseContinue, PhaseStart, PhaseEscalate, PhaseUpdate, PhaseEnd, PhaseUpdate, PhaseReset, PhaseStart, PhaseStart, PhaseUpdate, PhaseStart}, told)
		mu.Unlock()
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.NoError(t, hub.Shutdown(t.Context()))
		require.NoError(t, client.Close())
		_ = p.conn.Close()
	})
}

// A page goes to the manager with its key. The manager's reports come back to the
// Hub, by the key or by the message that they answer.
func TestReporterPages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		client, err := NewClient(ClientOptions{Dial: ln.Dial, Logger: silent})
		require.NoError(t, err)
		r := &Reporter{Client: client, Logger: silent, Reports: true}
		require.True(t, r.ReportsPages())
		hub, err := carewire.New(carewire.AuthenticatorFunc(nil), carewire.NewMemoryStore(nil), &carewire.Options{Logger: silent, Pager: r,
			Policy: func(context.Context, carewire.Alert, int) (carewire.Step, error) {
				return carewire.Step{To: []string{"person:nurse"}, After: 5 * time.Minute}, nil
			}})
		require.NoError(t, err)
		server, err := NewServer(hub, &ServerOptions{Logger: silent, Status: func(ctx context.Context, m *Message) error {
			outcome := m.Segment("OBX").Field(5).String()
			return r.Report(ctx, hub, Status{Page: m.Segment("OBR").Field(2).Component(1).String(), Message: m.Segment("MSA").Field(2).String(),
				Outcome: carewire.PageOutcome(outcome), By: carewire.Principal{ID: "nurse", Role: carewire.RoleClinician, Patients: []string{"p"}}})
		}})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Follow(ctx, hub, carewire.WatchOptions{Patients: []string{"p"}}) }()
		synctest.Wait()
		raised, err := hub.Raise(t.Context(), carewire.Raise{Patient: "p", Key: "apnoea", Text: "Apnoea", Priority: carewire.PriorityHigh})
		require.NoError(t, err)
		conn, err := ln.Accept()
		require.NoError(t, err)
		p := newPeer(t, conn)
		paged, phases := (*Message)(nil), ""
		for paged == nil { // the page may be asked for before or after the start has been told
			m := receive(t, p)
			phases += m.Segments()[6].Field(5).String() + " "
			if m.Segment("OBR").Field(2).Raw() != m.Segment("OBR").Field(3).Raw() {
				paged = m
			}
			p.send(ackTo(m, "AA"))
			synctest.Wait()
		}
		require.Regexp(t, "^start (continue )?$", phases)
		key := paged.Segment("OBR").Field(2).Component(1).String()
		require.Equal(t, raised.ID+"/1/person:nurse", key)

		status := func(msa, obr2, outcome string) string {
			m, err := Parse(server.Handle(t.Context(), Peer{}, lines(`MSH|^~\&|AM||CW||20260105120001+0000||ORA^R41^ORA_R41|S1|P|2.6`, "MSA|AA|"+msa, "OBR|1|"+obr2, "OBX|1|ST|x||"+outcome)), nil)
			require.NoError(t, err)
			a, _ := parseAck(m)
			return string(a.Code)
		}
		require.Equal(t, "AA", status("", paged.Segment("OBR").Field(2).Raw(), "delivered"))
		require.Equal(t, "AA", status(paged.ControlID(), "", "read"))
		require.Equal(t, "AE", status("OTHER", "", "read"), "a message that carried no page")
		require.Equal(t, "AE", status(paged.ControlID(), "", "eaten"))
		a, err := hub.Alert(t.Context(), "p", "apnoea")
		require.NoError(t, err)
		require.Equal(t, carewire.ResponsibilityUndefined, a.Responsibility.State)
		require.Equal(t, "AA", status(paged.ControlID(), "", "accepted"))
		a, err = hub.Alert(t.Context(), "p", "apnoea")
		require.NoError(t, err)
		require.Equal(t, carewire.ResponsibilityAccepted, a.Responsibility.State)
		require.Equal(t, "nurse", a.Responsibility.By.ID)
		history, err := hub.History(t.Context(), carewire.HistoryQuery{Patient: "p", Kinds: []carewire.Kind{carewire.KindReceipt}})
		require.NoError(t, err)
		var stages []carewire.Stage
		for _, e := range history.Events {
			stages = append(stages, e.Receipt.Stage)
		}
		require.Equal(t, []carewire.Stage{carewire.StageDelivered, carewire.StageRead}, stages)

		// Nobody follows any more: a page reaches nobody, and says so.
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		short, end := context.WithTimeout(t.Context(), time.Second)
		defer end()
		require.ErrorIs(t, r.Page(short, carewire.Page{Key: key, Alert: raised}), ErrNoAck)
		require.NoError(t, server.Shutdown(t.Context()))
		require.NoError(t, hub.Shutdown(t.Context()))
		require.NoError(t, client.Close())
		_ = p.conn.Close()
	})
}

// The manager's refusal of a message with a page is the page's.
func TestReporterPageRefused(t *testing.T) {
	t.Parallel()
	q := new(Reporter).reports()
	a := low()
	page := &asked{key: "A1/1/person:x", alert: a.ID, done: make(chan error, 1)}
	q.ask(nameOf(&a), page)
	_, e, _, _, _ := q.take()
	require.Nil(t, e, "nothing is known of the alert yet")
	q.put(&a, false)
	name, e, told, phase, carried := q.take()
	require.Equal(t, PhaseStart, phase)
	require.Same(t, page, carried)
	q.done(name, e, told, carried, &AckFault{})
	require.Error(t, <-page.done)
	_, e, _, _, _ = q.take()
	require.Nil(t, e, "and is not told again")
	q.ask(name, &asked{key: "A1/2/person:x", alert: a.ID, done: make(chan error, 1)})
	_, _, _, phase, _ = q.take()
	require.Equal(t, PhaseContinue, phase)
}

// pageTo takes a report as a Hub does.
type pageTo func(carewire.PageReport) error

func (f pageTo) Receipt(_ context.Context, r carewire.PageReport) (carewire.Alert, error) {
	return carewire.Alert{}, f(r)
}

// Anything that an alarm manager sends, as an acknowledgement or as a report
// (ORA^R41), is answered by a message, or by nothing where it wants nothing. Only
// stray escapes of its own header come back to it.
func FuzzManager(f *testing.F) {
	f.Add(lines(`MSH|^~\&|AM||CW||20260105120001+0000||ACK^R40^ACK|1|P|2.6|||NE|AL`, "MSA|AE|M1", "ERR||OBX^2^5|102^data type error^HL70357|E"))
	f.Add(lines(`MSH|^~\&|AM||CW||20260105120001||ACK|1||2.3`, "MSA|AR|M1", "ERR|PID^1^3^204&unknown&HL70357"))
	f.Add(lines(`MSH|^~\&|AM||CW||20260105120001+0000||ORA^R41^ORA_R41|1|P|2.8`, "MSA|AA|M1", "PRT||UC", "OBR|1|A1/1/person:x", "OBX|1|ST|x||accepted|||||||||||nurse"))
	f.Add(lines(`MSH|^~\&|a\|CW||20260105120001||ACK|1\`, "MSA|AA|M1")) // stray escapes
	f.Fuzz(func(t *testing.T, b []byte) {
		kind := ""
		if m, err := Parse(b, &ParseOptions{Lenient: true}); err == nil {
			kind, _ = m.Type()
			if a, ok := parseAck(m); ok {
				require.NotEmpty(t, a.ControlID)
				require.True(t, a.Code.known())
				for _, e := range a.Errors {
					require.True(t, e.Reason == reasons[e.Code] || e.Reason == "an error", "the manager's own words")
					require.LessOrEqual(t, len(e.Segment), 3)
				}
			}
		}
		reporter, reported := new(Reporter), false
		reporter.sent.note("M1", "A1/1/person:x")
		hub := pageTo(func(r carewire.PageReport) error {
			if reported = true; r.Key != "A1/1/person:x" {
				return carewire.ErrNotFound
			}
			return nil
		})
		server, err := NewServer(&sink{}, &ServerOptions{Logger: silent, Status: func(ctx context.Context, m *Message) error {
			obx := m.Segment("OBX")
			return reporter.Report(ctx, hub, Status{Page: m.Segment("OBR").Field(2).Component(1).String(), Message: m.Segment("MSA").Field(2).String(),
				Outcome: carewire.PageOutcome(obx.Field(5).String()), By: carewire.Principal{ID: obx.Field(16).Component(1).String()}})
		}})
		require.NoError(t, err)
		answer := server.Handle(t.Context(), Peer{}, b)
		if answer == nil {
			return
		}
		head, err := Parse(b, &ParseOptions{Lenient: true})
		if err != nil {
			head = headerOnly(b)
		}
		stray := head != nil && head.checkEscapes(head.segments[0].text) != nil
		m, err := Parse(answer, &ParseOptions{Lenient: stray})
		require.NoError(t, err, "%q", answer)
		if head != nil && head.seps == Usual {
			require.Equal(t, head.Header(10).Raw(), m.Segment("MSA").Field(2).Raw())
		}
		code := AckCode(m.Segment("MSA").Field(1).String())
		require.True(t, code.known())
		require.False(t, kind == "ORA" && code.accepted() && !reported, "accepted, and not reported")
	})
}
