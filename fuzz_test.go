package carewire

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// fieldPath is the form of a ValidationError's Field: the protocol's own names
// and indexes.
var fieldPath = regexp.MustCompile(`^[a-z_]*(\[\d+\])*(\.[a-z_]+(\[\d+\])*)*$`)

// wireNames are all member names that a Field may be made of.
var wireNames = strings.Fields(`type req patients groups since epoch seq delivery emergency reason vitals alert event_id patient key alert_id do to for_s force rev
	notice_id stage notice token kinds from cursor limit code system value unit comparator coded components absent quality status replaces vital_id time device
	site method every test text priority kind onset audience source rule limits replies_to waves device rate n data factor origin`)

// Decoding the input of strangers does not panic. Its errors consist of the
// protocol's words. An accepted request is JSON, and stays the same when it is
// written and read again.
func FuzzDecodeRequest(f *testing.F) {
	for _, frame := range goodRequests {
		f.Add([]byte(frame))
	}
	for _, frame := range []string{``, `{}`, `[]`, `{"type":"batch","req":"1"}`, `{"type":"batch","req":"1","x":1e5}`, `{"type":"wave","waves":[{"patient":"p","data":"AAEC"}]}`, `{"":[[`, `{"type":"token","req":"1","token":"x","token":"y"}`,
		`{"type":"watch","req":"1","patients":["*"]}`, `{"type":"publish","req":"1","vitals":[{"value":1e400}]}`,
		`{"type":"publish","req":"1","vitals":[{"every":1.005,"time":"2026-03-01T08:00:00.0005Z","value":-0.0}]}`,
		`{"type":"raise","req":"1","event_id":"e","alert":{"patient":"p","text":"\ud83d\ude00\ud83d","priority":"low"}}`,
		`{"req":"\u0000","type":"history","cursor":18446744073709551615}`, "{\"type\":\"token\",\"req\":\"\xff\"}"} {
		f.Add([]byte(frame))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		r, err := decodeRequest(frame, 100)
		require.NotNil(t, r)
		if err != nil {
			v, ok := err.(*ValidationError)
			if !ok {
				require.Equal(t, errUnknownType, err)
				return
			}
			require.Regexp(t, fieldPath, v.Field)
			for _, name := range regexp.MustCompile(`[a-z_]+`).FindAllString(v.Field, -1) {
				require.Contains(t, wireNames, name)
			}
			return
		}
		require.True(t, json.Valid(frame), "every accepted frame is JSON")
		require.True(t, utf8.Valid(frame))
		require.True(t, validText(r.Req, 64) && (r.Req == "") == (r.Type == reqWave))
		for _, v := range r.Vitals {
			v.Every = v.Every.Round(time.Second) // fractions are not exact
			var back Vital
			readAgain(t, written(v.encode), back.decode)
			require.Equal(t, written(v.encode), written(back.encode))
			_, _ = v.accept(vitalNow, AgeAdult)
		}
		for _, w := range r.Chunks {
			var back Wave
			readAgain(t, written(w.encode), back.decode)
			require.Equal(t, written(w.encode), written(back.encode))
			_ = w.Validate()
		}
		a := r.Raise
		a.ID = "" // in a request it is the event_id
		var b Raise
		readAgain(t, written(a.encode), b.decode)
		require.Equal(t, written(a.encode), written(b.encode))
		var n Notice
		readAgain(t, written(r.Notice.encode), n.decode)
		require.Equal(t, written(r.Notice.encode), written(n.encode))
	})
}

func written(encode func(*encoder)) []byte {
	var e encoder
	encode(&e)
	return e.b
}

// readAgain decodes the output of an encoder, strictly and completely.
func readAgain(t *testing.T, b []byte, decode func(*scanner)) {
	t.Helper()
	s := scanner{b: b}
	decode(&s)
	s.end()
	require.NoError(t, s.err, "%s", b)
}

// The scanner takes nothing that is not JSON, reads strings as others do, and
// an open one takes all JSON that is not too deep.
func FuzzScannerSkip(f *testing.F) {
	for _, text := range []string{``, `null`, `true`, `fals`, `nul`, `-1.5e+3`, `01`, `"\ud83d\ude00"`, `"\ud83d"`, `"\u12`, `[1,[2,{"a":[]}],null]`, `{"a":1,"a":2}`,
		`{"a":{"b":{}},"c":[{}]}`, `[1,]`, `{"a":1,}`, `[`, "\"\x00\"", "\"\xff\"", ` [ ] `, strings.Repeat("[", 17) + strings.Repeat("]", 17)} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, open := range []bool{false, true} {
			s := scanner{b: text, open: open}
			s.skip()
			s.end()
			if s.err == nil {
				require.True(t, json.Valid(text), "taken, and no JSON")
				require.True(t, utf8.Valid(text))
			}
			s = scanner{b: text, open: open}
			v := s.str()
			s.end()
			var want string
			if s.err == nil {
				require.NoError(t, json.Unmarshal(text, &want))
				require.Equal(t, want, v)
				require.NoError(t, json.Unmarshal(appendString(nil, v), &want))
				require.Equal(t, v, want, "written as it was read")
			}
		}
		var any any
		if json.Unmarshal(text, &any) != nil {
			return
		}
		clean, err := json.Marshal(any) // no duplicates, valid UTF-8
		require.NoError(t, err)
		s := scanner{b: clean, open: true}
		s.skip()
		s.end()
		if s.err != nil {
			require.ErrorContains(t, s.err, "nested too deep", "%s", clean)
		}
	})
}

