package hl7v2

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// MSH-15 and MSH-16 say which acknowledgement is wanted.
func TestAckModes(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ accept, app, good, bad string }{
		{"", "", "AA", "AE"}, {"NE", "AL", "AA", "AE"}, {"AL", "NE", "CA", "CE"}, {"AL", "", "CA", "CE"}, {"AL", "AL", "AA", "AE"}, {"NE", "", "AA", "AE"},
		{"NE", "NE", "", ""}, {"ER", "NE", "", "CE"}, {"SU", "NE", "CA", ""}, {"NE", "ER", "", "AE"}, {"NE", "SU", "AA", ""}, {"AL", "ER", "CA", "AE"},
	} {
		for _, rate := range []string{"72", "fast"} {
			message := []byte(strings.Replace(string(oru("1", rate)), "|2.6", "|2.6|||"+row.accept+"|"+row.app, 1))
			server, err := NewServer(&sink{}, &ServerOptions{Logger: silent})
			require.NoError(t, err)
			want := row.good
			if rate == "fast" {
				want = row.bad
			}
			b := server.Handle(t.Context(), Peer{}, message)
			if want == "" {
				require.Nil(t, b, "%+v", row)
				continue
			}
			m, err := Parse(b, nil)
			require.NoError(t, err)
			require.Equal(t, want, m.Segment("MSA").Field(1).String(), "%+v %s", row, rate)
		}
	}
}

// Before 2.5 errors have another form; both are read back.
func TestErrSegments(t *testing.T) {
	t.Parallel()
	server, err := NewServer(&sink{}, &ServerOptions{Logger: silent})
	require.NoError(t, err)
	for version, want := range map[string]string{"2.3": "ERR|OBX^2^5^102&data type error&HL70357", "2.6": "ERR||OBX^2^5|102^data type error^HL70357|E||||must be one number"} {
		b := server.Handle(t.Context(), Peer{}, []byte(strings.Replace(string(oru("1", "72", "x")), "|2.6", "|"+version, 1)))
		require.Contains(t, string(b), want)
		m, err := Parse(b, nil)
		require.NoError(t, err)
		a, ok := parseAck(m)
		require.True(t, ok)
		require.Equal(t, []*Error{{Segment: "OBX", Index: 2, Field: 5, Code: "102", Reason: "data type error"}}, a.Errors)
	}
}

// ERR names a place as the standard says, with segment and sequence. If there is no
// segment to name, it names none, and the text tells the place.
func TestErrPlaces(t *testing.T) {
	t.Parallel()
	const letters = "must begin with three letters and the field separator"
	for _, row := range []struct {
		name, version string
		rest          []string
		want          string
	}{
		{"a segment without a name", "2.6", []string{"PID|||1", "ob|x"}, "ERR|||100^segment sequence error^HL70357|E||||segment 3 " + letters},
		{"the same, before 2.5", "2.3", []string{"PID|||1", "ob|x"}, "ERR|^^^100&segment sequence error&HL70357"},
		{"a whole segment", "2.6", []string{"MSH|x"}, "ERR||MSH^2|100^segment sequence error^HL70357|E||||there must be one"},
		{"a control character", "2.6", []string{"PID|||1\x01"}, "ERR||PID^1|102^data type error^HL70357|E||||has a control character"},
		{"the header", "3", nil, "ERR||MSH^1^12|203^unsupported version id^HL70357|E||||must be a version 2"},
		{"nobody", "2.6", []string{"PID", "OBX|1|NM|" + hr + "||72|" + bpm}, "ERR||PID^1^3|204^unknown key identifier^HL70357|E||||names no known patient"},
	} {
		server, err := NewServer(&sink{}, &ServerOptions{Logger: silent})
		require.NoError(t, err)
		head := strings.Replace(msh, "|2.6", "|"+row.version, 1)
		b := server.Handle(t.Context(), Peer{}, lines(append([]string{head}, row.rest...)...))
		require.Contains(t, string(b), row.want+"\r", row.name)
	}
}
