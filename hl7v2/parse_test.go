package hl7v2

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lines joins segments as the standard does.
func lines(segments ...string) []byte { return []byte(strings.Join(segments, "\r") + "\r") }

const msh = `MSH|^~\&|MON|ICU|CW|HOSP|20260105120001+0000||ORU^R01^ORU_R01|M1|P|2.6`

func TestParse(t *testing.T) {
	t.Parallel()
	m, err := Parse(lines(msh+"||||||UNICODE UTF-8", `PID|||123^^^HOSP&1.2.3&ISO^MR~456^^^NAT^NI||Müller^Jane`,
		`OBX|1|ST|a^b\S\c^d||x\F\y\T\z\R\w\E\v\H\bold\N\.\.br\next\X41C3A9\||`), nil)
	require.NoError(t, err)
	require.Len(t, m.Segments(), 3)
	code, event := m.Type()
	assert.Equal(t, "ORU R01", code+" "+event)
	assert.Equal(t, "M1", m.ControlID())
	assert.False(t, m.Test())
	assert.Equal(t, "|", m.Header(1).String())
	assert.Equal(t, `^~\&`, m.Header(2).String())
	assert.Equal(t, "MON", m.Header(3).String())
	pid := m.Segment("PID")
	require.Len(t, pid.Field(3).Repetitions(), 2)
	assert.Equal(t, "123", pid.Field(3).Component(1).String(), "of the first repetition")
	assert.Equal(t, "1.2.3", pid.Field(3).Component(4).Subcomponent(2).String())
	assert.Equal(t, "456", pid.Field(3).Repetitions()[1].Component(1).String())
	assert.Equal(t, "Müller", pid.Field(5).Component(1).String())
	obx := m.Segment("OBX")
	assert.Equal(t, "b^c", obx.Field(3).Component(2).String(), "an escape parts nothing")
	assert.Equal(t, "x|y&z~w\\vbold.\nnextAé", obx.Field(5).String())
	for _, none := range []Value{obx.Field(0), obx.Field(-1), obx.Field(99), obx.Field(3).Component(0), obx.Field(3).Component(9),
		m.Segment("ZZZ").Field(1), Value{}.Component(1), Value{}.Component(2), Value{}.Subcomponent(1)} {
		assert.True(t, none.Empty())
		assert.Empty(t, none.String())
		assert.Empty(t, none.Repetitions())
	}
	assert.Empty(t, m.Segment("ZZZ").Name())
}

// Other separators are accepted, and a null differs from an empty field.
func TestParseOtherSeparators(t *testing.T) {
	t.Parallel()
	m, err := Parse(lines(`MSH#*!?%#MON#ICU#CW#HOSP#20260105120001+0000##ORU*R01#M1#P#2.6`, `OBX#1#NM#a*b##""#?F?%x`), nil)
	require.NoError(t, err)
	obx := m.Segment("OBX")
	assert.Equal(t, "b", obx.Field(3).Component(2).String())
	assert.True(t, obx.Field(5).Null())
	assert.Empty(t, obx.Field(5).String())
	assert.Equal(t, "#", obx.Field(6).Subcomponent(1).String())
	assert.Equal(t, "x", obx.Field(6).Subcomponent(2).String())
}

