package rules

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/carewire/carewire"
)

// AuditSettings is the AuditEvent of one change of a patient's Settings. Key is
// the rule, or "born" or "pregnant". Who, Until and Reason come from the
// Settings; if they name no author, the field Who is the host.
const AuditSettings carewire.AuditEvent = "rule_settings"

// A settingsChange is one thing that has changed between two Settings.
type settingsChange struct {
	rule   int    // -1: it concerns all scores
	key    string // of the rule; or "born", "pregnant"
	text   string // for the next alert
	by     string // "": the Settings do not say
	reason string
	until  time.Time
}

// changes lists the differences between two Settings.
func (s *Set) changes(old, now *Settings) (list []settingsChange) {
	for i := range s.rules {
		key := s.rules[i].Key
		add := func(text, by, reason string, until time.Time) {
			list = append(list, settingsChange{i, key, text, by, reason, until})
		}
		if limit, is := now.Limits[key]; is && !limit.equal(old.Limits[key]) {
			add("", limit.By, limit.Reason, time.Time{}) // the alert says whose limit it is
		} else if _, was := old.Limits[key]; was && !is {
			add("the usual limit again, no longer one of this patient", "", "", time.Time{})
		}
		off, is := now.Off[key]
		was, before := old.Off[key]
		switch {
		case is && off != was:
			text := "was switched off" + off.told()
			if off.Until.IsZero() {
				text = offForever
			}
			add(text, off.By, off.Reason, off.Until)
		case before && !is:
			add("switched on again, was off"+was.told(), "", "", time.Time{})
		}
		if scale, was := now.Scales[key], old.Scales[key]; scale != was {
			text := ""
			if scale.Name == "" {
				text = "scale " + was.Name + " is no longer prescribed"
			}
			add(text, scale.By, "", time.Time{}) // the limits of the alert say which it is
		}
		if on := slices.Contains(now.On, key); on != slices.Contains(old.On, key) {
			text := "switched on for this patient"
			if !on {
				text = "was not switched on for this patient for a time"
			}
			add(text, "", "", time.Time{})
		}
	}
	if !now.Born.Equal(old.Born) {
		list = append(list, settingsChange{rule: -1, key: "born", text: "the date of birth was changed"})
	}
	if now.Pregnant != old.Pregnant {
		list = append(list, settingsChange{rule: -1, key: "pregnant", text: "what is known of a pregnancy was changed"})
	}
	return list
}

// told describes a rule that is off: by which person, until when and why.
func (o *Off) told() string {
	var text strings.Builder
	if o.By != "" {
		text.WriteString(" by " + o.By)
	}
	if !o.Until.IsZero() {
		text.WriteString(" until " + o.Until.UTC().Format("2006-01-02 15:04") + " UTC")
	}
	if o.Reason != "" {
		text.WriteString(": " + o.Reason)
	}
	return text.String()
}

// renew applies Settings, and returns the changes. The next alerts tell it.
func (c *Case) renew(now Settings) (list []settingsChange) {
	if !c.unset {
		list = c.set.changes(&c.settings, &now)
	}
	for _, x := range list {
		for i := range c.states {
			_, score := c.set.rules[i].machine.(*scoreMachine)
			if x.text != "" && (x.rule == i || x.rule < 0 && score) {
				c.states[i].hears(x.text)
			}
		}
	}
	c.unset = false
	c.apply(now)
	return list
}

// hears notes a text that the next alert is to tell.
func (st *state) hears(text string) {
	text = strings.Map(printable, clip(text, 300))
	if !slices.Contains(st.news, text) {
		st.news = append(st.news, text)
	}
	st.news = st.news[max(0, len(st.news)-newsMost):]
}

// offForever says why an Off does not count.
const offForever = "not switched off, for it is not said until when"

// newsMost is how many changes of Settings an alert tells.
const newsMost = 4

// audit records a change.
func (j *Judge) audit(ctx context.Context, patient string, x *settingsChange) {
	r := carewire.Record{Time: j.hub.Now(), Event: AuditSettings, Outcome: carewire.OutcomeDone, Asserted: true, Patient: patient, Key: x.key,
		Until: x.until, Reason: x.reason}
	if r.Who.ID = x.by; r.Who.ID == "" {
		r.Who.ID = host
	}
	if err := j.opt.Auditor.Record(ctx, r); err != nil {
		j.log.Error("rules: a change of Settings could not be recorded", "error", err)
	}
}

// equal reports whether two limits are the same.
func (s LimitSetting) equal(o LimitSetting) bool {
	same := func(a, b *float64) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }
	return same(s.At, o.At) && same(s.Margin, o.Margin) && same(s.Severe, o.Severe) && s.By == o.By && s.Reason == o.Reason
}
