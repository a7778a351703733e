package carewire

import (
	"bytes"
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/internal/wsconn"
)

// vector is one frame of testdata/vectors and its effect, as section 14 of
// docs/protocol.md describes.
type vector struct {
	Name      string         `json:"name"`
	Direction string         `json:"direction"`
	Frame     string         `json:"frame"`
	Valid     bool           `json:"valid"`
	Error     *vectorError   `json:"error"`
	Results   []*vectorError `json:"results"`
	Schema    *bool          `json:"schema"`
}

type vectorError struct {
	Code  ErrorCode `json:"code"`
	Field string    `json:"field"`
}

func readVectors(t *testing.T, run func(t *testing.T, file string, v vector)) {
	t.Helper()
	files, err := filepath.Glob("testdata/vectors/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		var list []vector
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		require.NoError(t, d.Decode(&list), file)
		names := make(map[string]bool)
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		for _, v := range list {
			require.False(t, names[v.Name], "%s: %q is there twice", file, v.Name)
			names[v.Name] = true
			t.Run(name+"/"+v.Name, func(t *testing.T) { run(t, name, v) })
		}
	}
}

// A client's frame is taken, or refused with the code and the field that the
// vectors say.
func TestClientVectors(t *testing.T) {
	t.Parallel()
	valid, invalid := make(map[requestType]int), make(map[requestType]int)
	readVectors(t, func(t *testing.T, _ string, v vector) {
		if v.Direction != "client" {
			return
		}
		r, err := decodeRequest([]byte(v.Frame), 100)
		if v.Valid {
			valid[r.Type]++
			require.NoError(t, err)
			require.Nil(t, v.Error)
			judgeVitals(t, r, v)
			return
		}
		invalid[r.Type]++
		require.Error(t, err)
		require.NotNil(t, v.Error)
		checkFailure(t, err, v.Error)
	})
	for _, typ := range requestTypes {
		assert.Positive(t, valid[typ], "no valid %s", typ)
		assert.Positive(t, invalid[typ], "no invalid %s", typ)
	}
}

var requestTypes = []requestType{reqWatch, reqUnwatch, reqPublish, reqRaise, reqClear, reqAnswer, reqReceipt, reqNotify, reqHistory, reqToken, reqTicket, reqHandover, reqPause, reqUnpause, reqWave}

var eventTypes = []EventType{EventWelcome, EventVital, EventAlert, EventNotice, EventReceipt, EventAccess, EventGap, EventHead, EventSync, EventSynced,
	EventInbox, EventGranted, EventRevoked, EventStatus, EventHeartbeat, EventClosed, EventWave, EventWaves, EventStrip}

// judgeVitals checks the result of each vital of a publish.
func judgeVitals(t *testing.T, r *request, v vector) {
	t.Helper()
	if r.Type != reqPublish {
		require.Empty(t, v.Results)
		return
	}
	require.Len(t, v.Results, len(r.Vitals))
	for i := range r.Vitals {
		err := cmp.Or(r.Unread[i], r.Vitals[i].Validate())
		if v.Results[i] == nil {
			require.NoError(t, err, "vital %d", i)
			continue
		}
		require.Error(t, err, "vital %d", i)
		checkFailure(t, err, v.Results[i])
	}
}

// checkFailure checks an error as the wire shows it, in an error frame too.
func checkFailure(t *testing.T, err error, want *vectorError) {
	t.Helper()
	f := requestError(err)
	assert.Equal(t, want.Code, f.Code, f.Error())
	assert.Equal(t, want.Field, f.Field, f.Error())
	assert.Equal(t, RetryNever, f.Retry)
	if f.Code != CodeUnknownType {
		assert.NotEmpty(t, f.Reason)
	}
	_, reply, err := decodeEvent(frameText(t, errorFrame("7", err)))
	require.NoError(t, err)
	assert.Equal(t, "7", reply.Req)
	assert.Equal(t, f, reply.Err)
}

// frameText takes the text out of a ready frame.
func frameText(t *testing.T, b []byte) []byte {
	t.Helper()
	require.Equal(t, byte(0x81), b[0])
	switch b[1] {
	case 126:
		return b[4:]
	case 127:
		return b[10:]
	}
	return b[2:]
}

