package main

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/carewire/carewire"
)

// An eventJSON is an event as docs/protocol.md has it.
type eventJSON struct {
	Type      carewire.EventType `json:"type"`
	Patient   string             `json:"patient,omitempty"`
	Epoch     string             `json:"epoch,omitempty"`
	Seq       uint64             `json:"seq,omitempty"`
	Must      uint64             `json:"must,omitempty"`
	Recovered *bool              `json:"recovered,omitempty"`
	Vital     *carewire.Vital    `json:"vital,omitempty"`
	Alert     *carewire.Alert    `json:"alert,omitempty"`
	Notice    *carewire.Notice   `json:"notice,omitempty"`
	Receipt   *receiptJSON       `json:"receipt,omitempty"`
	Access    *accessJSON        `json:"access,omitempty"`
	Items     []itemJSON         `json:"items,omitempty"`
	Store     string             `json:"store,omitempty"`
	Since     time.Time          `json:"since,omitzero"`
	Time      time.Time          `json:"time,omitzero"`
	Inbox     int                `json:"inbox,omitempty"`
	Code      carewire.CloseCode `json:"code,omitempty"`
}

type receiptJSON struct {
	Key      string         `json:"key,omitempty"`
	AlertID  string         `json:"alert_id,omitempty"`
	Level    int            `json:"level,omitempty"`
	NoticeID string         `json:"notice_id,omitempty"`
	Stage    carewire.Stage `json:"stage"`
	By       personJSON     `json:"by"`
	At       time.Time      `json:"at"`
}

type personJSON struct {
	ID   string        `json:"id"`
	Name string        `json:"name,omitempty"`
	Role carewire.Role `json:"role"`
}

type accessJSON struct {
	Kind      string    `json:"kind"`
	Principal string    `json:"principal,omitempty"`
	Session   string    `json:"session,omitempty"`
	Group     string    `json:"group,omitempty"`
	Patients  []string  `json:"patients,omitempty"`
	Until     time.Time `json:"until,omitzero"`
	Reason    string    `json:"reason,omitempty"`
	Silence   bool      `json:"silence,omitempty"`
}

type itemJSON struct {
	Alert  *carewire.Alert  `json:"alert,omitempty"`
	Notice *carewire.Notice `json:"notice,omitempty"`
}

func toJSON(ev carewire.Event) eventJSON {
	j := eventJSON{Type: ev.Type, Patient: ev.Patient, Epoch: ev.Epoch, Seq: ev.Seq, Must: ev.Must, Vital: ev.Vital, Alert: ev.Alert,
		Notice: ev.Notice, Store: ev.Store, Since: ev.Since, Time: ev.Time, Inbox: ev.Open, Code: ev.Code}
	if ev.Type == carewire.EventSync {
		j.Recovered = &ev.Recovered
	}
	if r := ev.Receipt; r != nil {
		j.Receipt = &receiptJSON{r.Key, r.AlertID, r.Level, r.NoticeID, r.Stage, personJSON(r.By), r.At}
	}
	if a := ev.Access; a != nil {
		j.Access = (*accessJSON)(a)
	}
	for _, it := range ev.Items {
		j.Items = append(j.Items, itemJSON(it))
	}
	return j
}

