package carewire

import (
	"context"
	"errors"
	"slices"
	"time"
)

// entryAt reads one entry of a log. That vitals behind it are no longer kept is
// no matter.
func (h *Hub) entryAt(ctx context.Context, patient string, p Position, kind Kind) (Entry, error) {
	list, err := h.store.Read(ctx, patient, Position{p.Epoch, p.Seq - 1}, ReadQuery{Kinds: []Kind{kind}, Limit: 1})
	if err == nil && (len(list) != 1 || list[0].Seq != p.Seq) {
		err = ErrGap
	}
	if err != nil {
		return Entry{}, unavailable(err)
	}
	return list[0], nil
}

// unavailable is how a failed read is told.
func unavailable(err error) error {
	if errors.Is(err, ErrGap) || errors.Is(err, ErrClosed) {
		return err
	}
	return ErrUnavailable
}

// errUnchanged says that nothing is to be appended.
var errUnchanged = errors.New("carewire: unchanged")

// A change is something that happens to one alert.
type change struct {
	patient, key string
	alertID      string // the occurrence meant, if it matters
	test         bool
	sender, id   string
	sum          [16]byte
	quiet        bool
	anew         bool // one that cannot be read is as none
}

// change applies f to the newest state of an alert (nil if there is none) and
// appends what comes of it. A lost race is run again with the new state. A
// repeated event is answered as the first time.
func (h *Hub) change(ctx context.Context, c change, f func(*Alert, time.Time) (Alert, error)) (Alert, error) {
	for range 20 {
		prev, rev, err := h.alert(ctx, c)
		if err == errStored && c.anew {
			prev, err = nil, nil
		}
		if err != nil {
			return Alert{}, err
		}
		now := h.now()
		next, err := f(prev, now)
		if err != nil {
			if again, ok := h.repeated(ctx, c, rev); ok {
				return again()
			}
			switch {
			case err == errUnchanged:
				return *prev, nil
			case prev != nil && err != ErrForbidden:
				err = &alertError{err, prev}
			}
			return Alert{}, err
		}
		entry := alertEntry(&next, rev+1, now)
		entry.Sender, entry.ID, entry.Sum = c.sender, c.id, c.sum
		a, err := h.append(ctx, entry, c.quiet)
		switch {
		case errors.Is(err, ErrConflict):
			continue
		case err != nil:
			return Alert{}, err
		case a.Repeated:
			return h.alertAt(ctx, c.patient, a.Position)
		}
		if !entry.Due.IsZero() && !entry.Due.After(now) {
			h.index.kick()
		}
		return next, nil
	}
	return Alert{}, ErrBusy
}

// endCondition says of an alert that the Hub has raised that its condition is over.
func (h *Hub) endCondition(ctx context.Context, patient, key string, test bool) error {
	c := change{patient: patient, key: key, test: test, sender: host}
	_, err := h.change(ctx, c, func(prev *Alert, now time.Time) (Alert, error) {
		if prev == nil || !prev.Open() || prev.Condition == ConditionOver {
			return Alert{}, ErrForbidden
		}
		return over(prev, now), nil
	})
	return err
}

// repeated finds out whether the event was taken in before. The Store looks at
// IDs before it looks at revisions, so an append that must fail on its
// revision tells. If the Store cannot say, nor can the answer.
func (h *Hub) repeated(ctx context.Context, c change, rev uint64) (answer func() (Alert, error), ok bool) {
	if c.id == "" {
		return nil, false
	}
	now := h.now()
	a, err := h.append(ctx, Entry{Patient: c.patient, Kind: KindAlert, Key: alertKey(c.key, c.test), Rev: rev + 1<<40, Audience: AudienceNamed,
		Sender: c.sender, ID: c.id, Sum: c.sum, Time: now, Received: now, Data: []byte("{}")}, true)
	switch {
	case err == nil && a.Repeated:
		return func() (Alert, error) { return h.alertAt(ctx, c.patient, a.Position) }, true
	case err == nil, errors.Is(err, ErrConflict), errors.Is(err, ErrFull):
		return nil, false
	}
	return func() (Alert, error) { return Alert{}, err }, true
}

func alertKey(key string, test bool) string {
	if test {
		return "a/" + key + "!test"
	}
	return "a/" + key
}

// alert reads the newest state of the alert that c is about; nil if there is none.
func (h *Hub) alert(ctx context.Context, c change) (*Alert, uint64, error) {
	e, err := h.store.Get(ctx, c.patient, alertKey(c.key, c.test))
	if !c.test && c.alertID != "" && (errors.Is(err, ErrNotFound) || err == nil) {
		a, _ := decodeAlert(&e)
		if err != nil || a.ID != c.alertID {
			if t, terr := h.store.Get(ctx, c.patient, alertKey(c.key, true)); terr == nil {
				if ta, _ := decodeAlert(&t); ta.ID == c.alertID {
					e, err = t, nil
				}
			}
		}
	}
	if errors.Is(err, ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, unavailable(err)
	}
	a, err := decodeAlert(&e)
	if err != nil {
		return nil, e.Rev, err
	}
	return a, e.Rev, nil
}

func (h *Hub) alertAt(ctx context.Context, patient string, p Position) (Alert, error) {
	e, err := h.entryAt(ctx, patient, p, KindAlert)
	if err != nil {
		return Alert{}, err
	}
	a, err := decodeAlert(&e)
	return *a, err
}

func decodeAlert(e *Entry) (*Alert, error) {
	a := new(Alert)
	if len(e.Data) == 0 {
		return a, errStored
	}
	if a.UnmarshalJSON(e.Data) != nil {
		return a, errStored
	}
	return a, nil
}

var errStored = errors.New("carewire: a stored event cannot be read")

// alertEntry makes the entry of a revision of a. It is addressed to a.To and
// to whom the policy has named.
func alertEntry(a *Alert, rev uint64, now time.Time) Entry {
	var e encoder
	a.encode(&e)
	to := slices.Clone(a.To)
	for _, t := range append([]string{a.Escalation.assigned}, a.Escalation.told...) {
		if t != "" && !slices.Contains(to, t) {
			to = append(to, t)
		}
	}
	return Entry{Patient: a.Patient, Kind: KindAlert, Key: alertKey(a.Key, a.Test), Rev: rev, Open: a.Open(), Due: a.due(),
		Audience: a.Audience, To: to, Time: a.Updated, Received: now, Data: e.b}
}
