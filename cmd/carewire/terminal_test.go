package main

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// Nothing that a hostile host says moves the cursor, or begins a line of its own: not
// in lines for people, not in JSON, and not in the members that are words of the
// protocol.
func TestHostileWords(t *testing.T) {
	const evil = "ok\nFAKE\u009b2J\x1b[2J\u202e\U000e0001"
	vital := &carewire.Vital{Patient: evil, Code: evil, Value: "1", Unit: evil, Comparator: evil, Status: evil, Replaces: "x", Quality: []carewire.Quality{evil}}
	alert := &carewire.Alert{Patient: evil, ID: evil, Key: evil, Text: evil, Priority: evil}
	var out strings.Builder
	tool := &tool{out: &out, err: &out}
	for _, ev := range []carewire.Event{
		{Type: carewire.EventVital, Patient: evil, Vital: vital},
		{Type: carewire.EventAlert, Patient: evil, Alert: alert},
		{Type: carewire.EventStatus, Store: evil},
		{Type: carewire.EventAccess, Access: &carewire.AccessChange{Kind: evil, Principal: evil, Reason: evil}},
		{Type: carewire.EventReceipt, Receipt: &carewire.Receipt{Stage: evil, Key: evil}},
	} {
		for _, tool.json = range []bool{false, true} {
			out.Reset()
			tool.print(toJSON(ev), describe(ev))
			text := out.String()
			require.Equal(t, 1, strings.Count(text, "\n"), "%s: %q", ev.Type, text)
			for _, r := range strings.TrimSuffix(text, "\n") {
				require.True(t, unicode.IsPrint(r), "%s: %q", ev.Type, text)
			}
		}
		var back map[string]any
		require.NoError(t, json.Unmarshal([]byte(out.String()), &back))
		if ev.Type == carewire.EventStatus {
			require.Equal(t, evil, back["store"], "a program reads the same")
		}
	}
	p := picture{patients: map[string]*patient{}}
	p.take(carewire.Event{Type: carewire.EventStatus, Store: evil})
	for _, text := range []string{p.line, alertText(alert), vitalText(vital), explainRequest(&carewire.RequestError{Code: evil}),
		explainRequest(&carewire.RequestError{Code: carewire.CodeInvalid, Field: evil, Reason: evil})} {
		for _, r := range text {
			require.True(t, unicode.IsPrint(r), "%q", text)
		}
	}
}