// A server's frame is read in full: every member of the vectors is there again
// when it is written.
func TestServerVectors(t *testing.T) {
	t.Parallel()
	seen := make(map[EventType]int)
	readVectors(t, func(t *testing.T, file string, v vector) {
		if v.Direction != "server" {
			require.Equal(t, "client", v.Direction)
			return
		}
		ev, reply, err := decodeEvent([]byte(v.Frame))
		if !v.Valid {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		var m map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(v.Frame), &m))
		if reply != nil {
			checkReply(t, reply, m)
			return
		}
		seen[ev.Type]++
		assert.Equal(t, strings.Trim(string(m["type"]), `"`), string(ev.Type))
		if file != "events_open" { // there is more in those than carewire.v1 knows
			assert.JSONEq(t, v.Frame, encodeEvent(&ev, m))
		}
	})
	for _, typ := range eventTypes {
		assert.Positive(t, seen[typ], "no %s", typ)
	}
}

// encodeEvent writes ev again, with the members that m has.
func encodeEvent(ev *Event, m map[string]json.RawMessage) string {
	var e encoder
	if ev.Welcome != nil {
		ev.Welcome.encode(&e)
		return string(e.b)
	}
	e.b = append(e.b, '{')
	e.str("type", string(ev.Type))
	if ev.Wave == nil { // else it is in there
		e.str("patient", ev.Patient)
	}
	e.str("epoch", ev.Epoch)
	optional := func(name string, write func()) {
		if m[name] != nil {
			write()
		}
	}
	optional("seq", func() { e.count("seq", ev.Seq) })
	optional("must", func() { e.count("must", ev.Must) })
	optional("recovered", func() { e.name("recovered"); e.b = strconv.AppendBool(e.b, ev.Recovered) })
	encodeObjects(&e, ev.Vital, ev.Alert, ev.Notice)
	if ev.Receipt != nil {
		e.name("receipt")
		ev.Receipt.encode(&e)
	}
	if ev.Access != nil {
		e.name("access")
		ev.Access.encode(&e)
	}
	if ev.Wave != nil {
		e.name("wave")
		ev.Wave.encode(&e)
	}
	if ev.Strip != nil {
		e.name("strip")
		ev.Strip.encode(&e)
	}
	if ev.waves != nil {
		_, text, _ := wsconn.CutFrame(wavesFrame(ev.waves))
		return string(text)
	}
	optional("heads", func() {
		e.name("heads")
		e.b = append(e.b, '[')
		for _, h := range ev.Heads {
			e.comma()
			e.b = append(e.b, '{')
			e.position(h.Patient, h.Position, h.Must)
			e.b = append(e.b, '}')
		}
		e.b = append(e.b, ']')
	})
	optional("items", func() {
		e.name("items")
		e.b = append(e.b, '[')
		for _, it := range ev.Items {
			e.comma()
			e.b = append(e.b, '{')
			encodeObjects(&e, nil, it.Alert, it.Notice)
			e.b = append(e.b, '}')
		}
		e.b = append(e.b, ']')
	})
	e.bool("done", ev.Done)
	e.str("store", ev.Store)
	e.time("since", ev.Since)
	e.strings("patients", ev.Patients)
	e.time("time", ev.Time)
	optional("inbox", func() { e.count("inbox", uint64(ev.Open)) })
	optional("code", func() { e.count("code", uint64(ev.Code)) })
	e.b = append(e.b, '}')
	return string(e.b)
}

func encodeObjects(e *encoder, v *Vital, a *Alert, n *Notice) {
	if v != nil {
		e.name("vital")
		v.encode(e)
	}
	if a != nil {
		e.name("alert")
		a.encode(e)
	}
	if n != nil {
		e.name("notice")
		n.encode(e)
	}
}

// checkReply checks that r holds the members of the frame m.
func checkReply(t *testing.T, r *reply, m map[string]json.RawMessage) {
	t.Helper()
	text := func(name string) string {
		var s string
		if m[name] != nil {
			require.NoError(t, json.Unmarshal(m[name], &s))
		}
		return s
	}
	length := func(name string) int {
		var list []json.RawMessage
		if m[name] != nil {
			require.NoError(t, json.Unmarshal(m[name], &list))
		}
		return len(list)
	}
	assert.Equal(t, text("req"), r.Req)
	assert.Len(t, r.Results, length("results"))
	assert.Len(t, r.Watching, length("watching"))
	assert.Len(t, r.Refused, length("refused"))
	assert.Len(t, r.Events, length("events"))
	if m["alert"] != nil {
		b, err := json.Marshal(r.Alert)
		require.NoError(t, err)
		assert.JSONEq(t, string(m["alert"]), string(b))
	}
	if m["notice"] != nil {
		b, err := json.Marshal(r.Notice)
		require.NoError(t, err)
		assert.JSONEq(t, string(m["notice"]), string(b))
	}
	assert.Equal(t, m["next"] != nil, r.Next != 0)
	assert.Equal(t, m["expires"] != nil, !r.Expires.IsZero())
	if text("type") == "ok" {
		assert.Nil(t, r.Err)
		return
	}
	require.NotNil(t, r.Err)
	assert.Equal(t, text("code"), string(r.Err.Code))
	assert.Equal(t, text("retry"), string(r.Err.Retry))
	assert.Equal(t, text("field"), r.Err.Field)
	assert.Equal(t, text("reason"), r.Err.Reason)
	if m["retry_ms"] != nil {
		assert.Equal(t, string(m["retry_ms"]), strconv.FormatInt(r.Err.RetryAfter.Milliseconds(), 10))
	}
}