// A position to resume from is read as any JSON reader would, or refused.
func FuzzPosition(f *testing.F) {
	for _, since := range []string{`{}`, `{"p":{"epoch":"e1","seq":41}}`, `{"p":{}}`, `{"p":{"seq":1}}`, `{"p":{"epoch":"e1","seq":-1}}`,
		`{"p":{"epoch":"e1","seq":18446744073709551615}}`, `{"p":{"epoch":"e1","seq":999999999999999},"q":{"epoch":"e2"}}`, `{"p":{"epoch":"e"},"p":{"epoch":"f"}}`,
		`{"p":{"Epoch":"e1"}}`, `{"*":{"epoch":"e"}}`, `{"@system":{"epoch":"\u0065","seq":0}}`, `null`, `[]`, `{"p":null}`, `{"p":{"seq":1e3}}`} {
		f.Add([]byte(since))
	}
	f.Fuzz(func(t *testing.T, since []byte) {
		frame := append([]byte(`{"type":"watch","req":"1","patients":["p"],"since":`), since...)
		r, err := decodeRequest(append(frame, '}'), 100)
		if err != nil || !json.Valid(since) { // not valid: it closed the member itself
			return
		}
		var want map[string]Position
		require.NoError(t, json.Unmarshal(since, &want))
		require.Equal(t, want, r.Since)
		for patient, at := range r.Since {
			require.True(t, validPatient(patient))
			require.LessOrEqual(t, len(at.Epoch), 64)
			require.Less(t, at.Seq, uint64(1e15))
			require.False(t, at.Epoch == "" && at.Seq != 0)
		}
	})
}

// Each byte is an action on an alert. After any actions: levels only go up
// within an occurrence, an ended alert stays so until it is raised, something
// is due exactly while something is pending, and the argument is not changed.
func FuzzAlertFunctions(f *testing.F) {
	for _, actions := range []string{"", "rcd", "rtnA", "rtntntntnt", "rtaxtnt", "rtnAcR", "rwtawtnt", "rtclara", "rtsoJKsE", "rtnJKtnLtn", "rIcRtn", "rtnaFrt", "rtngtnGa"} {
		f.Add([]byte(actions))
	}
	f.Fuzz(func(t *testing.T, actions []byte) {
		var a *Alert
		now := wireTime
		people := []Person{ann, bob}
		for i, b := range actions[:min(len(actions), 300)] {
			given, before, by := a, text(a), people[i%2]
			now = now.Add(time.Duration(b) * time.Second)
			var got Alert
			err := error(nil)
			switch {
			case b == 'r', a == nil:
				got = raiseAlert(a, Raise{ID: "ev", Priority: PriorityMedium}, "src", now)
			case b == 'w':
				got = raiseAlert(a, Raise{ID: "ev", Priority: PriorityHigh}, "src", now)
			case b == 'l':
				got = raiseAlert(a, Raise{ID: "ev", Priority: PriorityLow}, "src", now)
			case b == 'I':
				got = raiseAlert(a, Raise{ID: "ev", Priority: PriorityInfo}, "src", now)
			case b == 'c':
				got = endCondition(a, now)
			case b == 'x':
				got, _ = expireAcceptance(a, now)
			case b == 's':
				got, _ = loseAcceptance(a, by.ID, now)
			case b == 't':
				got, _ = claimLevel(a, latest(now, a.due()), latest(now, a.due()).Add(10*time.Second))
			case b == 'n', b == 'N', b == 'g', b == 'G':
				if a.Escalation.State != EscalationClaimed {
					continue // a claim that is no longer held records nothing
				}
				to := []string{"person:ann"}
				if b == 'g' || b == 'G' {
					to = []string{"group:ward-5", "person:bob"}
				}
				got = recordLevel(a, telling{to: to, step: 1, after: time.Duration(b) * time.Minute, within: reachWithin, paged: b < 'a', exhausted: a.Escalation.Step > 1, last: i%3 == 0}, nil)
			case b == 'o':
				got, _ = noteReached(a)
			default:
				w := Answer{Do: []AnswerVerb{AnswerAccept, AnswerReject, AnswerRelease, AnswerAssign, AnswerClose}[b%5], Force: b > 'a', For: time.Duration(b%7) * time.Minute, Rev: uint64(b % 9 / 8)}
				got, err = answerAlert(a, w, by, []string{"ann"}[:b%2], now)
			}
			require.Equal(t, before, text(given), "the argument is never changed")
			if err != nil {
				require.Equal(t, before, text(&got), "an error changes nothing")
			}
			if a != nil && a.Open() {
				require.GreaterOrEqual(t, got.Escalation.Level, a.Escalation.Level, "levels only go up")
				require.LessOrEqual(t, got.Escalation.Level, a.Escalation.Level+1, "one at a time")
				require.GreaterOrEqual(t, got.Escalation.Step, 0)
			}
			if a != nil {
				require.GreaterOrEqual(t, got.Rev, a.Rev)
				if raises := strings.ContainsRune("rwlI", rune(b)); !a.Open() && !raises {
					require.Equal(t, before, text(&got), "an ended alert stays ended")
				}
			}
			pending := got.Open() && (got.Responsibility.State == ResponsibilityAccepted || got.Escalation.State != EscalationOff)
			require.Equal(t, pending, !got.due().IsZero(), "due exactly while something is pending")
			if got.Open() && got.Condition == ConditionPresent && got.Priority != PriorityInfo {
				require.True(t, pending, "an alert that is open and present never falls silent")
			}
			require.Equal(t, got.Open() && got.Condition == ConditionOver, got.Latched && got.Open())
			require.LessOrEqual(t, len(got.Answers), keptAnswers)
			a = stored(t, got)
			require.Equal(t, text(&got), text(a), "nothing is lost in a Store")
		}
	})
}

