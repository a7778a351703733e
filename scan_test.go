package carewire

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The open scanner takes the JSON that encoding/json takes, but for what has two
// meanings; the strict one takes a part of that. The decoder
// takes the frames that it should.
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

// What is not UTF-8 is refused in values and in names.
func TestScannerRefusesWhatIsNotUTF8(t *testing.T) {
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
