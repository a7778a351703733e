package rules

import (
	"fmt"
	"log/slog"
)

// Types that hold a patient's data, or name one, show none of it under fmt's
// verbs and in slog.

// Format writes nothing of s.
func (s Settings) Format(f fmt.State, _ rune) { fmt.Fprint(f, "rules.Settings{…}") }

// LogValue hides s from logs.
func (s Settings) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }

// Format writes nothing of s.
func (s LimitSetting) Format(f fmt.State, _ rune) { fmt.Fprint(f, "rules.LimitSetting{…}") }

// LogValue hides s from logs.
func (s LimitSetting) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }

// Format writes nothing of s but for the rule and the state.
func (s Standing) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "rules.Standing{%s %s}", s.Rule, s.State)
}

// LogValue hides s from logs but for the rule and the state.
func (s Standing) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }

// Format writes nothing of x.
func (x Finding) Format(f fmt.State, _ rune) { fmt.Fprint(f, "rules.Finding{…}") }

// LogValue hides x from logs.
func (x Finding) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(x)) }

// Format writes nothing of t but for the rule, the kind and the number.
func (t Transition) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "rules.Transition{%s %s, number %d}", t.Rule, t.Kind, t.Seq)
}

// LogValue hides t from logs but for the rule, the kind and the number.
func (t Transition) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(t)) }

// Format writes nothing of q but for how many patients there are.
func (q ReportQuery) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "rules.ReportQuery{%d patients}", len(q.Patients))
}

// LogValue hides q from logs but for how many patients there are.
func (q ReportQuery) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(q)) }
