package carewire

import (
	"context"
	"crypto/rand"
)

// A complaint is a technical alert in the system's own log about an alert that
// reaches or moves nobody, or that there is no room for, or about what cannot be
// read. Its key is made of its rule and of what it is about, and tells no names.

// unreadable says once a minute, in the log and to people, that the Store has
// damaged what is due.
func (h *Hub) unreadable(ctx context.Context, e *Entry, said, text string) {
	if h.receipt.complain(e.Patient, e.Key, h.ticks()) {
		h.log.Error("carewire: " + said)
		h.complain(ctx, AlertRef{Patient: e.Patient, Key: e.Key}, "unreadable", text)
	}
}

// complainOnce complains unless there is such a complaint already.
func (h *Hub) complainOnce(ctx context.Context, about AlertRef, rule, text string) error {
	if h.complains(complaintKey(about, rule)) {
		return nil
	}
	return h.complain(ctx, about, rule, text)
}

// complains reports whether a complaint is open, as this node knows, and its
// condition present.
func (h *Hub) complains(key string) bool {
	e, ok := h.index.get(openKey{SystemPatient, alertKey(key, false)})
	if !ok {
		return false
	}
	a, err := decodeAlert(&e)
	return err == nil && a.Condition == ConditionPresent
}

// complain raises a technical alert in the system's own log about an alert
// that reaches or moves nobody.
func (h *Hub) complain(ctx context.Context, about AlertRef, rule, text string) error {
	if about.Patient == SystemPatient {
		return nil // no complaints about complaints
	}
	_, err := h.raise(ctx, host, Alert{Patient: SystemPatient, Key: complaintKey(about, rule), ID: rand.Text(), Kind: AlertTechnical, Priority: PriorityHigh,
		Text: text, Source: Source{Rule: rule}})
	return err
}

func complaintKey(about AlertRef, rule string) string {
	return rule + "." + hexOf(digest([]byte(about.Patient + "\x00" + about.Key)))[:16]
}

// relieveBy relieves by a revision that is new to this node, its own or another's.
func (h *Hub) relieveBy(e *Entry) {
	if e.Kind != KindAlert || h.index.alertsOf(SystemPatient) == 0 {
		return
	}
	if a, err := decodeAlert(e); err == nil {
		h.relieve(a)
	}
}

// relieve ends the condition of the complaints about an alert that somebody has
// accepted or that has ended; that a patient has too many, when half of them have.
func (h *Hub) relieve(a *Alert) {
	if a.Patient == SystemPatient || a.Open() && a.Responsibility.State != ResponsibilityAccepted {
		return
	}
	over := []string{complaintKey(a.Ref(), "policy-exhausted"), complaintKey(a.Ref(), "no-recipient"),
		complaintKey(AlertRef{Patient: a.Patient, Key: alertKey(a.Key, a.Test)}, "unreadable")}
	if h.index.alertsOf(a.Patient) <= h.opt.MaxAlerts/2 {
		over = append(over, complaintKey(AlertRef{Patient: a.Patient}, "too-many-alerts"))
	}
	for _, key := range over {
		if h.complains(key) {
			h.startInsisting("relieve/"+key, func(ctx context.Context) error { return h.endCondition(ctx, SystemPatient, key, false) })
		}
	}
}
