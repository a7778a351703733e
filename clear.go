package carewire

import (
	"cmp"
	"context"
	"errors"
	"time"
)

// Clear withdraws the host's statement that the condition of an alert is
// present. The condition stays present while other sources state it. If the
// host is not among the sources, Clear speaks for all of them.
//
// An alert that nobody has accepted stays open, latched, until somebody accepts
// it. Clearing a condition that is over has no effect. If there never was such
// an alert, Clear returns ErrNotFound.
func (h *Hub) Clear(ctx context.Context, ref AlertRef) (Alert, error) {
	return h.ClearOnce(ctx, ref, "")
}

// ClearOnce is Clear under an event ID. A repeated call with the same ID and ref
// has no effect, even if the condition is present again: it returns the alert as it
// was. ErrIDReused means that the ID stands for another event. An empty ID is Clear.
func (h *Hub) ClearOnce(ctx context.Context, ref AlertRef, eventID string) (Alert, error) {
	if err := ref.Validate(); err != nil {
		return Alert{}, err
	}
	if eventID != "" && !validID(eventID) {
		return Alert{}, invalid("event_id", "must be an ID")
	}
	return h.clear(ctx, nil, hostSender, ref, eventID)
}

// clear clears for p (nil: the host), which must be the source unless it may clear others' alerts.
func (h *Hub) clear(ctx context.Context, p *Principal, sender string, ref AlertRef, id string) (Alert, error) {
	c := change{patient: ref.Patient, key: ref.Key, alertID: ref.ID, test: ref.Test, sender: sender, id: id, sum: digest([]byte("clear" + ref.Key + "/" + ref.ID))}
	if p != nil {
		if err := h.access.decide(ctx, p, ActionRaise, []string{ref.Patient})[ref.Patient]; err != nil {
			return Alert{}, err
		}
	}
	var mayOthers error
	if p != nil {
		mayOthers = h.access.decide(ctx, p, ActionClear, []string{ref.Patient})[ref.Patient]
	}
	a, err := h.alerts.change(ctx, c, func(prev *Alert, now time.Time) (Alert, error) {
		own := prev != nil && (prev.assertedBy(sender) || prev.Source.By == sender)
		switch {
		case p != nil && (prev == nil || prev.ID != ref.ID && (own || mayOthers != nil)) && !h.wasRaised(ctx, sender, &ref):
			return Alert{}, ErrUndecided // it has overtaken its raise
		case prev == nil:
			return Alert{}, ErrNotFound
		case errors.Is(mayOthers, ErrUndecided) && !own:
			return Alert{}, ErrUndecided
		case mayOthers != nil && !own:
			return Alert{}, ErrForbidden
		case ref.ID != "" && ref.ID != prev.ID:
			return *prev, ErrEnded
		}
		if !prev.Open() || prev.Condition == ConditionOver {
			return *prev, errUnchanged
		}
		if prev.assertedBy(sender) {
			return withdrawAssertion(prev, sender, now), nil
		}
		return endCondition(prev, now), nil
	})
	if p == nil {
		h.audit.recordHost(Record{Event: AuditClear, Patient: ref.Patient, Key: ref.Key, ID: cmp.Or(a.ID, ref.ID), Test: a.Test}, err)
	}
	return a, err
}

// wasRaised reports whether a source has raised the occurrence that ref names. If
// this cannot be found out, the source counts as not having raised it yet.
func (h *Hub) wasRaised(ctx context.Context, sender string, ref *AlertRef) bool {
	known, err := h.wasSent(ctx, ref.Patient, sender, ref.ID)
	return err == nil && known
}
