package carewire

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"
)

// maxShared bounds the value that the nodes on one Store share under one name.
const maxShared = 64 << 10

// Share changes a value that the Hubs on one Store share under a name, which is
// an ID. With it they can agree, for example, which of them does a piece of the
// host's work. next gets the present value, nil if there is none. It returns
// the new value, as JSON of at most 65,536 bytes, or nil to leave it. If
// another Hub was faster, Share calls next again. Share returns the resulting
// value, and ErrBusy after twenty lost races.
//
// The value is in the log @system of the Store, one entry for each change. No
// client sees it. The newest entry is never pruned. Names that begin with
// "carewire." are the library's own.
func (h *Hub) Share(ctx context.Context, name string, next func(old []byte) []byte) ([]byte, error) {
	return h.logs.share(ctx, name, next)
}

// share is Hub.Share.
func (l *logs) share(ctx context.Context, name string, next func(old []byte) []byte) ([]byte, error) {
	if !validID(name) {
		return nil, invalid("name", "must be an ID")
	}
	for range 20 {
		old, err := l.store.Get(ctx, SystemPatient, "shared/"+name)
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
		now := l.now()
		_, err = l.append(ctx, Entry{Patient: SystemPatient, Kind: KindTimer, Key: "shared/" + name, Rev: old.Rev + 1, Open: true,
			Audience: AudienceNamed, Sender: hostSender, Time: now, Received: now, Data: slices.Clone(data)}, true)
		if !errors.Is(err, ErrConflict) {
			return data, err
		}
	}
	return nil, ErrBusy
}

// Now returns the Hub's time, to the millisecond: the Store's if that is a
// [Clock], else this machine's.
func (h *Hub) Now() time.Time { return h.now() }
