package rules

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// Nothing of a patient shows in logs, however a host writes its values.
func TestNothingShowsInLogs(t *testing.T) {
	const canary = "canary-71937"
	limit := LimitSetting{By: canary, Reason: canary}
	for _, x := range []any{
		Settings{Limits: map[string]LimitSetting{canary: limit}, Off: map[string]Off{canary: {Reason: canary}}}, limit,
		Standing{Rule: "r", State: StandingUnknown, Detail: canary, Limits: canary}, Finding{Text: canary, Unknown: canary},
		Transition{Rule: "r", Alert: carewire.Raise{Patient: canary, Text: canary}}, ReportQuery{Patients: []string{canary}},
	} {
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "value", x)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			fmt.Fprintf(&log, verb, x)
		}
		require.NotContains(t, log.String(), canary, "%T", x)
	}
}
