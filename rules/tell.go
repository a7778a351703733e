package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/carewire/carewire"
)

// tell notes that the alert of rule i is to be raised, changed or cleared.
func (c *Case) tell(i int, st *state) {
	r := &c.set.rules[i]
	kind, seq := Updated, st.seqOf(c)
	switch {
	case st.level == 0:
		kind = Cleared
	case st.told == 0:
		kind, seq = Raised, st.cause
	case st.level > st.told:
		seq = st.cause
	}
	st.told = st.level
	if r.Quiet {
		return
	}
	t := Transition{Rule: r.Key, Kind: kind, Seq: seq, At: c.out(max(c.now, c.at)), index: i, level: st.level}
	if kind == Cleared {
		t.Alert = carewire.Raise{Patient: c.patient, Key: r.Key, ID: st.known.id}
		t.event = c.eventID(r.Key, seq, "over")
	} else {
		t.Alert = c.alertOf(i, st)
		st.news = nil
		t.Alert.ID = c.eventID(r.Key, seq, fmt.Sprintf("r%d", st.level))
	}
	c.owe(t)
}

// seqOf is the entry by which a rule has seen that things are better.
func (st *state) seqOf(c *Case) uint64 {
	if st.newest != 0 {
		return st.newest
	}
	return c.seq
}

// eventID names an event that an entry has caused. It is the same wherever the same log
// is judged, so that the Store takes it once. An alert bears it, and pages do: it
// tells neither the patient nor the rule.
func (c *Case) eventID(key string, seq uint64, what string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d\x00%s\x00%s", c.patient, key, seq, c.mark, what))
	return hex.EncodeToString(sum[:12])
}

// alertOf returns the alert of rule i, as it explains itself.
func (c *Case) alertOf(i int, st *state) carewire.Raise {
	r := &c.set.rules[i]
	l := r.levels(&r.About)[st.level-1]
	a := carewire.Raise{Patient: c.patient, Key: r.Key, Text: l.text, Priority: l.priority, Kind: r.Kind, To: c.to, Onset: c.onset(st),
		Source: carewire.Source{Rule: r.Key + " v" + r.Version, Limits: clip(r.explain(c, st), 128)}}
	a.Source.Inputs = c.inputsOf(i)
	if m, ok := r.machine.(interface {
		source(*Case, *state, *carewire.Source)
	}); ok {
		m.source(c, st, &a.Source)
	}
	if a.To == nil || r.To != nil {
		a.To = r.To
	}
	if len(r.codes) > 0 {
		k := c.set.names[r.codes[0]]
		a.Code, a.System = k.code, k.system
	}
	var notes []string
	if f := st.found; f != nil {
		a.Source.VitalID, a.Source.Unit = f.id.String(), f.unit
		if a.Source.Value = carewire.Decimal(f.value.String()); a.Source.Value == "" && f.unit != "" {
			a.Source.Value = carewire.DecimalOf(f.number)
		}
		if a.Source.Value == "" {
			a.Source.Unit = ""
		}
		if f.doubt {
			notes = append(notes, "the reading is questionable")
		}
		if f.note != "" {
			notes = append(notes, f.note)
		}
	}
	if st.single {
		notes = append(notes, singleText)
	}
	switch {
	case st.stays():
		notes = append(notes, flapsText+"; "+staysText+" "+short(r.timing().Settle))
	case st.flaps:
		notes = append(notes, flapsText)
	}
	if own := c.limits[i]; own != nil {
		notes = append(notes, own.explain())
	}
	notes = append(notes, st.news...)
	if len(notes) > 0 {
		a.Text = clip(a.Text+" ("+strings.Join(notes, "; ")+")", 4000)
	}
	return a
}

func (c *Case) onset(st *state) time.Time {
	if p := &st.pending[st.level-1]; p.since != 0 {
		return c.out(p.since)
	}
	return c.out(st.present)
}

// The text of an alert beside the rule's own: flapsText says that it flaps,
// staysText that it is held for that.
const (
	flapsText = "it has come back often"
	staysText = "it stays until it has been well for"
	// singleText says that there was nothing to show that a condition lasts.
	singleText = "one reading counts: the device measures seldom, or has sent none since"
)

// clip cuts text to at most n bytes, at the end of a character.
func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	text = text[:n-len("…")]
	return strings.ToValidUTF8(text, "") + "…"
}

// Owed returns the transitions that are due, in order, and forgets them.
func (c *Case) Owed() []Transition {
	list := c.owed
	c.owed = nil
	return list
}
