package carewire

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"
)

// receivers remembers who sent a receipt for the present level of open alerts,
// and which stored alerts it was said of that they cannot be read.
type receivers struct {
	mu         sync.Mutex
	by         map[string][]string // alert ID and level: principals
	order      []string
	unreadable map[openKey]int64 // in ticks
}

func (r *receivers) init() {
	r.by, r.unreadable = make(map[string][]string), make(map[openKey]int64)
}

const receiversKept = 10000

func levelKey(a *Alert) string { return a.ID + "/" + strconv.Itoa(a.Escalation.Level) }

func (r *receivers) add(a *Alert, principal string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := levelKey(a)
	if _, ok := r.by[k]; !ok {
		if r.order = append(r.order, k); len(r.order) > receiversKept {
			delete(r.by, r.order[0])
			r.order = r.order[1:]
		}
	}
	if !slices.Contains(r.by[k], principal) {
		r.by[k] = append(r.by[k], principal)
	}
}

func (r *receivers) of(a *Alert) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.by[levelKey(a)])
}

// complain reports whether it is time to say of an alert that it cannot be read:
// once a minute.
func (r *receivers) complain(patient, key string, now int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := openKey{patient, key}
	if last, ok := r.unreadable[k]; ok && time.Duration(now-last) < repeatEvery {
		return false
	}
	if len(r.unreadable) > receiversKept {
		clear(r.unreadable)
	}
	r.unreadable[k] = now
	return true
}

// takeReceipt takes a receipt in. The log keeps the first of each stage per
// alert and level from those told, and the reading of a notice by each addressee.
func (h *Hub) takeReceipt(ctx context.Context, p *Principal, r Receipt) error {
	if err := h.decide(ctx, p, ActionWatch, []string{r.Patient})[r.Patient]; err != nil {
		return err
	}
	now := h.now()
	r.By, r.At = p.person(), now
	if r.NoticeID != "" {
		return h.takeReading(ctx, p, r)
	}
	a, _, err := h.alert(ctx, change{patient: r.Patient, key: r.Key, alertID: r.AlertID})
	switch {
	case err != nil:
		return err
	case a == nil || a.ID != r.AlertID || !p.sees(&Entry{Audience: a.Audience, To: a.To, Patient: a.Patient}) && !p.addressed(a.Escalation.told, a.Patient):
		return ErrForbidden
	}
	r.Level = a.Escalation.Level
	if !p.addressed(a.Escalation.told, a.Patient) && !p.addressed(a.To, a.Patient) {
		return nil
	}
	if err := h.logReceipt(ctx, r, "r/"+r.AlertID+"/"+strconv.Itoa(r.Level)+"/"+string(r.Stage), AudienceStaff, nil); err != nil {
		return err
	}
	if !p.mayAnswer() {
		return nil
	}
	h.receipt.add(a, p.ID)
	if a.Escalation.reached {
		return nil
	}
	_, err = h.change(ctx, change{patient: a.Patient, key: a.Key, test: a.Test}, unlessEnded(a.ID, func(prev *Alert, _ time.Time) (Alert, bool) {
		if prev.Escalation.Level != r.Level {
			return *prev, false
		}
		return reached(prev)
	}))
	return err
}

// takeReading takes in that p has got a notice; when everyone addressed has
// read it, it is open no more.
func (h *Hub) takeReading(ctx context.Context, p *Principal, r Receipt) error {
	e, err := h.store.Get(ctx, r.Patient, "n/"+r.NoticeID)
	if errors.Is(err, ErrNotFound) || err == nil && !p.sees(&e) {
		return ErrForbidden
	}
	if err != nil {
		return unavailable(err)
	}
	if r.Stage != StageRead || !p.addressed(e.To, e.Patient) {
		return nil
	}
	all := true
	for _, to := range e.To {
		key := "r/" + r.NoticeID + "/" + to
		if p.addressed([]string{to}, e.Patient) {
			if err := h.logReceipt(ctx, r, key, AudienceNamed, append([]string{"person:" + e.Sender}, e.To...)); err != nil {
				return err
			}
			h.index.noteReading(openKey{e.Patient, e.Key}, to)
		} else if _, err := h.store.Get(ctx, r.Patient, key); errors.Is(err, ErrNotFound) {
			all = false
		} else if err != nil {
			return unavailable(err)
		}
	}
	if !all || !e.Open {
		return nil
	}
	var n Notice
	if n.UnmarshalJSON(e.Data) != nil {
		return errStored
	}
	closed := noticeEntry(&n, e.Rev+1)
	closed.Sender, closed.Received = e.Sender, r.At
	if _, err = h.append(ctx, closed, true); errors.Is(err, ErrConflict) {
		return nil // another reader closed it
	}
	return err
}

// logReceipt appends a receipt unless there is one under its key.
func (h *Hub) logReceipt(ctx context.Context, r Receipt, key string, audience Audience, to []string) error {
	var e encoder
	r.encode(&e)
	_, err := h.append(ctx, Entry{Patient: r.Patient, Kind: KindReceipt, Key: key, Rev: 1, Audience: audience, To: to, Sender: r.By.ID,
		Time: r.At, Received: r.At, Data: e.b}, false)
	if errors.Is(err, ErrConflict) {
		return nil
	}
	return err
}
