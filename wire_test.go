package carewire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// goodRequests holds one request of each type, with every member that it may carry.
var goodRequests = map[string]string{
	"watch": `{"type":"watch","req":"1","patients":["p-17","@system"],"groups":["ward-5"],"since":{"p-17":{"epoch":"e1","seq":41}},
		"delivery":"every","emergency":true,"reason":"collapsed"}`,
	"unwatch": `{"type":"unwatch","req":"1","patients":["p-17"],"groups":["ward-5"]}`,
	"publish": `{"type":"publish","req":"1","vitals":[
		{"patient":"p-17","code":"8867-4","value":72,"unit":"/min","comparator":"<","quality":["early"],"time":"2026-03-01T09:00:00.5+01:00","device":"d-1",
		 "site":"chest","method":"ECG","every":1.5,"status":"corrected","replaces":"v-1","vital_id":"v-2","system":"loinc","test":true},
		{"patient":"p-17","code":"85354-9","components":[{"code":"8480-6","value":120,"unit":"mm[Hg]"},{"code":"8462-4","value":80.0,"unit":"mm[Hg]"}]},
		{"patient":"p-17","code":"80288-4","coded":{"system":"snomed","code":"248234008"}},
		{"patient":"p-17","code":"8867-4","absent":"error"}]}`,
	"raise": `{"type":"raise","req":"1","event_id":"ev-1","alert":{"patient":"p-17","key":"spo2-low","code":"c","system":"s","text":"SpO2 low","priority":"high",
		"kind":"physiological","onset":"2026-03-01T08:00:00Z","audience":"all","to":["group:ward-5","person:dr grey","role:clinician","patient"],
		"source":{"rule":"low","limits":"90-","value":85.0,"unit":"%","vital_id":"v-1"},"test":true}}`,
	"clear": `{"type":"clear","req":"1","patient":"p-17","key":"spo2-low","alert_id":"ev-1","event_id":"ev-2"}`,
	"answer": `{"type":"answer","req":"1","patient":"p-17","key":"spo2-low","alert_id":"ev-1","event_id":"ev-3","do":"accept","for_s":600.5,
		"reason":"on my way","rev":7}`,
	"receipt": `{"type":"receipt","req":"1","patient":"p-17","key":"spo2-low","alert_id":"ev-1","stage":"presented"}`,
	"notify": `{"type":"notify","req":"1","notice":{"patient":"p-17","notice_id":"n-1","to":["patient"],"audience":"named","text":"How are you?\nAnd your knee?",
		"replies_to":"n-0"}}`,
	"history": `{"type":"history","req":"1","patient":"p-17","kinds":["vital","alert","notice","receipt","access"],"key":"spo2-low",
		"from":"2026-03-01T08:00:00Z","to":"2026-03-02T08:00:00Z","cursor":41,"limit":100}`,
	"token": `{"type":"token","req":"1","token":"eyJhbGciOi.x.y"}`,
}

var wireTime = time.Date(2026, time.March, 1, 8, 0, 0, 0, time.UTC)

func TestDecodeRequest(t *testing.T) {
	t.Parallel()
	want := map[string]request{
		"watch": {Patients: []string{"p-17", "@system"}, Groups: []string{"ward-5"}, Since: map[string]Position{"p-17": {"e1", 41}},
			Delivery: DeliverEvery, Emergency: true, Reason: "collapsed"},
		"unwatch": {Patients: []string{"p-17"}, Groups: []string{"ward-5"}, Delivery: DeliverLatest},
		"publish": {Vitals: []Vital{
			{Patient: "p-17", Code: "8867-4", Value: "72", Unit: "/min", Comparator: ComparatorBelow, Quality: []Quality{QualityEarly}, Time: wireTime.Add(500 * time.Millisecond),
				Device: "d-1", Site: "chest", Method: "ECG", Every: 1500 * time.Millisecond, Status: VitalCorrected, Replaces: "v-1", ID: "v-2", System: LOINC, Test: true},
			{Patient: "p-17", Code: "85354-9", Components: []Component{{Code: "8480-6", Value: "120", Unit: "mm[Hg]"}, {Code: "8462-4", Value: "80.0", Unit: "mm[Hg]"}}},
			{Patient: "p-17", Code: Consciousness, Coded: &Coding{"snomed", "248234008"}},
			{Patient: "p-17", Code: "8867-4", Absent: AbsentError}}},
		"raise": {EventID: "ev-1", Raise: Raise{Patient: "p-17", Key: "spo2-low", ID: "ev-1", Code: "c", System: "s", Text: "SpO2 low", Priority: PriorityHigh,
			Kind: AlertPhysiological, Onset: wireTime, Audience: AudienceAll, To: []string{"group:ward-5", "person:dr grey", "role:clinician", "patient"},
			Source: Source{Rule: "low", Limits: "90-", Value: "85.0", Unit: "%", VitalID: "v-1"}, Test: true}},
		"clear": {Ref: AlertRef{Patient: "p-17", Key: "spo2-low", ID: "ev-1"}, EventID: "ev-2"},
		"answer": {Ref: AlertRef{Patient: "p-17", Key: "spo2-low", ID: "ev-1"}, EventID: "ev-3",
			Answer: Answer{Do: AnswerAccept, For: 600500 * time.Millisecond, Reason: "on my way", Rev: 7, ID: "ev-3"}},
		"receipt": {Receipt: Receipt{Patient: "p-17", Key: "spo2-low", AlertID: "ev-1", Stage: StagePresented}},
		"notify": {Notice: Notice{Patient: "p-17", ID: "n-1", To: []string{"patient"}, Audience: AudienceNamed, Text: "How are you?\nAnd your knee?",
			RepliesTo: "n-0"}},
		"history": {History: HistoryQuery{Patient: "p-17", Kinds: []Kind{KindVital, KindAlert, KindNotice, KindReceipt, KindAccess}, Key: "spo2-low",
			From: wireTime, To: wireTime.AddDate(0, 0, 1), Cursor: 41, Limit: 100}},
		"token": {Token: "eyJhbGciOi.x.y"},
	}
	require.Len(t, want, len(goodRequests))
	for typ, frame := range goodRequests {
		t.Run(typ, func(t *testing.T) {
			t.Parallel()
			got, err := decodeRequest([]byte(frame), 100)
			require.NoError(t, err)
			want := want[typ]
			want.Type, want.Req = requestType(typ), "1"
			require.Equal(t, &want, got)
		})
	}
	t.Run("vitals are valid", func(t *testing.T) {
		t.Parallel()
		got, err := decodeRequest([]byte(goodRequests["publish"]), 100)
		require.NoError(t, err)
		for i := range got.Vitals {
			require.NoError(t, got.Vitals[i].Validate())
		}
	})
}

