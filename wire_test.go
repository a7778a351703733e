package carewire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Text that could mean something to a store, a shell, a broker or a reader's
// eye is no ID. Each place that names a patient refuses it.
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
	for _, good := range []string{"", "SpO2 < 90 %", "Füße, 37,5 °C", "two\nlines\tand a tab", "👩‍⚕️", "می\u200cخواهم", "患者", "non\u00a0breaking", "\ue000", "\u180e"} {
		require.True(t, validText(good, 100), "%q", good)
	}
	for _, bad := range []string{"\x00", "a\x1b[31m", "a\rb", "\x7f", "\u0085", "\u202a", "\u202e", "\u2066", "\u2069", "\ufeff", "\ufff9", "\u2028", "\xff", strings.Repeat("x", 101)} {
		require.False(t, validText(bad, 100), "%q", bad)
	}
	require.True(t, validName("Dr Grey"))
	for _, bad := range []string{"", " ", "a\nb", "a\tb", "a\u200bb", "a\u2066b\u2069", "\u200ea", strings.Repeat("x", 129)} {
		require.False(t, validName(bad), "%q", bad)
	}
}
