package carewire

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

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
		at = objectAt(at, name)
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

// A missing or wrong member is answered with its code and its path.
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

// Optional members may be left out.
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

// The arguments of a Go call are checked like a request on the wire.
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

// peekType finds the type in any place, and nothing that only looks like it.
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