// describe is an event as a line for people; "" for one that tells them nothing.
func describe(ev carewire.Event) string {
	at, what := ev.Time, ""
	switch ev.Type {
	case carewire.EventVital:
		at, what = ev.Vital.Time, vitalText(ev.Vital)
	case carewire.EventAlert:
		at, what = ev.Alert.Updated, "ALERT "+alertText(ev.Alert)
	case carewire.EventNotice:
		at, what = ev.Notice.Time, "notice from "+clean(ev.Notice.From)+": "+clean(ev.Notice.Text)
	case carewire.EventReceipt:
		r := ev.Receipt
		at, what = r.At, fmt.Sprintf("%s by %s: %s", r.Stage, person(r.By), clean(r.Key+r.NoticeID))
	case carewire.EventAccess:
		what = "access: " + ev.Access.Kind + " " + clean(ev.Access.Principal+ev.Access.Group)
		if ev.Access.Reason != "" {
			what += ", because: " + clean(ev.Access.Reason)
		}
	case carewire.EventGap:
		what = "an entry that is not for you"
	case carewire.EventSync:
		if what = "from the beginning"; ev.Recovered {
			what = "from where it stood"
		}
	case carewire.EventGranted:
		what = "has come to the group"
	case carewire.EventRevoked:
		what = "is no longer yours to watch"
	case carewire.EventStatus:
		at, what = ev.Since, "the host's store is "+ev.Store
	case carewire.EventLost:
		what = fmt.Sprintf("the connection is lost (%d), it is tried again", ev.Code)
	case carewire.EventStale:
		what = "nothing has come for too long: do not trust the values shown"
	case carewire.EventLive:
		what = "connected"
		if ev.Patient != "" {
			what = "current again"
		}
	default: // synced, inbox, heartbeat
		return ""
	}
	return strings.TrimRight(printable(fmt.Sprintf("%-8s  %-12s  %s", clock(at), clean(ev.Patient), what)), " ")
}

func clock(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.Local().Format("15:04:05")
}

// vitalText is a vital for people, such as Heart rate 72 /min.
func vitalText(v *carewire.Vital) string {
	name := displays[v.Code]
	if name == "" {
		name = clean(v.System + " " + v.Code)
	}
	text := name + " " + valueText(v)
	for _, mark := range []struct {
		set  bool
		text string
	}{{v.Site != "", "at " + clean(v.Site)}, {v.Device != "", "by " + clean(v.Device)}, {len(v.Quality) > 0, qualities(v)}, {v.Test, "TEST"}, {v.Replaces != "", string(v.Status)}} {
		if mark.set {
			text += ", " + mark.text
		}
	}
	return printable(text) // comparator and status are the host's words, too
}

func qualities(v *carewire.Vital) string {
	var all []string
	for _, q := range v.Quality {
		all = append(all, clean(string(q)))
	}
	return strings.Join(all, ", ")
}

func valueText(v *carewire.Vital) string {
	switch {
	case v.Absent != "":
		return "absent (" + clean(string(v.Absent)) + ")"
	case v.Coded != nil:
		return clean(v.Coded.Code)
	case len(v.Components) > 0:
		var parts []string
		for _, c := range v.Components {
			parts = append(parts, clean(string(c.Value)))
		}
		return strings.Join(parts, "/") + " " + clean(v.Components[0].Unit)
	}
	return string(v.Comparator) + clean(string(v.Value)) + " " + clean(v.Unit)
}

// alertText is an alert for people.
func alertText(a *carewire.Alert) string {
	text := fmt.Sprintf("%s %s %q: %s", a.Priority, clean(a.Key), clean(a.Text), alertState(a))
	if a.Test {
		text = "TEST " + text
	}
	return printable(text) // the priority is the host's word, too
}

// alertState says how it stands with an alert.
func alertState(a *carewire.Alert) string {
	if a == nil {
		return "unknown"
	}
	condition := "present"
	switch {
	case !a.Open():
		return "ended"
	case a.Latched:
		condition = "over, but nobody had accepted"
	}
	r := a.Responsibility
	switch r.State {
	case carewire.ResponsibilityAccepted:
		return condition + ", accepted by " + person(r.By) + " until " + clock(r.Until)
	case carewire.ResponsibilityRejected:
		condition += ", rejected by " + person(r.By)
	default:
		condition += ", nobody has accepted"
	}
	return fmt.Sprintf("%s, level %d", condition, a.Escalation.Level)
}

func person(p carewire.Person) string {
	if p.Name != "" {
		return clean(p.Name)
	}
	return clean(p.ID)
}

// clean is a text for a place within a line.
func clean(text string) string { return printable(strings.TrimSpace(text)) }

// printable leaves nothing in a text that moves a terminal's cursor.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
}

// printableJSON writes such characters as escapes, which are the same to a program:
// encoding/json does so with those of ASCII only.
func printableJSON(text string) string {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}