// changed returns a good request with one member (a path) set to another JSON
// text; "" takes it out.
func changed(t *testing.T, typ, path, text string) string {
	t.Helper()
	var frame map[string]any
	require.NoError(t, json.Unmarshal([]byte(goodRequests[typ]), &frame))
	at := frame
	names := strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		at = at[name].(map[string]any)
	}
	if last := names[len(names)-1]; text == "" {
		require.Contains(t, at, last)
		delete(at, last)
	} else {
		at[last] = json.RawMessage(text)
	}
	b, err := json.Marshal(frame)
	require.NoError(t, err)
	if path == "type" {
		return string(b)
	}
	rest := strings.Replace(string(b), `"type":"`+typ+`"`, `"":0`, 1) // the type comes first, as clients write it
	rest = strings.NewReplacer(`,"":0`, ``, `"":0,`, ``).Replace(rest)
	return `{"type":"` + typ + `",` + rest[1:]
}

// What is missing or wrong is answered with its code and the path of the member.
func TestDecodeRequestRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		typ, path, text string // the change to a good request
		code            ErrorCode
		field           string
	}{
		{"watch", "type", "", CodeUnknownType, ""},
		{"watch", "type", `"Watch"`, CodeUnknownType, ""},
		{"watch", "req", "", CodeInvalid, "req"},
		{"watch", "req", `""`, CodeInvalid, "req"},
		{"watch", "req", `7`, CodeInvalid, "req"},
		{"watch", "req", `"` + strings.Repeat("x", 65) + `"`, CodeInvalid, "req"},
		{"watch", "req", `"a\u0000"`, CodeInvalid, "req"},
		{"watch", "groups", `["@all"]`, CodeInvalid, "groups[0]"},
		{"watch", "groups", `["ward-5","ward 6"]`, CodeInvalid, "groups[1]"},
		{"watch", "patients", `"p-17"`, CodeInvalid, "patients"},
		{"watch", "patients", `["p-17",5]`, CodeInvalid, "patients[1]"},
		{"watch", "delivery", `"all"`, CodeInvalid, "delivery"},
		{"watch", "reason", "", CodeInvalid, "reason"},
		{"watch", "emergency", `"true"`, CodeInvalid, "emergency"},
		{"watch", "since", `[]`, CodeInvalid, "since"},
		{"watch", "since", `{"p-17":41}`, CodeInvalid, "since"},
		{"watch", "since", `{"p-17":{"seq":41}}`, CodeInvalid, "since"},
		{"watch", "since", `{"p-17":{"epoch":"e1","seq":-1}}`, CodeInvalid, "since.seq"},
		{"watch", "since", `{"p-17":{"epoch":"e1","seq":18446744073709551615}}`, CodeInvalid, "since.seq"},
		{"watch", "since", `{"p-17":{"epoch":"e1","seq":1.5}}`, CodeInvalid, "since.seq"},
		{"watch", "since", `{"p 17":{"epoch":"e1","seq":1}}`, CodeInvalid, "since"},
		{"watch", "since", `{"p-17":{"epoch":"` + strings.Repeat("e", 65) + `","seq":1}}`, CodeInvalid, "since"},
		{"watch", "vitals", `[]`, CodeMalformed, ""},
		{"unwatch", "since", `{}`, CodeMalformed, ""},
		{"publish", "vitals", "", CodeInvalid, "vitals"},
		{"publish", "vitals", `[]`, CodeInvalid, "vitals"},
		{"publish", "vitals", `{}`, CodeInvalid, "vitals"},
		{"raise", "event_id", "", CodeInvalid, "event_id"},
		{"raise", "event_id", `"a b"`, CodeInvalid, "event_id"},
		{"raise", "event_id", `"@mine"`, CodeInvalid, "event_id"},
		{"raise", "alert.key", `"@mine"`, CodeInvalid, "alert.key"},
		{"raise", "alert", "", CodeInvalid, "alert.patient"},
		{"raise", "alert.patient", "", CodeInvalid, "alert.patient"},
		{"raise", "alert.text", "", CodeInvalid, "alert.text"},
		{"raise", "alert.text", `"` + strings.Repeat("x", maxText+1) + `"`, CodeInvalid, "alert.text"},
		{"raise", "alert.priority", "", CodeInvalid, "alert.priority"},
		{"raise", "alert.priority", `"urgent"`, CodeInvalid, "alert.priority"},
		{"raise", "alert.kind", `"x"`, CodeInvalid, "alert.kind"},
		{"raise", "alert.audience", `"everybody"`, CodeInvalid, "alert.audience"},
		{"raise", "alert.key", `"a/b"`, CodeInvalid, "alert.key"},
		{"raise", "alert.to", `["person:x","nurse"]`, CodeInvalid, "alert.to[1]"},
		{"raise", "alert.to", `["role:king"]`, CodeInvalid, "alert.to[0]"},
		{"raise", "alert.source.value", `1e3`, CodeInvalid, "alert.source.value"},
		{"raise", "alert.source.vital_id", `"v 1"`, CodeInvalid, "alert.source.vital_id"},
		{"raise", "alert.source.by", `"me"`, CodeInvalid, "alert.source"},
		{"raise", "alert.alert_id", `"mine"`, CodeInvalid, "alert"},
		{"raise", "alert.condition", `"over"`, CodeInvalid, "alert"},
		{"raise", "alert.responsibility", `{}`, CodeInvalid, "alert"},
		{"raise", "alert.code", `"a b"`, CodeInvalid, "alert.code"},
		{"raise", "alert.system", `"a b"`, CodeInvalid, "alert.system"},
		{"raise", "alert.onset", `"2026-03-01"`, CodeInvalid, "alert.onset"},
		{"raise", "alert.source.rule", `"\u202e"`, CodeInvalid, "alert.source.rule"},
		{"raise", "alert.source.limits", `"\u0000"`, CodeInvalid, "alert.source.limits"},
		{"raise", "alert.source.unit", `"m m"`, CodeInvalid, "alert.source.unit"},
		{"clear", "patient", "", CodeInvalid, "patient"},
		{"clear", "key", "", CodeInvalid, "key"},
		{"clear", "alert_id", "", CodeInvalid, "alert_id"},
		{"clear", "event_id", "", CodeInvalid, "event_id"},
		{"clear", "do", `"close"`, CodeMalformed, ""},
		{"answer", "patient", "", CodeInvalid, "patient"},
		{"answer", "key", "", CodeInvalid, "key"},
		{"answer", "alert_id", "", CodeInvalid, "alert_id"},
		{"answer", "event_id", "", CodeInvalid, "event_id"},
		{"answer", "do", "", CodeInvalid, "do"},
		{"answer", "do", `"silence"`, CodeInvalid, "do"},
		{"answer", "do", `"assign"`, CodeInvalid, "to"},
		{"answer", "do", `"release"`, CodeInvalid, "for_s"},
		{"answer", "to", `"person:x"`, CodeInvalid, "to"},
		{"answer", "reason", `"\u0007"`, CodeInvalid, "reason"},
		{"answer", "for_s", `-1`, CodeInvalid, "for_s"},
		{"answer", "for_s", `86401`, CodeInvalid, "for_s"},
		{"answer", "rev", `-7`, CodeInvalid, "rev"},
		{"receipt", "patient", "", CodeInvalid, "patient"},
		{"receipt", "key", "", CodeInvalid, "alert_id"},
		{"receipt", "alert_id", "", CodeInvalid, "alert_id"},
		{"receipt", "stage", "", CodeInvalid, "stage"},
		{"receipt", "notice_id", `"n-1"`, CodeInvalid, "alert_id"},
		{"receipt", "level", `1`, CodeMalformed, ""},
		{"notify", "notice", "", CodeInvalid, "notice.notice_id"},
		{"notify", "notice.patient", "", CodeInvalid, "notice.patient"},
		{"notify", "notice.notice_id", "", CodeInvalid, "notice.notice_id"},
		{"notify", "notice.to", "", CodeInvalid, "notice.to"},
		{"notify", "notice.text", "", CodeInvalid, "notice.text"},
		{"notify", "notice.from", `"somebody else"`, CodeInvalid, "notice"},
		{"notify", "notice.replies_to", `"n 0"`, CodeInvalid, "notice.replies_to"},
		{"history", "key", `"` + strings.Repeat("x", 201) + `"`, CodeInvalid, "key"},
		{"history", "patient", "", CodeInvalid, "patient"},
		{"history", "kinds", `["vital","timer"]`, CodeInvalid, "kinds[1]"},
		{"history", "cursor", `"41"`, CodeInvalid, "cursor"},
		{"history", "from", `"yesterday"`, CodeInvalid, "from"},
		{"token", "token", "", CodeInvalid, "token"},
		{"token", "token", `"` + strings.Repeat("x", 8193) + `"`, CodeInvalid, "token"},
	} {
		t.Run(row.typ+" "+row.path+" "+row.text[:min(len(row.text), 40)], func(t *testing.T) {
			t.Parallel()
			_, err := decodeRequest([]byte(changed(t, row.typ, row.path, row.text)), 100)
			require.Error(t, err)
			got := requestError(err)
			require.Equal(t, row.code, got.Code, err)
			require.Equal(t, row.field, got.Field, err)
			require.Equal(t, RetryNever, got.Retry)
		})
	}
}

