package carewire

import (
	"sync"
	"time"
)

// A tally counts vitals, to be recorded together.
type tally struct {
	mu            sync.Mutex
	patient       string // "" if of several
	done, refused int
	since         int64 // in ticks
}

// add counts the results of vitals.
func (t *tally) add(now int64, vitals []Vital, results []PublishResult) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range results {
		t.one(now, vitals[i].Patient, results[i].Err)
	}
}

// count counts the result of one event.
func (t *tally) count(now int64, patient string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.one(now, patient, err)
}

// one is count under t.mu.
func (t *tally) one(now int64, patient string, err error) {
	if t.done+t.refused == 0 {
		t.patient, t.since = patient, now
	}
	if patient != t.patient {
		t.patient = ""
	}
	if err == nil {
		t.done++
	} else {
		t.refused++
	}
}

// take returns the record of the counted events, once it is old enough.
func (t *tally) take(now int64, least time.Duration) (r Record, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done+t.refused == 0 || time.Duration(now-t.since) < least {
		return Record{}, false
	}
	r = Record{Event: AuditPublish, Patient: t.patient, Count: t.done, Refused: t.refused}
	if t.done == 0 {
		r.Outcome = OutcomeRefused
	}
	t.done, t.refused = 0, 0
	return r, true
}
