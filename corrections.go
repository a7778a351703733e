package carewire

import (
	"context"
	"errors"
	"time"
)

// findReplaced finds the vital that v corrects or withdraws, of the same sender.
// It completes v and its entry. v replaces the newest of its key if it corrects
// that one. Otherwise it is only in the log.
func (h *Hub) findReplaced(ctx context.Context, sender string, v *Vital, e Entry) (Entry, error) {
	if known, err := h.wasSent(ctx, v.Patient, sender, v.Replaces); err != nil {
		return e, err
	} else if !known {
		return e, invalid("replaces", "names no vital of this sender")
	}
	latest, _, err := h.store.Latest(ctx, v.Patient)
	if err != nil {
		return e, unavailable(err)
	}
	for i := range latest {
		n := &latest[i]
		if n.Kind != KindVital {
			continue
		}
		var was Vital
		replaced := n.Sender == sender && was.UnmarshalJSON(n.Data) == nil && (was.ID == v.Replaces || was.Replaces == v.Replaces)
		switch {
		case replaced && n.Key != v.key():
			return e, invalid("replaces", "is of another measurement")
		case replaced:
			e.Key, e.Time = n.Key, n.Time
			if v.Time.IsZero() {
				v.Time = was.Time
			}
			return e, nil
		case n.Key == v.key() && !v.Time.IsZero() && v.Time.After(n.Time):
			return e, invalid("time", "is later than that of the newest, which is another one")
		}
	}
	if v.Time.IsZero() {
		return e, invalid("time", "required, for it is not the newest that is replaced")
	}
	return e, nil
}

// wasSent reports whether a patient's log holds an event of a sender with an ID.
func (h *Hub) wasSent(ctx context.Context, patient, sender, id string) (bool, error) {
	_, known, err := h.logs.known(ctx, Entry{Patient: patient, Kind: KindVital, Audience: AudienceNamed, Sender: sender, ID: id,
		Time: time.Unix(0, 0), Received: h.now(), Data: []byte("{}")})
	if errors.Is(err, ErrIDReused) {
		return true, nil
	}
	return known, err
}

// withoutWithdrawn leaves out the vitals that were withdrawn.
func withoutWithdrawn(events []Event) []Event {
	kept := events[:0]
	for _, e := range events {
		if e.Vital == nil || e.Vital.Status != VitalEnteredInError {
			kept = append(kept, e)
		}
	}
	return kept
}
