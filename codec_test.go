package carewire

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fullAlert is an alert with every member.
func fullAlert() Alert {
	ann, bob := Person{"ann", "Ann \"A\" Grey", RoleClinician}, Person{ID: "bob"}
	bySpeech := Recognition{RecognitionSpeech, "ears 2", "0.670"}
	return Alert{Patient: "p-17", Key: "spo2-low", ID: "ev-1", Rev: 7, Code: "c", System: "s", Text: "SpO2 low\nfor 3 min", Priority: PriorityHigh,
		Kind: AlertPhysiological, Test: true, Unpausable: true, Audience: AudienceNamed, To: []string{"group:ward-5", "person:ann"},
		Source: Source{By: "monitor", Rule: "low", Limits: "90-", Value: "85.0", Unit: "%", VitalID: "v-1", Recognition: bySpeech, NextDue: wireTime.Add(4e9), Continuous: true},
		Sources: []Assertion{{Source: Source{By: "monitor", Rule: "low", Limits: "90-", Value: "85.0", Unit: "%", VitalID: "v-1", Recognition: bySpeech, NextDue: wireTime, Continuous: true}, Code: "c", System: "s", Text: "t",
			Priority: PriorityHigh, Kind: AlertTechnical, NoLatch: true, Unpausable: true, Since: wireTime}},
		Condition: ConditionOver, Latched: true, Onset: wireTime, Raised: wireTime.Add(1e9), Updated: wireTime.Add(2e9), Ended: wireTime.Add(3e9),
		Responsibility: Responsibility{ResponsibilityAccepted, ann, wireTime, wireTime.Add(1e12), "group:b"},
		Answers:        []Answered{{AnswerAccept, ann, wireTime, wireTime.Add(1e12), "", "on my way", bySpeech}, {AnswerAssign, bob, wireTime, time.Time{}, "person:ann", "", Recognition{}}},
		AnswerCount:    9,
		Escalation: Escalation{Level: 3, Step: 2, State: EscalationNotified, Due: wireTime.Add(9e9), recipients: []string{"role:clinician"}, addressed: []string{"group:a"},
			began: wireTime, after: 90.5, early: true, held: true, reached: true, everReached: true, silent: true, last: true, rejected: []string{"bob"}, refusers: []string{"cy"},
			assigned: "person:ann", repeats: 1, next: wireTime.Add(8e9), trouble: troubleExhausted, peak: PriorityHigh},
		Closed: &Closing{ann, wireTime, "done"}}
}

// Every event goes from the server's encoding to the same event at a client.
func TestEventsRoundTrip(t *testing.T) {
	t.Parallel()
	at := Position{"e1", 41}
	v, a := fullVital(), fullAlert()
	n := Notice{"p-17", "n-1", "ann", []string{"patient"}, AudienceNamed, "How are you?", wireTime, "n-0"}
	r := Receipt{"p-17", "spo2-low", "ev-1", 3, "", StagePresented, Person{"ann", "Ann", RoleClinician}, wireTime}
	c := AccessChange{"revoked", "ann", "s-1", "ward-5", []string{"p-17"}, wireTime, "why", true}
	for kind, event := range map[Kind]Event{
		KindVital:   {Type: EventVital, Vital: &v},
		KindAlert:   {Type: EventAlert, Alert: &a},
		KindNotice:  {Type: EventNotice, Notice: &n},
		KindReceipt: {Type: EventReceipt, Receipt: &r},
		KindAccess:  {Type: EventAccess, Access: &c},
	} {
		var data, e encoder
		switch kind {
		case KindVital:
			v.encode(&data)
		case KindAlert:
			a.encode(&data)
		case KindNotice:
			n.encode(&data)
		case KindReceipt:
			r.encode(&data)
		case KindAccess:
			c.encode(&data)
		}
		event.Patient, event.Position, event.Must = "p-17", at, 12
		entry := Entry{Patient: "p-17", Position: at, Must: 12, Kind: kind, Data: data.b}
		e.entry(&entry)
		got, reply, err := decodeEvent(e.b)
		require.NoError(t, err)
		require.Nil(t, reply)
		require.Equal(t, event, got)
		got, err = entry.event()
		require.NoError(t, err)
		require.Equal(t, event, got, "in process as over the wire")

		e = encoder{}
		e.gap(&entry)
		got, _, err = decodeEvent(e.b)
		require.NoError(t, err)
		require.Equal(t, Event{Type: EventGap, Patient: "p-17", Position: at, Must: 12}, got)
	}
	for _, w := range []Welcome{
		{Session: "s-1", Principal: Person{"ann", "Ann", RoleClinician}, Expires: wireTime, Time: wireTime, Heartbeat: 20 * time.Second, Durable: true,
			Features: []string{"history"}, Limits: Limits{1, 2, 3, 4, 5, 6, 7}},
		{Principal: Person{ID: "x"}},
	} {
		var e encoder
		w.encode(&e)
		got, _, err := decodeEvent(e.b)
		require.NoError(t, err)
		require.Equal(t, Event{Type: EventWelcome, Time: w.Time, Welcome: &w}, got)
	}
}