// The tables of docs/protocol.md have a row for every code, and each row is
// true.
func TestProtocolTables(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("docs/protocol.md")
	require.NoError(t, err)
	rows := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		if cells := strings.Split(line, "|"); len(cells) > 2 && strings.HasPrefix(line, "|") {
			rows[strings.Trim(cells[1], " `")] += line
		}
	}
	for code, m := range measures {
		require.Contains(t, rows, code)
		assert.Contains(t, rows[code], m.Display)
		for _, u := range m.Units() {
			assert.Contains(t, rows[code], "`"+u+"`")
		}
	}
	for code, p := range panels {
		require.Contains(t, rows, code)
		for _, part := range p.parts {
			assert.Contains(t, rows[code], part.Code)
		}
	}
	for err, code := range codeOf {
		require.Contains(t, rows, string(code))
		assert.Contains(t, rows[string(code)], "| "+string(requestError(err).Retry)+" |")
	}
	for _, code := range []ErrorCode{CodeMalformed, CodeUnknownType, CodeInvalid, CodeLimit, CodeInternal} {
		require.Contains(t, rows, string(code))
	}
	for c := CloseCode(1000); c < 5000; c++ {
		row, ok := rows[strconv.Itoa(int(c))]
		if c.reason() != "" || c == CloseAbnormal {
			require.True(t, ok, "no row for %d", c)
		}
		if ok {
			assert.Equal(t, c.ComeBack(), strings.Contains(row, "| yes"), "%d", c)
		}
	}
	for role, actions := range allowed {
		for _, a := range []Action{ActionWatch, ActionHistory, ActionPublish, ActionRaise, ActionClear, ActionAnswer, ActionClose, ActionNotify, ActionTest, ActionPause} {
			want := " "
			for _, has := range actions {
				if has == a {
					want = "yes"
				}
			}
			assert.Regexp(t, tableCell(string(role), string(a), want), string(b))
		}
	}
	for _, typ := range requestTypes {
		assert.Contains(t, string(b), "### "+string(typ))
	}
	for _, typ := range eventTypes {
		assert.Contains(t, rows, string(typ))
	}
}

// tableCell matches the row of an action whose cell in the column of role is want.
func tableCell(role, action, want string) *regexp.Regexp {
	column := map[string]int{"device": 0, "patient": 1, "clinician": 2, "viewer": 3, "service": 4}[role]
	return regexp.MustCompile(`(?m)^\| ` + "`" + action + "`" + ` \|[^|]*\|` + strings.Repeat(`[^|]*\|`, column) + ` *` + strings.TrimSpace(want) + ` *\|`)
}

// The frames of the sessions in docs/protocol.md are ones that carewire takes
// and sends.
func TestProtocolSessions(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("docs/protocol.md")
	require.NoError(t, err)
	sent, got := 0, 0
	for line := range strings.Lines(string(b)) {
		if text, ok := strings.CutPrefix(line, "C: {"); ok {
			sent++
			r, err := decodeRequest([]byte("{"+strings.TrimSpace(text)), 100)
			require.NoError(t, err, line)
			for i := range r.Vitals {
				require.NoError(t, r.Vitals[i].Validate(), line)
			}
		}
		text, ok := strings.CutPrefix(line, "S: {")
		if !ok {
			text, ok = strings.CutPrefix(line, "data: {")
		}
		if ok {
			got++
			ev, reply, err := decodeEvent([]byte("{" + strings.TrimSpace(text)))
			require.NoError(t, err, line)
			if reply == nil {
				require.Contains(t, eventTypes, ev.Type, line)
			}
		}
	}
	assert.GreaterOrEqual(t, sent, 10)
	assert.Greater(t, got, 20)
}
