package carewire

import (
	"context"
	"errors"
)

// Erase removes all entries of a patient from the Store and records that it
// did. The patient's ID and the log's numbers stay. The host must know
// which other data has to be erased, such as backups and the audit trail, and when
// the law allows it.
//
// Erase first closes open notices. While an alert or a break-glass grant of the
// patient is open, it changes nothing and returns ErrConflict. Clients discard
// their view of the patient when their access ends (see Revoke) or when they
// reconnect. Waves in memory are dropped. Erase returns errors.ErrUnsupported
// if the Store is no [Eraser]. If Erase fails, some entries may be gone; call
// it again.
func (h *Hub) Erase(ctx context.Context, patient string) error {
	err := h.erase(ctx, patient)
	h.audit.recordHost(Record{Event: AuditErasure, Patient: patient}, err)
	return err
}

func (h *Hub) erase(ctx context.Context, patient string) (err error) {
	eraser, ok := h.store.Store.(Eraser)
	if !ok {
		return errors.ErrUnsupported
	}
	if err := h.closeNotices(ctx, patient); err != nil {
		return err
	}
	if err := h.signals.forget(ctx, patient); err != nil {
		return err
	}
	err = packageError(eraser.Erase(ctx, patient))          // how long it takes says nothing of the Store's health
	return errors.Join(err, h.signals.forget(ctx, patient)) // chunks of the meantime
}

// closeNotices closes the open notices of a patient, for all nodes to see that
// nobody has to read them any more.
func (h *Hub) closeNotices(ctx context.Context, patient string) error {
	entries, _, err := h.store.Latest(ctx, patient)
	if err != nil {
		return unavailable(err)
	}
	for i := range entries {
		if e := &entries[i]; e.Open && e.Kind != KindVital && e.Kind != KindNotice && e.Key != dischargeKey {
			return ErrConflict
		}
	}
	for _, e := range entries {
		if e.Kind != KindNotice && e.Key != dischargeKey {
			continue
		}
		if err := h.closeEntry(ctx, e); err != nil {
			return err
		}
	}
	return nil
}