// A message against the standard is refused strictly; some deviations are taken
// leniently. "" is taken.
func TestParseStrictAndLenient(t *testing.T) {
	t.Parallel()
	field := func(n int, value string) []byte {
		f := strings.Split(msh+"||||||", "|")
		f[n-1] = value
		return lines(strings.Join(f, "|"), "PID|||1")
	}
	for _, row := range []struct {
		name            string
		message         []byte
		strict, lenient string
	}{
		{"the standard", lines(msh, "PID|||1"), "", ""},
		{"no end of the last segment", []byte(msh + "\rPID|||1"), "", ""},
		{"truncation character of 2.7", lines(strings.Replace(msh, `^~\&`, `^~\&#`, 1)), "", ""},
		{"LF", []byte(msh + "\nPID|||1\n"), "MSH[1]: has a control character", ""},
		{"CR LF and empty lines", []byte("\r\n" + msh + "\r\n\r\nPID|||1\r\n\r\n"), "must begin with MSH", ""},
		{"nothing", nil, "must begin with MSH", "must begin with MSH"},
		{"cut short", []byte(`MSH|^~\&`), "MSH-2: is cut short", "MSH-2: is cut short"},
		{"another segment first", lines("PID|||1", msh), "must begin with MSH", "must begin with MSH"},
		{"separators that are the same", lines(`MSH|^^\&|a|b|c|d|e||ORU^R01|1|P|2.6`), "MSH-2", "MSH-2"},
		{"a letter as a separator", lines(`MSHA^~\&A`), "MSH-2", "MSH-2"},
		{"a fifth separator that is none", lines(`MSH|^~\&x|a`), "MSH-2", "MSH-2"},
		{"two headers", lines(msh, msh), "MSH[2]: there must be one", "MSH[2]: there must be one"},
		{"a name in lower case", lines(msh, "pid|||1"), "three letters", "three letters"},
		{"a name of four letters", lines(msh, "PIDX|||1"), "three letters", "three letters"},
		{"an empty line", lines(msh, "", "PID|||1"), "three letters", ""},
		{"a control character", lines(msh, "PID|||1\x00"), "control character", "control character"},
		{"a tab", lines(msh, "NTE|1||a\tb"), "", ""},
		{"an escape that is not closed", lines(msh, `NTE|1||a\Fb|c`), "NTE[1]: an escape is not closed", ""},
		{"an escape that means nothing", lines(msh, `NTE|1||a\Q\b`), "NTE[1]: an escape means nothing", ""},
		{"an escape of a house's own", lines(msh, `NTE|1||a\Zx\b`), "", ""},
		{"hex that is none", lines(msh, `NTE|1||a\X4\b`), "an escape means nothing", ""},
		{"no type", field(9, ""), "MSH-9: is required", "MSH-9: is required"},
		{"no control ID", field(10, ""), "MSH-10: is required", "MSH-10: is required"},
		{"no processing ID", field(11, ""), "MSH-11: is required", ""},
		{"no charset, and UTF-8", lines(msh, "NTE|1||é"), "MSH-18", ""},
		{"no charset, and Latin 1", lines(msh, "NTE|1||\xe9"), "MSH-18", ""},
		{"ASCII that is none", append(field(18, "ASCII"), "NTE|1||é\r"...), "MSH-18", ""},
		{"UTF-8 that is none", append(field(18, "UNICODE UTF-8"), "NTE|1||\xe9\r"...), "MSH-18", ""},
		{"Latin 1 with a C1 byte", append(field(18, "8859/1"), "NTE|1||\x93\r"...), "MSH-18", ""},
		{"a charset that is not taken", field(18, "GB 18030-2000"), "MSH-18: this character set is not taken", "MSH-18: this character set is not taken"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for _, lenient := range []bool{false, true} {
				m, err := Parse(row.message, &ParseOptions{Lenient: lenient})
				want := row.strict
				if lenient {
					want = row.lenient
				}
				if want == "" {
					require.NoError(t, err)
					require.NotEmpty(t, m.ControlID())
					continue
				}
				var e *Error
				require.ErrorAs(t, err, &e)
				require.Contains(t, err.Error(), want)
				require.NotEmpty(t, e.Code)
			}
		})
	}
	_, err := Parse(append(lines(msh), bytes.Repeat([]byte("NTE\r"), maxSegments)...), nil)
	require.ErrorContains(t, err, "too many segments")
}

