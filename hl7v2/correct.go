package hl7v2

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/carewire/carewire"
)

// Recall reads earlier vitals; a *carewire.Hub is one. If a Sink is a Recall
// too, corrections and withdrawals (OBX-11 C, D and W) apply to the vital that
// they refer to.
type Recall interface {
	Latest(ctx context.Context, patient string) ([]carewire.Event, carewire.Head, error)
	History(context.Context, carewire.HistoryQuery) (carewire.HistoryPage, error)
}

// recalled is among how many of a patient's last entries the vital is looked for
// that a correction means; of a log that is pruned, the last half of that at least.
const recalled = 200_000

// correct makes r the vital to publish for a correction or a withdrawal: of the
// one vital before it with its patient, code, device, site, method and time,
// that nothing has replaced. A message that comes again finds its own vital.
// If there is no such vital, or there are several, known is false.
func correct(ctx context.Context, from Recall, r *Reading) (known bool, err error) {
	old, err := meant(ctx, from, &r.Vital)
	if old == nil || err != nil {
		return false, err
	}
	v := &r.Vital
	v.Status, v.Replaces = r.Status, old.ID
	rest := without(old.Components, v.Components)
	switch {
	case len(rest) > 0: // a part of it: the others stay
		if r.Status == carewire.VitalEnteredInError {
			v.Status = carewire.VitalCorrected
			failed(v.Components)
		}
		v.Components = append(v.Components, rest...)
	case r.Status == carewire.VitalEnteredInError:
		v.Value, v.Unit, v.Comparator, v.Coded, v.Components, v.Absent = old.Value, old.Unit, old.Comparator, old.Coded, old.Components, old.Absent
	}
	return true, nil
}

// meant finds the vital that v corrects or withdraws; nil if that is not clear.
func meant(ctx context.Context, from Recall, v *carewire.Vital) (*carewire.Vital, error) {
	_, head, err := from.Latest(ctx, v.Patient)
	if err != nil || v.Time.IsZero() {
		return nil, err
	}
	at := v.Time.Truncate(time.Millisecond) // as it is stored
	q := carewire.HistoryQuery{Patient: v.Patient, Kinds: []carewire.Kind{carewire.KindVital}, From: at, To: at.Add(time.Millisecond)}
	if head.Seq > recalled {
		q.Cursor = head.Seq - recalled
	}
	var found []*carewire.Vital
	for gone := q.Cursor; ; {
		page, err := from.History(ctx, q)
		if errors.Is(err, carewire.ErrGap) && gone < head.Seq { // pruned: the log begins later
			gone = gone + (head.Seq-gone+1)/2
			q.Cursor = gone
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range page.Events {
			if e.Vital != nil && e.Vital.ID != "" && alike(e.Vital, v, at) {
				found = append(found, e.Vital)
			}
		}
		if q.Cursor = page.Next; q.Cursor == 0 {
			return only(found, v.ID), nil
		}
	}
}

// alike reports whether two vitals are of the same measurement, of this time.
func alike(a, b *carewire.Vital, at time.Time) bool {
	return a.Code == b.Code && short(a.System) == short(b.System) && a.Device == b.Device && a.Site == b.Site && a.Method == b.Method && a.Test == b.Test && a.Time.Equal(at)
}

func short(system string) string {
	if system == "" {
		return carewire.LOINC
	}
	return system
}

// only returns the one of found that the vital with the ID replaces: that which it
// has replaced, if it came before, else the only one that nothing has replaced.
func only(found []*carewire.Vital, id string) *carewire.Vital {
	replaced := make(map[string]bool)
	for _, v := range found {
		if v.ID == id {
			i := slices.IndexFunc(found, func(o *carewire.Vital) bool { return o.ID == v.Replaces })
			if i < 0 {
				return nil
			}
			return found[i]
		}
		replaced[v.Replaces] = true
	}
	found = slices.DeleteFunc(found, func(v *carewire.Vital) bool { return replaced[v.ID] || v.Status == carewire.VitalEnteredInError })
	if len(found) != 1 {
		return nil
	}
	return found[0]
}

// without returns those of all whose code is not among some; nil if some is empty.
func without(all, some []carewire.Component) (rest []carewire.Component) {
	if len(some) == 0 {
		return nil
	}
	for _, c := range all {
		if !slices.ContainsFunc(some, func(o carewire.Component) bool { return o.Code == c.Code }) {
			rest = append(rest, c)
		}
	}
	return rest
}

// failed makes components absent that were withdrawn.
func failed(list []carewire.Component) {
	for i, c := range list {
		list[i] = carewire.Component{Code: c.Code, Absent: carewire.AbsentError}
	}
}
