package carewire

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"time"
)

// A complaint is a technical alert in the system's own log about an alert that
// reaches or moves nobody, or that there is no room for, or about what cannot be
// read. Its key is made of its rule and of what it is about, and tells no names.
type complaints struct {
	*background
	raise func(context.Context, Alert) error
	end   func(ctx context.Context, patient, key string, test bool) error // the condition of an alert
	open  *openIndex
	many  int // open alerts of a patient
	log   *slog.Logger
	ticks func() int64

	mu   sync.Mutex
	said map[openKey]int64 // when it was last said of an entry that it cannot be read, in ticks
}

const saidMost = 10000 // entries of which this is kept in mind

// unreadable says once a minute, in the log and to people, that the Store has
// damaged what is due.
func (c *complaints) unreadable(ctx context.Context, e *Entry, said, text string) {
	c.mu.Lock()
	k, now := openKey{e.Patient, e.Key}, c.ticks()
	last, known := c.said[k]
	again := known && time.Duration(now-last) < repeatEvery
	if !again {
		if c.said == nil || len(c.said) > saidMost {
			c.said = make(map[openKey]int64)
		}
		c.said[k] = now
	}
	c.mu.Unlock()
	if !again {
		c.log.Error("carewire: " + said)
		c.complain(ctx, AlertRef{Patient: e.Patient, Key: e.Key}, "unreadable", text)
	}
}

// complainOnce complains unless there is such a complaint already.
func (c *complaints) complainOnce(ctx context.Context, about AlertRef, rule, text string) error {
	if c.present(complaintKey(about, rule)) {
		return nil
	}
	return c.complain(ctx, about, rule, text)
}

// present reports whether a complaint is open, as this node knows, and its
// condition present.
func (c *complaints) present(key string) bool {
	e, ok := c.open.get(openKey{SystemPatient, alertKey(key, false)})
	if !ok {
		return false
	}
	a, err := decodeAlert(&e)
	return err == nil && a.Condition == ConditionPresent
}

// complain raises a complaint. There are none about complaints.
func (c *complaints) complain(ctx context.Context, about AlertRef, rule, text string) error {
	if about.Patient == SystemPatient {
		return nil
	}
	return c.raise(ctx, Alert{Patient: SystemPatient, Key: complaintKey(about, rule), ID: rand.Text(), Kind: AlertTechnical, Priority: PriorityHigh,
		Text: text, Source: Source{Rule: rule}})
}

func complaintKey(about AlertRef, rule string) string {
	return rule + "." + hexOf(digest([]byte(about.Patient + "\x00" + about.Key)))[:16]
}

// relieveBy relieves by a revision that is new to this node, its own or another's.
func (c *complaints) relieveBy(e *Entry) {
	if e.Kind != KindAlert || c.open.alertsOf(SystemPatient) == 0 {
		return
	}
	if a, err := decodeAlert(e); err == nil {
		c.relieve(a)
	}
}

// relieve ends the condition of the complaints about an alert that somebody has
// accepted or that has ended; that a patient has too many, when half of them have.
func (c *complaints) relieve(a *Alert) {
	if a.Patient == SystemPatient || a.Open() && a.Responsibility.State != ResponsibilityAccepted {
		return
	}
	over := []string{complaintKey(a.Ref(), "policy-exhausted"), complaintKey(a.Ref(), "no-recipient"),
		complaintKey(AlertRef{Patient: a.Patient, Key: alertKey(a.Key, a.Test)}, "unreadable")}
	if c.open.alertsOf(a.Patient) <= c.many/2 {
		over = append(over, complaintKey(AlertRef{Patient: a.Patient}, "too-many-alerts"))
	}
	for _, key := range over {
		if c.present(key) {
			c.startInsisting("relieve/"+key, func(ctx context.Context) error { return c.end(ctx, SystemPatient, key, false) })
		}
	}
}
