package carewire

import (
	"context"
	"slices"
	"strings"
)

const keysAtOnce = 1000 // keys that the Store is asked for

// findReadings reads which addressees have read notices, as other nodes have
// noted it.
func (x *openIndex) findReadings(list []Entry) {
	var keys []StateKey
	for i := range list {
		e := &list[i]
		x.noteReceipt(e)
		if e.Kind != KindNotice || !e.Open {
			continue
		}
		for _, to := range e.To {
			keys = append(keys, StateKey{e.Patient, "r/" + strings.TrimPrefix(e.Key, "n/") + "/" + to})
		}
	}
	for some := range slices.Chunk(keys, keysAtOnce) {
		x.retryUntilDone(x.ctx, "readings/"+some[0].Patient+"/"+some[0].Key, func(ctx context.Context) error {
			found, err := x.store.states(ctx, some)
			if err != nil {
				return unavailable(err)
			}
			for i := range found {
				x.noteReceipt(&found[i])
			}
			return nil
		})
	}
}

// noteReceipt notes the reader of a notice.
func (x *openIndex) noteReceipt(e *Entry) {
	if e.Kind != KindReceipt {
		return
	}
	if notice, to, ok := strings.Cut(strings.TrimPrefix(e.Key, "r/"), "/"); ok {
		x.noteReading(openKey{e.Patient, "n/" + notice}, to)
	}
}

// noteReading notes that an addressee of a notice has read it.
func (x *openIndex) noteReading(k openKey, to string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	item := x.items[k.patient][k.key]
	if item == nil {
		return
	}
	if x.read[k] == nil {
		x.read[k] = make(map[string]bool)
	}
	x.read[k][to] = true
	x.leave(item, to, true)
}
