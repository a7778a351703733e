package carewire

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"
)

// receipts takes receipts in. It remembers the senders for the present level
// of open alerts.
type receipts struct {
	*core

	mu      sync.Mutex
	senders map[string][]string     // alert ID and level: principals
	early   map[string][]*Principal // the same, of a level that is being told: its recipients are not on record yet
	order   []string
}

func newReceipts(c *core) *receipts {
	return &receipts{core: c, senders: make(map[string][]string), early: make(map[string][]*Principal)}
}

const (
	levelsKept = 10000 // levels whose receipts are remembered
	earlyMost  = 256   // people whose early receipts are remembered for one level
)

func levelKey(a *Alert) string { return a.ID + "/" + strconv.Itoa(a.Escalation.Level) }

func (r *receipts) add(a *Alert, principal string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.remember(a)
	if !slices.Contains(r.senders[k], principal) {
		r.senders[k] = append(r.senders[k], principal)
	}
}

// addEarly notes that a person has sent a receipt while the present level of a
// is being told.
func (r *receipts) addEarly(a *Alert, p *Principal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.remember(a)
	same := func(o *Principal) bool { return o.ID == p.ID }
	if !slices.ContainsFunc(r.early[k], same) && len(r.early[k]) < earlyMost {
		r.early[k] = append(r.early[k], p)
	}
}

// earlyOf returns one of those told who sent a receipt before the level was
// recorded; nil if nobody did.
func (r *receipts) earlyOf(a *Alert, to []string) *Principal {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.early[levelKey(a)] {
		if p.addressed(to, a.Patient) {
			return p
		}
	}
	return nil
}

// remember makes room for the present level of a, and returns its key. Under r.mu.
func (r *receipts) remember(a *Alert) string {
	k := levelKey(a)
	if _, ok := r.senders[k]; !ok {
		r.senders[k] = nil
		if r.order = append(r.order, k); len(r.order) > levelsKept {
			delete(r.senders, r.order[0])
			delete(r.early, r.order[0])
			r.order = r.order[1:]
		}
	}
	return k
}

func (r *receipts) sendersOf(a *Alert) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.senders[levelKey(a)])
}

// take accepts a receipt of a principal that may watch the patient. The log
// keeps the first of each stage per alert and level from those told, and the
// reading of a notice by each addressee.
func (rs *receipts) take(ctx context.Context, p *Principal, r Receipt) error {
	r.By, r.At = p.person(), rs.logs.now()
	if r.NoticeID != "" {
		return rs.takeReading(ctx, p, r)
	}
	a, err := rs.alerts.newest(ctx, change{patient: r.Patient, key: r.Key, alertID: r.AlertID})
	switch {
	case err != nil:
		return err
	case a == nil || a.ID != r.AlertID || !p.sees(&Entry{Audience: a.Audience, To: a.To, Patient: a.Patient}) && !p.addressed(a.Escalation.recipients, a.Patient):
		return ErrForbidden
	}
	if a.Escalation.State == EscalationClaimed && p.mayAnswer() {
		rs.addEarly(a, p)
		// The recipients of the level may be on record by now.
		if a, err = rs.alerts.newest(ctx, change{patient: r.Patient, key: r.Key, alertID: r.AlertID}); err != nil || a == nil || a.ID != r.AlertID {
			return err
		}
	}
	r.Level = a.Escalation.Level
	if !p.addressed(a.Escalation.recipients, a.Patient) && !p.addressed(a.To, a.Patient) {
		return nil
	}
	if err := rs.append(ctx, r, "r/"+r.AlertID+"/"+strconv.Itoa(r.Level)+"/"+string(r.Stage), AudienceStaff, nil); err != nil {
		return err
	}
	if !p.mayAnswer() || !p.addressed(a.Escalation.recipients, a.Patient) || a.Escalation.State == EscalationClaimed { // earlyOf counts it when the recipients are on record
		return nil
	}
	_, err = rs.reached(ctx, a, p.ID)
	return err
}

// reached notes that the present level of a has reached a person.
func (rs *receipts) reached(ctx context.Context, a *Alert, person string) (Alert, error) {
	rs.add(a, person)
	if a.Escalation.reached {
		return *a, nil
	}
	return rs.alerts.change(ctx, change{patient: a.Patient, key: a.Key, test: a.Test}, unlessEnded(a.ID, func(prev *Alert, _ time.Time) (Alert, bool) {
		if prev.Escalation.Level != a.Escalation.Level {
			return *prev, false
		}
		return noteReached(prev)
	}))
}

// report takes in that a page to one recipient was delivered or read.
func (rs *receipts) report(ctx context.Context, r Receipt, to string) (Alert, error) {
	a, err := rs.alerts.newest(ctx, change{patient: r.Patient, key: r.Key, alertID: r.AlertID})
	switch {
	case err != nil:
		return Alert{}, err
	case a == nil || a.ID != r.AlertID:
		return Alert{}, ErrNotFound
	}
	r.At = rs.logs.now()
	if err := rs.append(ctx, r, "r/"+r.AlertID+"/"+strconv.Itoa(r.Level)+"/"+string(r.Stage), AudienceStaff, nil); err != nil {
		return Alert{}, err
	}
	x := &a.Escalation
	if x.Level != r.Level || x.State != EscalationClaimed && !slices.Contains(x.recipients, to) { // of a claimed level the recipients are not on record yet
		return *a, nil
	}
	return rs.reached(ctx, a, r.By.ID)
}

// takeReading takes in that p has got a notice; when everyone addressed has
// read it, it is open no more.
func (rs *receipts) takeReading(ctx context.Context, p *Principal, r Receipt) error {
	e, err := rs.logs.newest(ctx, r.Patient, "n/"+r.NoticeID)
	if err != nil {
		return err
	}
	if e.Rev == 0 || !p.sees(&e) {
		return ErrForbidden
	}
	if r.Stage != StageRead || !p.addressed(e.To, e.Patient) {
		return nil
	}
	all := true
	for _, to := range e.To {
		key := "r/" + r.NoticeID + "/" + to
		if p.addressed([]string{to}, e.Patient) {
			if err := rs.append(ctx, r, key, AudienceNamed, append([]string{"person:" + e.Sender}, e.To...)); err != nil {
				return err
			}
			rs.open.noteReading(openKey{e.Patient, e.Key}, to)
		} else if had, err := rs.logs.newest(ctx, r.Patient, key); err != nil {
			return err
		} else if had.Rev == 0 {
			all = false
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
	if _, err = rs.logs.append(ctx, closed, true); errors.Is(err, ErrConflict) {
		return nil // another reader closed it
	}
	return err
}

// append appends a receipt unless there is one under its key.
func (rs *receipts) append(ctx context.Context, r Receipt, key string, audience Audience, to []string) error {
	var e encoder
	r.encode(&e)
	_, err := rs.logs.append(ctx, Entry{Patient: r.Patient, Kind: KindReceipt, Key: key, Rev: 1, Audience: audience, To: to, Sender: r.By.ID,
		Time: r.At, Received: r.At, Data: e.b}, false)
	if errors.Is(err, ErrConflict) {
		return nil
	}
	return err
}