// The events that are made of few members, as the protocol writes them.
func TestDecodePlainEvents(t *testing.T) {
	t.Parallel()
	at := Position{"e1", 41}
	for text, want := range map[string]Event{
		`{"type":"sync","patient":"p","epoch":"e1","seq":41,"must":2,"recovered":true}`: {Type: EventSync, Patient: "p", Position: at, Must: 2, Recovered: true},
		`{"type":"synced","patient":"p","epoch":"e1","seq":41,"must":2}`:                {Type: EventSynced, Patient: "p", Position: at, Must: 2},
		`{"type":"head","heads":[{"patient":"p","epoch":"e1","seq":41,"must":2,"x":1},{"patient":"q"}]}`: {Type: EventHead,
			Heads: []Head{{Patient: "p", Position: at, Must: 2}, {Patient: "q"}}},
		`{"type":"inbox","items":[{"alert":{"patient":"p"}},{"notice":{"patient":"q"}},{"later":{}}],"done":true}`: {Type: EventInbox, Done: true,
			Items: []InboxItem{{Alert: &Alert{Patient: "p"}}, {Notice: &Notice{Patient: "q"}}, {}}},
		`{"type":"granted","patient":"p"}`:                                        {Type: EventGranted, Patient: "p"},
		`{"type":"revoked","patient":"p"}`:                                        {Type: EventRevoked, Patient: "p"},
		`{"type":"status","store":"failing","since":"2026-03-01T08:00:00.000Z"}`:  {Type: EventStatus, Store: "failing", Since: wireTime},
		`{"type":"heartbeat","time":"2026-03-01T08:00:00.000Z","inbox":3}`:        {Type: EventHeartbeat, Time: wireTime, Open: 3},
		`{"type":"closed","code":1012}`:                                           {Type: EventClosed, Code: CloseRestart},
		`{"more":[{"a":null}],"type":"granted","patient":"p","recovered":null}`:   {Type: EventGranted, Patient: "p"},
		`{"type":"gap","patient":"p","epoch":"e1","seq":18446744073709551615}`:    {Type: EventGap, Patient: "p", Position: Position{"e1", 1<<64 - 1}},
		`{"type":"alert","alert":{"patient":"p","audience":"family","seen":[1]}}`: {Type: EventAlert, Alert: &Alert{Patient: "p", Audience: AudienceNamed}},
	} {
		got, reply, err := decodeEvent([]byte(text))
		require.NoError(t, err, text)
		require.Nil(t, reply)
		require.Equal(t, want, got)
	}
	for _, bad := range []string{``, `[]`, `{"type":"granted"`, `{"type":"granted"}x`, `{"type":"granted","patient":"a","patient":"b"}`} {
		_, _, err := decodeEvent([]byte(bad))
		require.Error(t, err, bad)
	}
}

