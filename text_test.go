package carewire

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Text of people is accepted up to a number of characters. Text that can look like
// another, or shows nothing, is refused.
func TestTextOfPeople(t *testing.T) {
	for _, good := range []string{"患者\u3000様", "one\r\ntwo", "\u200fשלום\u200e", "a \u2067שלום\u2069 b", "a \u2067x \u2066y\u2069\u2069", "co\u00adoperation", "ภาษา\u200bไทย",
		"🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f", "\U0001fae9", "👩‍⚕️", "می\u200cخواهم", "\u202bשלום\u202c", strings.Repeat("é", 4000)} {
		r := Raise{Patient: "p1", Text: good, Priority: PriorityLow}
		require.NoError(t, r.Validate(), "%.40q", good)
	}
	for _, bad := range []string{"a\u202eb", "a\u2066b", "a\u2069b", "\u2066a\n\u2069", "\u2066a\u202c", "a\rb", "a\x00", "a\x1b[31m", "a\u0085", "a\u2028b", "a\ue000", "a\ufeff", "a\xff",
		strings.Repeat("é", 4001), "", " ", "\n\t", "\u3000", "\u200d\u200c", "\u3164", "\u2800 \u2800", "\u00ad", "\ufe0f"} {
		r := Raise{Patient: "p1", Text: bad, Priority: PriorityLow}
		invalidAt(t, "text", r.Validate())
		n := Notice{Patient: "p1", To: []string{"patient"}, Text: bad}
		invalidAt(t, "text", n.Validate())
	}
	w := newWorld(t, nil, nil)
	defer w.close()
	a, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "one\r\ntwo", Priority: PriorityLow})
	require.NoError(t, err)
	require.Equal(t, "one\ntwo", a.Text)
}

// A principal whose name cannot be shown as it is is still admitted.
func TestNameNeverRefuses(t *testing.T) {
	var log strings.Builder
	w := newWorld(t, nil, &Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	defer w.close()
	for said, want := range map[string]string{"Dr. Grey": "Dr. Grey", "Dr.\u202e Grey\x00": "Dr. Grey", "\xff": "\ufffd", strings.Repeat("é", 300): strings.Repeat("é", 256), "": ""} {
		w.hub.auth = AuthenticatorFunc(func(*http.Request) (Principal, error) {
			return Principal{ID: "grey", Name: said, Role: RoleClinician}, nil
		})
		p, err := w.hub.authenticate(httptest.NewRequest("GET", "/", nil))
		require.NoError(t, err)
		require.Equal(t, want, p.Name)
	}
	require.Contains(t, log.String(), "principal="+sealedKey("grey"))
	require.NotContains(t, log.String(), "grey\n")
}