// Stray escapes stay as they are, and hide none that follows.
func TestUnescapeLeniently(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{`C:\temp`: `C:\temp`, `a\`: `a\`, `\`: `\`, `\\`: `\\`, `a\Q\b`: `a\Q\b`, `5\S\6`: `5^6`, `a\b\F\c`: `a\b|c`,
		`\F`: `\F`, `\F\\S\`: `|^`, `a\Zx\\T\`: `a\Zx\&`, `\X\`: `\X\`, `\Xzz\`: `\Xzz\`, `\XFF\`: `\XFF\`} {
		m, err := Parse(lines(msh, "NTE|1||"+text), &ParseOptions{Lenient: true})
		require.NoError(t, err)
		assert.Equal(t, want, m.Segment("NTE").Field(3).String(), text)
	}
}

func TestCharsets(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		charset string
		sent    string
		want    string
	}{
		{"8859/1", "M\xfcller", "Müller"},
		{"8859/2", "\xa3\xf3d\xbc", "Łódź"},
		{"8859/5", "\xbf\xe0\xd8", "При"},
		{"8859/7", "\xc1\xe8", "Αθ"},
		{"8859/8", "\xf9\xec", "של"},
		{"8859/9", "\xdd", "İ"},
		{"8859/15", "\xa4", "€"},
		{"UNICODE UTF-8", "心", "心"},
		{"8859/1~UNICODE UTF-8", "\xe9", "é"},
	} {
		b := []byte(msh + "||||||" + row.charset + "\rPID|||1||" + row.sent + "\r")
		m, err := Parse(b, nil)
		require.NoError(t, err, row.charset)
		assert.Equal(t, row.want, m.Segment("PID").Field(5).String(), row.charset)
	}
	for name, c := range charsets {
		if c.upper != nil {
			assert.Len(t, c.upper, 96, name)
		}
	}
	m, err := Parse([]byte(msh+"||||||8859/5\rNTE|1||\\XBF\\\r"), nil)
	require.NoError(t, err)
	assert.Equal(t, "П", m.Segment("NTE").Field(3).String(), "hex is of the message's charset")
}

// A text that is written and read is the same again.
func TestEscape(t *testing.T) {
	t.Parallel()
	const text = "a|b^c&d~e\\f\\S\\g\nh é 心"
	m, err := Parse(lines(msh+"||||||UNICODE UTF-8", "NTE|1||"+escape(text)), nil)
	require.NoError(t, err)
	assert.Equal(t, text, m.Segment("NTE").Field(3).String())
	assert.Equal(t, "ab", escape("a\x00\r\x1bb"), "nothing that could end a segment or a frame")
}

func TestFrames(t *testing.T) {
	t.Parallel()
	read := func(line string, max int) (messages []string, err error) {
		f := frames{bufio.NewReader(strings.NewReader(line)), max}
		for {
			if err = f.begin(); err != nil {
				return messages, err
			}
			b, err := f.rest()
			if err != nil {
				return messages, err
			}
			messages = append(messages, string(b))
		}
	}
	for _, row := range []struct {
		name, line string
		messages   []string
		err        error
	}{
		{"two", "\x0bone\x1c\r\x0btwo\x1c\r", []string{"one", "two"}, io.EOF},
		{"white space between", "\r\n \x0bone\x1c\r\n\r\n\x0btwo\x1c\r", []string{"one", "two"}, io.EOF},
		{"no CR after it", "\x0bone\x1c\x0btwo\x1c", []string{"one", "two"}, io.EOF},
		{"begun anew", "\x0bhal\x0bone\x1c\r", []string{"one"}, io.EOF},
		{"empty", "\x0b\x1c\r", []string{""}, io.EOF},
		{"nothing", "", nil, io.EOF},
		{"cut", "\x0bone", nil, io.ErrUnexpectedEOF},
		{"no frame", "GET / HTTP/1.1\r\n", nil, ErrFrame},
		{"white space without end", strings.Repeat("\r", 1100), nil, ErrFrame},
		{"as long as may be", "\x0b12345678\x1c\r", []string{"12345678"}, io.EOF},
		{"too long", "\x0b123456789\x1c\r", nil, ErrTooLong},
	} {
		messages, err := read(row.line, 8)
		assert.Equal(t, row.messages, messages, row.name)
		assert.ErrorIs(t, err, row.err, row.name)
	}
	assert.Equal(t, "\x0bone\x1c\r", string(frame([]byte("one"))))
}

func FuzzParse(f *testing.F) {
	f.Add(lines(msh, "PID|||1", `OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1|72|264864^MDC_DIM_BEAT_PER_MIN^MDC`))
	f.Add(lines(msh+"||||||8859/5", `NTE|1||\X41\\F\a\`))
	f.Add([]byte(msh + "\r\n\r\nPID|||1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		strict, err := Parse(b, nil)
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Fatal("an error of another type")
		}
		lenient, lerr := Parse(b, &ParseOptions{Lenient: true})
		if err == nil && lerr != nil {
			t.Fatalf("strictly taken and leniently refused: %v", lerr)
		}
		for _, m := range []*Message{strict, lenient} {
			if m == nil {
				continue
			}
			for _, s := range m.Segments() {
				for n := range 30 {
					for _, r := range s.Field(n).Repetitions() {
						_ = r.Component(2).Subcomponent(2).String() + r.String()
					}
				}
			}
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x0bone\x1c\r\x0btwo\x1c\r"))
	f.Add([]byte("\x0bhal\x0bone\x1c"))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := frames{bufio.NewReader(bytes.NewReader(b)), 64}
		for in.begin() == nil {
			m, err := in.rest()
			if err != nil {
				return
			}
			if len(m) > 64 || bytes.IndexByte(m, vt) >= 0 || bytes.IndexByte(m, fs) >= 0 {
				t.Fatal("not a message")
			}
		}
	})
}