// What is optional may be left out.
func TestDecodeRequestOptional(t *testing.T) {
	t.Parallel()
	for typ, paths := range map[string]string{
		"watch": "groups since delivery emergency", "unwatch": "patients groups", "notify": "notice.audience notice.replies_to",
		"raise":  "alert.key alert.code alert.system alert.kind alert.onset alert.audience alert.to alert.source alert.test",
		"answer": "for_s reason rev", "history": "kinds key from to cursor limit",
	} {
		for path := range strings.FieldsSeq(paths) {
			_, err := decodeRequest([]byte(changed(t, typ, path, "")), 100)
			require.NoError(t, err, "%s without %s", typ, path)
		}
	}
	for _, change := range [][3]string{
		{"watch", "since", `{}`}, {"watch", "since", `{"p-17":{}}`}, {"notify", "notice.to", `["role:clinician"]`}, {"answer", "for_s", `0`},
		{"answer", "rev", `999999999999999`}, {"raise", "alert.patient", `"@system"`},
	} {
		_, err := decodeRequest([]byte(changed(t, change[0], change[1], change[2])), 100)
		require.NoError(t, err, change)
	}
	everyone := strings.Replace(changed(t, "notify", "notice.to", ""), `"named"`, `"all"`, 1)
	_, err := decodeRequest([]byte(everyone), 100)
	require.NoError(t, err, "an audience other than named needs no addressee")
}

