package carewire

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"
)

// maxShared bounds what the nodes on one Store share under one name.
const maxShared = 64 << 10

// Share changes a value that the Hubs on one Store have in common under a name,
// which is an ID: so that they can agree, for example, which of them does a
// piece of the host's work. next is given the value as it is, nil if there is
// none yet, and returns the one to put in its place, as JSON of at most 65,536
// bytes, or nil to leave it. If another Hub was faster, next is called again.
// Share returns the value as it is then, and ErrBusy after twenty lost races.
//
// The value lies in the log @system of the Store, one entry for each change,
// which nobody is shown; the newest one is never pruned.
func (h *Hub) Share(ctx context.Context, name string, next func(old []byte) []byte) ([]byte, error) {
	if !validID(name) {
		return nil, invalid("name", "must be an ID")
	}
	for range 20 {
		old, err := h.store.Get(ctx, SystemPatient, "shared/"+name)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, unavailable(err)
		}
		data := next(slices.Clone(old.Data))
		if data == nil {
			return old.Data, nil
		}
		if len(data) > maxShared || !json.Valid(data) {
			return nil, invalid("value", "must be JSON of at most 65536 bytes")
		}
		now := h.now()
		_, err = h.append(ctx, Entry{Patient: SystemPatient, Kind: KindTimer, Key: "shared/" + name, Rev: old.Rev + 1, Open: true,
			Audience: AudienceNamed, Sender: host, Time: now, Received: now, Data: slices.Clone(data)}, true)
		if !errors.Is(err, ErrConflict) {
			return data, err
		}
	}
	return nil, ErrBusy
}

// Now is the time by which the Hub stamps what it takes in, to the
// millisecond: the Store's where that has a [Clock], else this machine's.
func (h *Hub) Now() time.Time { return h.now() }
