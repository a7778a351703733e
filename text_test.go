package carewire

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Text of people is accepted up to a number of characters. Text that can look like
// another, or shows nothing, is refused.
func TestTextOfPeople(t *testing.T) {
	for _, good := range []string{"患者\u3000様", "one\r\ntwo", "\u200fשלום\u200e", "a \u2067שלום\u2069 b", "a \u2067x \u2066y\u2069\u2069", "co\u00adoperation", "ภาษา\u200bไทย",
		"🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f", "\U0001fae9", "👩‍⚕️", "می\u200cخواهم", "\u202bשלום\u202c", strings.Repeat("é", 4000),
		"a\rb", "a\u2028b", "a\u2029b", "\ufeffa", "a\ufeffb", "\uf8ff a", "a\ue000", "\U00100000", "ᠰᠠᠶ\u180eᠠ"} {
		r := Raise{Patient: "p1", Text: good, Priority: PriorityLow}
		require.NoError(t, r.Validate(), "%.40q", good)
		n := Notice{Patient: "p1", To: []string{"patient"}, Text: good}
		require.NoError(t, n.Validate(), "%.40q", good)
		for _, reason := range []error{(&Answer{Do: AnswerClose, Reason: good[:min(len(good), 1000)]}).validate(), (&Pause{Patient: "p1", For: 1, Reason: good[:min(len(good), 1000)]}).validate()} {
			require.NoError(t, reason, "%.40q", good)
		}
	}
	for _, bad := range []string{"a\u202eb", "a\u2066b", "a\u2069b", "\u2066a\n\u2069", "\u2066a\r\u2069", "\u2066a\u2028\u2069", "\u2066a\u202c", "a\x00", "a\x1b[31m", "a\u0085", "a\ufffeb", "\ufff9a\ufffab\ufffb", "a\u206ab", "a\xff",
		strings.Repeat("é", 4001), "", " ", "\n\t", "\u3000", "\u200d\u200c", "\u3164", "\u2800 \u2800", "\u00ad", "\ufe0f", "\ufeff", "\u2028\u2029", "\r"} {
		r := Raise{Patient: "p1", Text: bad, Priority: PriorityLow}
		invalidAt(t, "text", r.Validate())
		n := Notice{Patient: "p1", To: []string{"patient"}, Text: bad}
		invalidAt(t, "text", n.Validate())
	}
}

// What people write is kept with line breaks of one kind and without byte order
// marks, wherever they write it.
func TestTextIsCleaned(t *testing.T) {
	const written, kept = "\ufeffone\r\ntwo\rthree\u2028four\u2029fi\ufeffve \uf8ff", "one\ntwo\nthree\nfour\nfive \uf8ff"
	n := &notary{}
	w := newWorld(t, nil, &Options{Auditor: n})
	defer w.close()
	a, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: written, Priority: PriorityLow})
	require.NoError(t, err)
	require.Equal(t, kept, a.Text)
	notice, err := w.hub.Notify(t.Context(), Notice{Patient: "p1", To: []string{"patient"}, Text: written})
	require.NoError(t, err)
	require.Equal(t, kept, notice.Text)
	require.NoError(t, w.hub.Pause(t.Context(), people["nurse"], Pause{Patient: "p1", For: time.Minute, Reason: written}))
	until, paused := w.hub.pauses.byPatient["p1"]
	require.True(t, paused)
	require.Equal(t, kept, until.Reason)
	a, err = w.hub.Answer(t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerClose, Force: true, Reason: written})
	require.NoError(t, err)
	require.Equal(t, kept, a.Closed.Reason)
	r, err := decodeRequest([]byte(`{"type":"watch","req":"1","patients":["p1"],"emergency":true,"reason":"`+strings.ReplaceAll(strings.ReplaceAll(written, "\r", `\r`), "\n", `\n`)+`"}`), 100)
	require.NoError(t, err)
	require.Equal(t, kept, r.Reason)
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