// Anything but one strict JSON object is malformed: two layers that read it
// differently could see two patients.
func TestStrictObject(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for name, frame := range map[string]string{
		"empty":                   ``,
		"space":                   ` `,
		"array":                   `[]`,
		"string":                  `"x"`,
		"null":                    `null`,
		"cut off":                 `{"type":"token","req":"1","token":"x"`,
		"cut off after a comma":   `{"type":"token","req":"1",`,
		"no name":                 `{"type":"token","req":"1",:1}`,
		"no colon":                `{"type" "token"}`,
		"no comma":                `{"type":"token" "req":"1"}`,
		"comma at the end":        `{"type":"token","req":"1","token":"x",}`,
		"comma at the front":      `{,"type":"token"}`,
		"single quotes":           `{'type':'token'}`,
		"comment":                 `{"type":"token","req":"1","token":"x"/**/}`,
		"trailing object":         `{"type":"token","req":"1","token":"x"}{}`,
		"trailing brace":          `{"type":"token","req":"1","token":"x"}}`,
		"trailing NUL":            "{\"type\":\"token\",\"req\":\"1\",\"token\":\"x\"}\x00",
		"byte order mark":         "\ufeff" + `{"type":"token","req":"1","token":"x"}`,
		"unknown":                 `{"type":"token","req":"1","token":"x","more":1}`,
		"another case":            `{"type":"token","req":"1","Token":"x"}`,
		"duplicate":               `{"type":"token","req":"1","token":"x","token":"y"}`,
		"duplicate type":          `{"type":"token","type":"watch","req":"1","token":"x"}`,
		"duplicate req":           `{"type":"token","req":"1","req":"1","token":"x"}`,
		"duplicate by escape":     `{"type":"token","req":"1","token":"x","\u0074oken":"y"}`,
		"duplicate, unknown type": `{"type":"batch","req":"1","a":1,"a":2}`,
		"case twice":              `{"type":"token","req":"1","token":"x","TOKEN":"y"}`,
		"empty name":              `{"type":"token","req":"1","token":"x","":1}`,
		"bad UTF-8 in a name":     "{\"type\":\"token\",\"req\":\"1\",\"tok\xffen\":\"x\"}",
	} {
		r, err := decodeRequest([]byte(frame), 100)
		require.Error(t, err, name)
		require.NotNil(t, r, name)
		require.Equal(t, CodeMalformed, requestError(err).Code, "%s: %v", name, err)
	}
	for name, frame := range map[string]string{ // within a member, which the error names
		"cut off":          `{"type":"token","req":"1","token":"x`,
		"cut in an escape": `{"type":"token","req":"1","token":"\`,
		"duplicate":        `{"type":"notify","req":"1","notice":{"patient":"p1","patient":"p2"}}`,
		"unknown":          `{"type":"notify","req":"1","notice":{"patient":"p1","dose":1}}`,
		"another case":     `{"type":"notify","req":"1","notice":{"Patient":"p1"}}`,
		"null":             `{"type":"notify","req":"1","notice":{"patient":null}}`,
		"null for a list":  `{"type":"publish","req":"1","vitals":null}`,
		"deep in a value":  `{"type":"notify","req":"1","notice":{"patient":` + deep(maxDepth) + `}}`,
		"deep in a list":   `{"type":"watch","req":"1","patients":` + deep(maxDepth) + `}`,
		"comma in a list":  `{"type":"publish","req":"1","vitals":[{},]}`,
		"empty in a list":  `{"type":"publish","req":"1","vitals":[,{}]}`,
		"list not ended":   `{"type":"publish","req":"1","vitals":[{}`,
		"brackets crossed": `{"type":"publish","req":"1","vitals":[{]}`,
	} {
		_, err := decodeRequest([]byte(frame), 100)
		require.Error(t, err, name)
		require.Equal(t, CodeInvalid, requestError(err).Code, "%s: %v", name, err)
	}
	_, err := decodeRequest([]byte(" \t\r\n{ \"type\" : \"token\" , \"req\" : \"1\" , \"\\u0074oken\" : \"x\" } \n"), 100)
	require.NoError(t, err, "space and escapes are JSON")
}

func TestDepth(t *testing.T) {
	t.Parallel()
	nested := func(n int) []byte {
		return []byte(`{"type":"batch","req":"1","x":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`)
	}
	_, err := decodeRequest(nested(maxDepth-1), 100)
	require.Equal(t, CodeUnknownType, requestError(err).Code)
	_, err = decodeRequest(nested(maxDepth), 100)
	require.ErrorContains(t, err, "nested too deep")
}

func TestStrictNumbers(t *testing.T) {
	t.Parallel()
	value := func(text string) (Decimal, error) {
		r, err := decodeRequest([]byte(`{"type":"publish","req":"1","vitals":[{"value":`+text+`}]}`), 100)
		if err == nil {
			err = r.Unread[0]
		}
		if err != nil {
			return "", err
		}
		v := r.Vitals[0].Value.rounded()
		return v, v.check()
	}
	for _, good := range []string{"0", "0.0", "-1", "37.0", "123456789012345", "0.00001", "999999999999999"} {
		got, err := value(good)
		require.NoError(t, err, good)
		require.Equal(t, Decimal(good), got)
	}
	for _, bad := range []string{"1e400", "1e308", "1e-400", "1E5", "1e", "1e999999999", "-0", "-0.0", "1234567890123456", "9007199254740993",
		"1" + strings.Repeat("0", 1000), "NaN", "Infinity", "-Infinity", "nan", "inf",
		"01", "-01", "+1", ".5", "5.", "-", "0x1F", "1_000", "1,000", "1 2", `"72"`, "true", "[72]", "{}", ""} {
		_, err := value(bad)
		require.Error(t, err, bad)
	}
	for long, want := range map[Decimal]Decimal{"0.1234567890123456": "0.123456789012346", "-36.600000000000001": "-36.6000000000000", "9.9999999999999999": "10.0000000000000",
		Decimal("0." + strings.Repeat("0", 1000) + "1"): "0.00000000000000", "99999999999999.96": "100000000000000", "120.0000000000000000": "120.000000000000"} {
		got, err := value(string(long))
		require.NoError(t, err, long)
		require.Equal(t, want, got)
	}
	for text, want := range map[string]uint64{"0": 0, "41": 41, "999999999999999": 999999999999999} {
		s := scanner{b: []byte(text)}
		require.Equal(t, want, s.uint())
		require.NoError(t, s.err)
	}
	for _, bad := range []string{"-1", "1.0", "1e3", "9007199254740993", "18446744073709551616", `"1"`} {
		s := scanner{b: []byte(bad)}
		require.Zero(t, s.uint())
		require.Error(t, s.err, bad)
	}
}

func TestStrictStrings(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`"x"`: "x", `""`: "", `"\"\\\/\b\f\n\r\t"`: "\"\\/\b\f\n\r\t", `"\u00e9é"`: "éé", `"\ud83D\uDe00"`: "😀", `"a\u0000b"`: "a\x00b", `"�"`: "\ufffd", "\"\u2028\"": "\u2028",
	} {
		s := scanner{b: []byte(text)}
		require.Equal(t, want, s.str())
		require.NoError(t, s.err, text)
	}
	for _, bad := range []string{`"\ud83d"`, `"\ude00"`, `"\ud83d\ud83d"`, `"\ud83dx"`, `"\ud83d\n"`, `"\u12"`, `"\u12g4"`, `"\x41"`, `"\'"`,
		"\"\xc0\"", "\"\xff\"", "\"\xed\xa0\x80\"", "\"\xc3\"", "\"\\n\xf8\"", "\"\xf4\x90\x80\x80\"", "\"a\nb\"", "\"a\\n\x01\"", "\"\x00\"", `"`, `"\`, `"\u`} {
		s := scanner{b: []byte(bad)}
		s.str()
		require.Error(t, s.err, "%q", bad)
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Time{
		"2026-03-01T08:00:00Z": wireTime, "2026-03-01T09:30:00+01:30": wireTime, "2026-03-01T08:00:00.123456789-00:00": wireTime.Add(123456789),
	} {
		s := scanner{b: []byte(`"` + text + `"`)}
		require.Equal(t, want, s.time())
		require.NoError(t, s.err, text)
	}
	for _, bad := range []string{"", "2026-03-01", "2026-03-01T08:00:00", "2026-03-01 08:00:00Z", "2026-02-30T08:00:00Z", "2026-03-01T24:00:00Z",
		"2016-12-31T23:59:60Z", "0000-01-01T00:00:00Z", "1899-12-31T23:59:59Z", "9999-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "1772352000", "now"} {
		s := scanner{b: []byte(`"` + bad + `"`)}
		require.Zero(t, s.time())
		require.Error(t, s.err, bad)
	}
	var e encoder
	e.time("t", wireTime.Add(1234567).In(time.FixedZone("", 3600)))
	require.Equal(t, `"t":"2026-03-01T08:00:00.001Z"`, string(e.b))
}

// What could mean something to a store, a shell, a broker or a reader's eye is
// no ID. Each place that names a patient refuses it.
func TestIDs(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"p-17", "a", "A.b_c:d-9", strings.Repeat("x", 64), "..", "-"} {
		require.True(t, validID(good), good)
	}
	for _, bad := range []string{"", " ", "*", ">", "p1.>", "p1.*", "../p1", "p/1", `p\1`, "p1'", `p1"`, "p1;drop", "p1%", "p1\x00", "p1\n", "p\u202e1", "p\u200b1",
		"pé", "p１", "p1 ", "@", "@x", "p@1", "@@", strings.Repeat("x", 65), strings.Repeat("x", 10_000)} {
		require.False(t, validID(bad), "%q", bad)
		quoted := string(appendString(nil, bad))
		for typ, path := range map[string]string{"watch": "patients", "raise": "alert.patient", "clear": "patient", "answer": "patient", "receipt": "patient",
			"notify": "notice.patient", "history": "patient"} {
			value, field := quoted, path
			if typ == "watch" {
				value, field = "["+quoted+"]", "patients[0]"
			}
			_, err := decodeRequest([]byte(changed(t, typ, path, value)), 100)
			invalidAt(t, field, err)
		}
		v := HeartRate.Of(bad, 72)
		invalidAt(t, "patient", v.Validate())
	}
	require.True(t, validPatient(SystemPatient))
	require.False(t, validPatient("@other"), "names that begin with @ are reserved")
}

func TestTexts(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"", "SpO2 < 90 %", "Füße, 37,5 °C", "two\nlines\tand a tab", "👩‍⚕️", "می\u200cخواهم", "患者", "non\u00a0breaking"} {
		require.True(t, validText(good, 100), "%q", good)
	}
	for _, bad := range []string{"\x00", "a\x1b[31m", "a\rb", "\x7f", "\u0085", "\u202a", "\u202e", "\u2066", "\u2069", "\ufeff", "\ufff9", "\u2028", "\ue000", "\xff", strings.Repeat("x", 101)} {
		require.False(t, validText(bad, 100), "%q", bad)
	}
	require.True(t, validName("Dr Grey"))
	for _, bad := range []string{"", " ", "a\nb", "a\tb", "a\u200bb", "a\u2066b\u2069", "\u200ea", strings.Repeat("x", 129)} {
		require.False(t, validName(bad), "%q", bad)
	}
}

// However big a frame is, it is refused for what it is.
func TestHugeFrames(t *testing.T) {
	t.Parallel()
	list := func(item string, n int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + "]"
	}
	var keys strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&keys, `,"k%d":0`, i)
	}
	for _, row := range []struct{ frame, field string }{
		{changed(t, "watch", "patients", list(`"p"`, 10_001)), "patients[10000]"},
		{changed(t, "watch", "groups", list(`"g"`, 1001)), "groups[1000]"},
		{changed(t, "publish", "vitals", list(`{}`, 101)), "vitals[100]"},
		{changed(t, "raise", "alert.to", list(`"patient"`, 33)), "alert.to[32]"},
		{changed(t, "history", "kinds", list(`"vital"`, 9)), "kinds[8]"},
		{`{"type":"publish","req":"1","vitals":` + strings.Repeat("[", 1<<20), "vitals[0]"},
		{strings.Repeat("[", 1<<20), ""},
		{strings.Repeat(`{"type":`, 1<<17), ""},
		{`{"type":"token","req":"1"` + keys.String() + `}`, ""},
		{`{"type":"token","req":"1","token":"` + strings.Repeat("x", 1<<20) + `"}`, "token"},
	} {
		_, err := decodeRequest([]byte(row.frame), 100)
		invalidAt(t, row.field, err)
	}
	_, err := decodeRequest([]byte(changed(t, "publish", "vitals", list(`{}`, 100))), 100)
	require.NoError(t, err, "exactly as many as are allowed")
	_, err = decodeRequest([]byte(`{"type":"batch","req":"1"`+keys.String()+`,"k0":1}`), 100)
	require.ErrorContains(t, err, "duplicate")
}

// leaves returns the path of every member of a JSON object, as deep as objects go.
func leaves(object map[string]any, at string) (paths []string) {
	for name, value := range object {
		paths = append(paths, at+name)
		if inner, ok := value.(map[string]any); ok && name != "since" {
			paths = append(paths, leaves(inner, at+name+".")...)
		}
	}
	return paths
}

// An error says which member is wrong and why, in fixed words: whatever was
// sent in its place, nothing of that comes back.
func TestErrorsHoldNoValue(t *testing.T) {
	t.Parallel()
	const canary = "canary"
	wrong := []string{`"canary\u0000"`, `"canary\ud800"`, `"canary"`, `{"canary":"canary"}`, `["canary\u0000"]`, `[{"canary":1}]`, `{"canary":{"seq":-1}}`,
		`{"canary\u0000":{"epoch":"canary","seq":1}}`, `"` + strings.Repeat(canary, 2000) + `"`, `"canary`}
	for typ, frame := range goodRequests {
		var object map[string]any
		require.NoError(t, json.Unmarshal([]byte(frame), &object))
		for _, path := range append(leaves(object, ""), canary) {
			for _, text := range wrong {
				if path == "req" {
					continue // it is echoed
				}
				bad := changed(t, typ, path, `"`+"MARK"+`"`)
				bad = strings.Replace(bad, `"MARK"`, text, 1)
				r, err := decodeRequest([]byte(bad), 100)
				for i := range r.Vitals {
					err = errors.Join(err, r.Vitals[i].Validate())
				}
				if err != nil {
					require.NotContains(t, err.Error(), canary, "%s %s", typ, path)
					require.NotContains(t, string(errorFrame("1", err)), canary, "%s %s", typ, path)
				}
			}
		}
	}
}

// What comes by a Go call is checked as what comes over the wire.
func TestValidateGoCalls(t *testing.T) {
	t.Parallel()
	alert := Raise{Patient: "p", Text: "x", Priority: PriorityLow}
	notice := Notice{Patient: "p", Text: "x", To: []string{"patient"}}
	answer, ref := Answer{Do: AnswerAccept}, AlertRef{Patient: "p", Key: "k", ID: ""}
	require.NoError(t, alert.Validate())
	require.NoError(t, notice.Validate())
	require.NoError(t, answer.validate())
	require.NoError(t, ref.Validate())
	receipt := Receipt{Patient: "p", NoticeID: "n-1", Stage: StageRead}
	require.NoError(t, receipt.validate())
	assign := Answer{Do: AnswerAssign, To: "group:ward-5"}
	require.NoError(t, assign.validate())
	force := Answer{Do: AnswerClose, Force: true, Reason: "sensor off"}
	require.NoError(t, force.validate())

	alert.ID = "a b"
	invalidAt(t, "event_id", alert.Validate())
	alert.ID, alert.Audience = "", 9
	invalidAt(t, "audience", alert.Validate())
	alert.Audience, alert.Onset = 0, time.Date(1, 2, 3, 0, 0, 0, 0, time.UTC)
	invalidAt(t, "onset", alert.Validate())
	alert.Onset, alert.Text = time.Time{}, "\xff"
	invalidAt(t, "text", alert.Validate())
	notice.Audience = 9
	invalidAt(t, "audience", notice.Validate())
	notice.ID = "*"
	invalidAt(t, "notice_id", notice.Validate())
	answer.ID = "*"
	invalidAt(t, "event_id", answer.validate())
	assign.To = "patient"
	invalidAt(t, "to", assign.validate())
	force.Reason = ""
	invalidAt(t, "force", force.validate())
	receipt.Key = "k"
	invalidAt(t, "notice_id", receipt.validate())
	ref.ID = "*"
	invalidAt(t, "alert_id", ref.Validate())
}

// unframe takes a server's frame apart, as a client would.
func unframe(t *testing.T, b []byte) (first byte, text []byte) {
	t.Helper()
	require.GreaterOrEqual(t, len(b), 2)
	require.Zero(t, b[1]&0x80, "frames of servers carry no mask")
	n, header := int(b[1]), 2
	switch n {
	case 126:
		n, header = int(binary.BigEndian.Uint16(b[2:])), 4
		require.GreaterOrEqual(t, n, 126, "the shortest form")
	case 127:
		n, header = int(binary.BigEndian.Uint64(b[2:])), 10
		require.Greater(t, n, 0xffff, "the shortest form")
	}
	require.Len(t, b, header+n)
	return b[0], b[header:]
}

func TestTextFrame(t *testing.T) {
	t.Parallel()
	for n, header := range map[int]int{0: 2, 1: 2, 125: 2, 126: 4, 127: 4, 65535: 4, 65536: 10, 70000: 10} {
		e := newFrame(0)
		e.b = append(e.b, strings.Repeat("x", n)...)
		frame := textFrame(e.b)
		require.Len(t, frame, header+n)
		first, text := unframe(t, frame)
		require.Equal(t, byte(0x81), first, "one whole text frame")
		require.Equal(t, strings.Repeat("x", n), string(text))
	}
}

// Which close codes there are, what they say, and which of them a client
// answers by connecting again.
func TestCloseCodes(t *testing.T) {
	t.Parallel()
	for code, comeBack := range map[CloseCode]bool{
		1001: true, 1002: false, 1003: false, 1007: false, 1008: false, 1009: false, 1011: true, 1012: true, 1013: true, 3000: true, 3003: false, 3008: true,
	} {
		require.Equal(t, comeBack, code.ComeBack(), code)
		first, text := unframe(t, closeFrame(code))
		require.Equal(t, byte(0x88), first)
		require.Equal(t, uint16(code), binary.BigEndian.Uint16(text))
		require.NotEmpty(t, string(text[2:]), code)
		require.LessOrEqual(t, len(text), 125, "control frames are small")
	}
	require.True(t, CloseAbnormal.ComeBack(), "no close frame at all")
	for _, code := range []CloseCode{0, 1000, 1005, 1010, 1015, 4000} {
		require.False(t, code.ComeBack(), code)
	}
}

// Every error has a code, says whether to try again, and matches its sentinel
// on the other side.
func TestErrorFrames(t *testing.T) {
	t.Parallel()
	shown := &Alert{Patient: "p-17", Key: "k", ID: "a-1", Rev: 3}
	for _, row := range []struct {
		err   error
		code  ErrorCode
		retry Retry
		after time.Duration
	}{
		{ErrForbidden, CodeForbidden, RetryNever, 0},
		{ErrUndecided, CodeUndecided, RetryLater, time.Second},
		{ErrUnauthenticated, CodeUnauthorized, RetryReauth, 0},
		{ErrEnded, CodeEnded, RetryNever, 0},
		{ErrRefused, CodeRefused, RetryNever, 0},
		{ErrConflict, CodeConflict, RetryNever, 0},
		{ErrIDReused, CodeIDReused, RetryNever, 0},
		{ErrGap, CodeGap, RetryNever, 0},
		{ErrBusy, CodeBusy, RetryLater, time.Second},
		{ErrFull, CodeFull, RetryLater, time.Second},
		{ErrUnavailable, CodeUnavailable, RetryLater, time.Second},
		{ErrClosed, CodeUnavailable, RetryLater, time.Second},
		{ErrUnknownOutcome, CodeUnknown, RetryLater, 0},
		{errUnknownType, CodeUnknownType, RetryNever, 0},
		{invalid("alert.text", "must be x"), CodeInvalid, RetryNever, 0},
		{invalid("", errSyntax), CodeMalformed, RetryNever, 0},
		{errors.New("pq: canary"), CodeInternal, RetryLater, 0},
		{&RequestError{Code: CodeLimit, Retry: RetryNever}, CodeLimit, RetryNever, 0},
	} {
		for _, err := range []error{row.err, fmt.Errorf("while canary: %w", row.err)} {
			if row.err == errUnknownType && err != row.err {
				continue // never wrapped
			}
			first, text := unframe(t, errorFrame("req-9", err))
			require.Equal(t, byte(0x81), first)
			require.NotContains(t, string(text), "canary", "an error's own words stay here")
			_, got, decodeErr := decodeEvent(text)
			require.NoError(t, decodeErr)
			require.Equal(t, "req-9", got.Req)
			require.Equal(t, row.code, got.Err.Code, err)
			require.Equal(t, row.retry, got.Err.Retry, err)
			require.Equal(t, row.after, got.Err.RetryAfter, err)
			if code, ok := codeOf[row.err]; ok {
				require.Equal(t, row.code, code)
				if row.err != ErrClosed { // ErrClosed and ErrUnavailable share a code
					require.ErrorIs(t, got.Err, row.err)
				}
			}
		}
	}
	for sentinel := range codeOf {
		_, reply, err := decodeEvent(errorText(&alertError{sentinel, shown}))
		require.NoError(t, err)
		require.Equal(t, shown, reply.Err.Alert, "a refusal shows the alert as it is")
		require.Equal(t, codeOf[sentinel], reply.Err.Code)
	}
	_, reply, err := decodeEvent(errorText(within("alert", invalid("to[3]", "must be known"))))
	require.NoError(t, err)
	require.Equal(t, "alert.to[3]", reply.Err.Field)
	require.Equal(t, "must be known", reply.Err.Reason)
	require.Contains(t, string(errorText(errors.New("x"))), `{"type":"error","code":"internal","retry":"later"}`, "without a req there is none to echo")
}

// errorText is the text of an error frame that answers no request in particular.
func errorText(err error) []byte {
	e := encoder{b: []byte(`{"type":"error"`)}
	e.failure(err)
	return append(e.b, '}')
}

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
		Escalation: Escalation{Level: 3, Step: 2, State: EscalationNotified, Due: wireTime.Add(9e9), told: []string{"role:clinician"}, addressed: []string{"group:a"},
			began: wireTime, after: 90.5, early: true, held: true, reached: true, heard: true, silent: true, last: true, rejected: []string{"bob"}, refusers: []string{"cy"},
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

// What a newer version wrote into a stored alert is still there after an older
// one has changed it.
func TestStoredAlertKeepsUnknownMembers(t *testing.T) {
	t.Parallel()
	const stored = `{"patient":"p-17", "mood" : {"a":[1,{"b":null}]},"key":"k","rev":1,"text":"x","n":-1.5e3,"s":"\u00e9\"","x":[]}`
	var a Alert
	require.NoError(t, json.Unmarshal([]byte(stored), &a))
	a = raise(&a, Raise{Text: "y", Priority: PriorityLow}, "src", wireTime)
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

// peekType finds the type wherever it stands, and nothing that only looks like it.
func TestPeekType(t *testing.T) {
	t.Parallel()
	for frame, want := range map[string]string{
		`{"type":"watch"}`: "watch", ` { "type" : "watch" , "x":1}`: "watch", `{"req":"1","alert":{"type":"raise"},"type":"token"}`: "token",
		`{"alert":{"type":"raise"}}`: "", `{"type":1}`: "", `{"type":null,"x":1}`: "", `{"Type":"watch"}`: "", `"type"`: "", ``: "",
		`{"t\u0079pe":"watch"}`: "watch", `[{"type":"watch"}]`: "",
	} {
		require.Equal(t, want, peekType([]byte(frame)), frame)
	}
}