// Every reply goes from okFrame to the same reply at a client.
func TestRepliesRoundTrip(t *testing.T) {
	t.Parallel()
	a, n := fullAlert(), Notice{Patient: "p-17", ID: "n-1", Audience: AudienceAll, Text: "hello"}
	refusal := &RequestError{Code: CodeInvalid, Retry: RetryNever, Field: "value", Reason: "impossible for this code"}
	for name, row := range map[string]struct {
		members func(*encoder)
		want    reply
	}{
		"unwatch, receipt": {nil, reply{}},
		"watch": {func(e *encoder) {
			e.strings("watching", []string{"p-17", "p-18"})
			e.raw("refused", []byte(`[{"patient":"p-19","code":"forbidden"},{"group":"ward-6","code":"undecided"}]`))
		}, reply{Watching: []string{"p-17", "p-18"}, Refused: []Refusal{{Patient: "p-19", Code: CodeForbidden}, {Group: "ward-6", Code: CodeUndecided}}}},
		"publish": {func(e *encoder) {
			e.raw("results", []byte(`[{"seq":41},{"seq":12,"repeated":true},{"error":{`))
			e.failure(refusal)
			e.b = append(e.b, "}}]"...)
		}, reply{Results: []result{{Seq: 41}, {Seq: 12, Repeated: true}, {Err: refusal}}}},
		"raise, clear, answer": {func(e *encoder) { e.name("alert"); a.encode(e) }, reply{Alert: &a}},
		"notify":               {func(e *encoder) { e.name("notice"); n.encode(e) }, reply{Notice: &n}},
		"history": {func(e *encoder) {
			e.raw("events", []byte(`[{"type":"gap","patient":"p","epoch":"e1","seq":41,"must":2},{"type":"vital","vital":{"patient":"p"}}]`))
			e.uint("next", 42)
		}, reply{Events: []Event{{Type: EventGap, Patient: "p", Position: Position{"e1", 41}, Must: 2}, {Type: EventVital, Vital: &Vital{Patient: "p"}}}, Next: 42}},
		"token":              {func(e *encoder) { e.time("expires", wireTime) }, reply{Expires: wireTime}},
		"of a newer version": {func(e *encoder) { e.raw("mood", []byte(`{"good":[true,null,1e9]}`)) }, reply{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, text := unframe(t, okFrame(`r"1`, row.members))
			require.True(t, json.Valid(text), string(text))
			_, got, err := decodeEvent(text)
			require.NoError(t, err)
			row.want.Req = `r"1`
			require.Equal(t, &row.want, got)
		})
	}
}

// A member that a newer version wrote into a stored alert is still there after
// an older version has changed the alert.
func TestStoredAlertKeepsUnknownMembers(t *testing.T) {
	t.Parallel()
	const stored = `{"patient":"p-17", "mood" : {"a":[1,{"b":null}]},"key":"k","rev":1,"text":"x","n":-1.5e3,"s":"\u00e9\"","x":[]}`
	var a Alert
	require.NoError(t, json.Unmarshal([]byte(stored), &a))
	a = raiseAlert(&a, Raise{Text: "y", Priority: PriorityLow}, "src", wireTime)
	b, err := json.Marshal(a)
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, json.Unmarshal(b, &got))
	assert.Equal(t, map[string]any{"a": []any{1.0, map[string]any{"b": nil}}}, got["mood"])
	assert.Equal(t, -1500.0, got["n"])
	assert.Equal(t, `é"`, got["s"])
	assert.Equal(t, []any{}, got["x"])
	assert.Equal(t, "y", got["text"])
	assert.Equal(t, 2.0, got["rev"])

	full := fullAlert()
	b, err = json.Marshal(full)
	require.NoError(t, err)
	var back Alert
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, full, back)
	_, err = json.Marshal(Alert{Source: Source{Value: `1,"patient":"other"`}})
	require.Error(t, err, "a value that is no number never becomes JSON")
}

func TestNoticeJSON(t *testing.T) {
	t.Parallel()
	n := Notice{"p-17", "n-1", "ann", []string{"patient", "group:ward-5"}, AudienceNamed, "How \\ are \"you\"?\x00", wireTime, "n-0"}
	b, err := json.Marshal(n)
	require.NoError(t, err)
	var back Notice
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, n, back)
}

func TestUnknownMembersAlone(t *testing.T) {
	t.Parallel()
	var a Alert
	require.NoError(t, a.UnmarshalJSON([]byte(`{"future":1,"more":{"x":[]}}`)))
	b, err := a.MarshalJSON()
	require.NoError(t, err)
	require.JSONEq(t, `{"future":1,"more":{"x":[]}}`, string(b))
}

// A duration of whole milliseconds comes back as it was sent.
func TestSecondsAreRounded(t *testing.T) {
	t.Parallel()
	for ms := range 5000 {
		want := time.Duration(ms) * time.Millisecond
		s := scanner{b: []byte(DecimalOf(want.Seconds()))}
		require.Equal(t, want, s.seconds())
	}
}

// A member that a client does not know is no error; an event of a page that it
// cannot read is.
func TestUnknownAndUnreadableEvents(t *testing.T) {
	t.Parallel()
	ev, _, err := decodeEvent([]byte(`{"type":"batch","patient":"p","code":"8867-4","seq":"x"}`))
	require.NoError(t, err)
	require.Equal(t, Event{Type: "batch"}, ev)
	_, _, err = decodeEvent([]byte(`{"type":"ok","req":"1","events":[{"type":"vital","seq":-1},{"type":"gap","seq":2}]}`))
	require.Error(t, err)
}
