package carewire

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The open scanner takes the JSON that encoding/json takes, except for texts
// with two meanings; the strict one takes a part of that. The decoder takes the
// frames that it should.
func TestStrictAndOpenScanner(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/json.json")
	require.NoError(t, err)
	var list []vector
	require.NoError(t, json.Unmarshal(b, &list))
	require.Greater(t, len(list), 150)
	for _, v := range list {
		open, strict := scans(v.Frame, true), scans(v.Frame, false)
		twoMeanings := !v.Valid && (strings.Contains(v.Name, "same name") || strings.Contains(v.Name, "surrogate") || strings.Contains(v.Name, "pair the wrong way"))
		assert.Equal(t, json.Valid([]byte(v.Frame)) && !twoMeanings, open, v.Name)
		assert.False(t, strict && !open, v.Name)
		assert.False(t, v.Valid && !strict, v.Name)
		_, err := decodeRequest([]byte(v.Frame), 100)
		assert.Equal(t, v.Valid, err == nil, "the decoder: %s", v.Name)
		if strings.HasPrefix(v.Name, "null: ") {
			assert.False(t, strict, v.Name)
		}
	}
}

// Text that is not UTF-8 is refused in values and in names.
func TestScannerRefusesInvalidUTF8(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"a continuation alone":             "\x80",
		"a beginning alone":                "\xc3",
		"cut off":                          "\xe4\xb8",
		"two bytes for ASCII":              "\xc0\xaf",
		"three bytes for two":              "\xe0\x80\xaf",
		"four bytes for three":             "\xf0\x80\x80\xaf",
		"five bytes":                       "\xf8\x88\x80\x80\x80",
		"a surrogate":                      "\xed\xa0\x80",
		"beyond the last":                  "\xf4\x90\x80\x80",
		"never a byte of it":               "\xfe\xff",
		"Latin-1":                          "caf\xe9",
		"UTF-16":                           "\x00a\x00b",
		"a continuation behind an escape":  `\n` + "\x80",
		"a continuation before an escape":  "\x80" + `\n`,
		"a beginning cut off by an escape": "\xc3" + `\u00a9`,
	} {
		for _, frame := range []string{`{"a":"` + text + `"}`, `{"` + text + `":"a"}`, `["` + text + `"]`} {
			assert.False(t, scans(frame, true), name)
			assert.False(t, scans(frame, false), name)
		}
	}
}

// scans reports whether a scanner reads a text to its end.
func scans(text string, open bool) bool {
	s := scanner{b: []byte(text), open: open}
	s.skip()
	s.end()
	return s.err == nil
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
	for _, good := range []string{"0", "0.0", "-1", "37.0", "123456789012345", "0.00001", "999999999999999", "1234567890123450", "1" + strings.Repeat("0", 23)} {
		got, err := value(good)
		require.NoError(t, err, good)
		require.Equal(t, Decimal(good), got)
	}
	for _, bad := range []string{"1e400", "1e308", "1e-400", "1E5", "1e", "1e999999999", "-0", "-0.0", "1" + strings.Repeat("0", 24), "1" + strings.Repeat("0", 1000), "NaN", "Infinity", "-Infinity", "nan", "inf",
		"01", "-01", "+1", ".5", "5.", "-", "0x1F", "1_000", "1,000", "1 2", `"72"`, "true", "[72]", "{}", ""} {
		_, err := value(bad)
		require.Error(t, err, bad)
	}
	for long, want := range map[Decimal]Decimal{"0.1234567890123456": "0.123456789012346", "-36.600000000000001": "-36.6000000000000", "9.9999999999999999": "10.0000000000000",
		Decimal("0." + strings.Repeat("0", 1000) + "1"): "0.00000000000000", "99999999999999.96": "100000000000000", "120.0000000000000000": "120.000000000000",
		"1234567890123456": "1234567890123460", "-9007199254740993": "-9007199254740990", "1234567890123456.78": "1234567890123460", "999999999999999999": "1000000000000000000",
		"123456789012345678901234": "123456789012346000000000"} {
		got, err := value(string(long))
		require.NoError(t, err, long)
		require.Equal(t, want, got)
	}
	for text, want := range map[string]uint64{"0": 0, "41": 41, "999999999999999": 999999999999999} {
		s := scanner{b: []byte(text)}
		require.Equal(t, want, s.uint())
		require.NoError(t, s.err)
	}
	for _, bad := range []string{"-1", "1.0", "1e3", "9007199254740993", "1000000000000000", "18446744073709551616", `"1"`} {
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

// A frame of any size is refused for its own fault.
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

// An error says which member is wrong and why, in fixed words; nothing of the
// member's value comes back.
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