// A client survives anything that a server, or somebody in its place, sends,
// and writes the objects it has read as JSON.
func FuzzDecodeEvent(f *testing.F) {
	for _, text := range []string{``, `{}`, `{"type":"welcome","session":"s","principal":{"id":"x"},"limits":{"frame":1},"features":["a"],"heartbeat_s":20}`,
		`{"type":"vital","patient":"p","epoch":"e","seq":1,"must":0,"vital":{"patient":"p","code":"8867-4","value":72.0,"unit":"/min"}}`,
		`{"type":"alert","alert":{"patient":"p","answers":[{"do":"accept","by":{"id":"x"}}],"escalation":{"level":1,"due":"2026-03-01T08:00:00Z"},"closed":{}}}`,
		`{"type":"notice","notice":{"patient":"p","to":["patient"],"audience":"family"}}`, `{"type":"receipt","receipt":{"by":{},"level":3}}`,
		`{"type":"access","access":{"kind":"revoked","patients":["p"]}}`, `{"type":"head","heads":[{"patient":"p","seq":18446744073709551615}]}`,
		`{"type":"inbox","items":[{"alert":{}},{"notice":{}}],"done":true}`, `{"type":"status","store":"ok","since":"2026-03-01T08:00:00Z"}`,
		`{"type":"batch","samples":[1,2,3]}`, `{"type":"wave","wave":{"patient":"p","code":"c","rate":250,"n":1,"data":"AAEC"}}`, `{"type":"strip","strip":{"waves":[{"data":"AA=="}]}}`,
		`{"type":"waves","count":3,"refused":[{"n":1,"error":{"code":"busy"}}]}`, `{"type":"closed","code":70000}`, `{"type":"gap","seq":-1}`,
		`{"type":"ok","req":"1","results":[{"seq":1},{"error":{"code":"invalid"}}],"watching":["p"],"refused":[{"group":"g"}],"next":4}`,
		`{"type":"ok","req":"1","events":[{"type":"gap"},{"type":"ok","events":[{"type":"vital"}]}],"alert":{"patient":"p"}}`,
		`{"type":"error","req":"1","code":"busy","retry":"later","retry_ms":1000,"alert":{}}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		ev, reply, err := decodeEvent(text)
		if err != nil {
			return
		}
		require.True(t, json.Valid(text), "every accepted frame is JSON")
		require.Equal(t, peekType(text) == "ok" || peekType(text) == "error", reply != nil)
		require.Equal(t, peekType(text) == "error", reply != nil && reply.Err != nil)
		if ev.Alert != nil {
			require.True(t, json.Valid(written(ev.Alert.encode)))
		}
		if ev.Vital != nil {
			require.True(t, json.Valid(written(ev.Vital.encode)))
		}
		if ev.Notice != nil {
			require.True(t, json.Valid(written(ev.Notice.encode)))
		}
	})
}
