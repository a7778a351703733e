package carewire

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Holds are the longest durations of acceptances, by priority. Zero means the
// default: 1, 4 and 24 hours. A negative value disables the limit.
type Holds struct{ High, Medium, Low time.Duration }

// hold returns how long an acceptance holds for which so long was asked; 0: the
// usual time.
func (m Holds) hold(p Priority, asked time.Duration) time.Duration {
	if asked == 0 {
		asked = holdsFor(p)
	}
	switch p {
	case PriorityHigh:
		return min(asked, m.High)
	case PriorityMedium:
		return min(asked, m.Medium)
	}
	return min(asked, m.Low)
}

// Handover offers all alerts that by has accepted to another person or group
// (person:ID or group:ID), as an Answer with AnswerHandover does for one alert.
// The addressee is told. Each alert stays by's until somebody addressed accepts
// it, but no longer than Options.HandoverWithin. Alerts that the addressee may
// not answer stay with by. reason is optional.
//
// It returns the alerts that are now offered. The errors are a
// *ValidationError, ErrForbidden if by may not answer, and the first error of
// an alert that could not be offered. After an error the call may be repeated.
func (h *Hub) Handover(ctx context.Context, by Principal, to, reason string) ([]Alert, error) {
	w := Answer{Do: AnswerHandover, To: to, Reason: reason}
	if err := w.validate(); err != nil {
		return nil, err
	}
	if !by.valid() {
		return nil, invalid("principal", "must be usable")
	}
	return h.handover(ctx, &by, w, func(r Record, err error) {
		r.Who, r.Session = by.person(), by.Session
		h.audit.recordHost(r, err)
	})
}

func (h *Hub) handover(ctx context.Context, by *Principal, w Answer, record func(Record, error)) (handed []Alert, first error) {
	if !by.mayAnswer() {
		return nil, ErrForbidden
	}
	id := w.ID
	for _, a := range h.open.acceptedBy(by.ID) {
		if id != "" { // one event for each alert
			w.ID = id + "." + sealedKey(a.ID)
		}
		now, err := h.answer(ctx, by, a.Ref(), w)
		switch {
		case err == nil:
			handed = append(handed, now)
		case errors.Is(err, ErrEnded), errors.Is(err, ErrRefused): // it is not by's any more, or not for to
		case first == nil:
			first = err
		}
		record(Record{Event: AuditAnswer, Patient: a.Patient, Key: a.Key, ID: a.ID, Do: AnswerHandover, To: []string{w.To}, Test: a.Test}, err)
	}
	return handed, first
}

// mayBeGiven returns an error if alerts of a patient may not be assigned or
// handed over to somebody: a person needs the right to answer, and so does a
// member of a group.
func (h *Hub) mayBeGiven(ctx context.Context, to, patient string) error {
	kind, name, _ := strings.Cut(to, ":")
	switch kind {
	case "person":
		p, err := h.clinicians.find(ctx, name)
		if err != nil {
			return err
		}
		return h.mayRespond(ctx, &p, patient)
	case "group":
		return h.groupMayRespond(ctx, name, patient)
	}
	if Role(name) != RoleClinician {
		return ErrRefused
	}
	return nil
}

// mayRespond returns ErrRefused if p may not answer for a patient, and
// ErrUndecided if that is not known.
func (h *Hub) mayRespond(ctx context.Context, p *Principal, patient string) error {
	if !p.mayAnswer() {
		return ErrRefused
	}
	err := h.access.decide(ctx, p, ActionAnswer, []string{patient})[patient]
	if errors.Is(err, ErrForbidden) {
		err = ErrRefused
	}
	return err
}

// groupMayRespond is mayRespond for the members of a group: for a clinician of
// this group of whom nothing else is known, and for the members that this node
// has seen, until one of them may.
func (h *Hub) groupMayRespond(ctx context.Context, group, patient string) error {
	var refused error = ErrRefused
	members := append([]Principal{{ID: "group:" + group, Role: RoleClinician, Groups: []string{group}, Issued: noToken}}, h.clinicians.ofGroup(group)...)
	for i := range members {
		switch err := h.mayRespond(ctx, &members[i], patient); {
		case err == nil:
			return nil
		case !errors.Is(err, ErrRefused):
			refused = err
		}
	}
	return refused
}
