package carewire

import (
	"fmt"
	"log/slog"
)

// Types that name a patient, or hold text or measurements, show none of that
// under fmt's verbs and in slog. Vital, Alert, Notice and Principal do so in
// their own files. This file has the types that are made of them.

// Format writes nothing of e but for its kind and number.
func (e Entry) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "carewire.Entry{kind %d, number %d}", e.Kind, e.Seq)
}

// LogValue hides e from logs but for its kind and number.
func (e Entry) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(e)) }

// Format writes nothing of h but for the numbers and epochs.
func (h Head) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "carewire.Head{%v, must %d, epochs %v}", h.Position, h.Must, h.Epochs)
}

// LogValue hides h from logs but for the numbers and epochs.
func (h Head) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(h)) }

// Format writes nothing of e but for its type.
func (e Event) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "carewire.Event{%s}", e.Type) }

// LogValue hides e from logs but for its type.
func (e Event) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(e)) }

// Format writes nothing of i.
func (i InboxItem) Format(f fmt.State, _ rune) { fmt.Fprint(f, "carewire.Item{…}") }

// LogValue hides i from logs.
func (i InboxItem) LogValue() slog.Value { return slog.StringValue("carewire.Item{…}") }

// Format writes nothing of r but for its stage.
func (r Receipt) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "carewire.Receipt{%s}", r.Stage) }

// LogValue hides r from logs but for its stage.
func (r Receipt) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(r)) }

// Format writes nothing of s but for how many inputs there are.
func (s Source) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "carewire.Source{%d inputs}", len(s.Inputs))
}

// LogValue hides s from logs but for how many inputs there are.
func (s Source) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }

// Format writes nothing of i.
func (i SourceInput) Format(f fmt.State, _ rune) { fmt.Fprint(f, "carewire.SourceInput{…}") }

// LogValue hides i from logs.
func (i SourceInput) LogValue() slog.Value { return slog.StringValue("carewire.SourceInput{…}") }

// Format writes nothing of r but for its kind.
func (r Recognition) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "carewire.Recognition{%s}", r.Kind) }

// LogValue hides r from logs but for its kind.
func (r Recognition) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(r)) }

// Format writes nothing of p but for the role.
func (p Person) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "carewire.Person{%s}", p.Role) }

// LogValue hides p from logs but for the role.
func (p Person) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(p)) }

// Format writes nothing of p but for its level.
func (p Page) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "carewire.Page{level %d}", p.Level) }

// LogValue hides p from logs but for its level.
func (p Page) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(p)) }

// Format writes nothing of r.
func (r AlertRef) Format(f fmt.State, _ rune) { fmt.Fprint(f, "carewire.AlertRef{…}") }

// LogValue hides r from logs.
func (r AlertRef) LogValue() slog.Value { return slog.StringValue("carewire.AlertRef{…}") }

// Format writes only the verb of a.
func (a Answer) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "carewire.Answer{%s}", a.Do) }

// LogValue returns only the verb of a.
func (a Answer) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(a)) }

// Format writes nothing of r but for its code.
func (r Refusal) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "carewire.Refusal{%s}", r.Code) }

// LogValue hides r from logs but for its code.
func (r Refusal) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(r)) }

// Format writes nothing of w but for how many there are.
func (w WatchResult) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "carewire.Watching{%d, %d refused}", len(w.Patients), len(w.Refused))
}

// LogValue hides w from logs but for how many there are.
func (w WatchResult) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(w)) }

// Format writes nothing of o but for how many there are.
func (o WatchOptions) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "carewire.WatchOptions{%d patients, %d groups}", len(o.Patients), len(o.Groups))
}

// LogValue hides o from logs but for how many there are.
func (o WatchOptions) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(o)) }

// Format writes nothing of q.
func (q HistoryQuery) Format(f fmt.State, _ rune) { fmt.Fprint(f, "carewire.HistoryQuery{…}") }

// LogValue hides q from logs.
func (q HistoryQuery) LogValue() slog.Value { return slog.StringValue("carewire.HistoryQuery{…}") }

// Format writes nothing of p but for how many there are.
func (p HistoryPage) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "carewire.HistoryPage{%d events}", len(p.Events))
}

// LogValue hides p from logs but for how many there are.
func (p HistoryPage) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(p)) }

// Format writes nothing of a but for its action.
func (a Access) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "carewire.Access{%s}", a.Action) }

// LogValue hides a from logs but for its action.
func (a Access) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(a)) }

// Format writes nothing of r.
func (r Revocation) Format(f fmt.State, _ rune) { fmt.Fprint(f, "carewire.Revocation{…}") }

// LogValue hides r from logs.
func (r Revocation) LogValue() slog.Value { return slog.StringValue("carewire.Revocation{…}") }
