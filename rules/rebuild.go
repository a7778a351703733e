package rules

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/carewire/carewire"
)

// readOn judges the entries in the log behind the newest entry that was judged.
func (b *bed) readOn(to carewire.Position) error {
	err := b.read(carewire.HistoryQuery{Cursor: b.last.Seq, Kinds: judged}, func(e *carewire.Event) { b.take(e) })
	if errors.Is(err, carewire.ErrGap) { // more is gone than was missed
		b.c = nil
		return b.rebuild(nil, to)
	}
	if err == nil && b.last.Seq < to.Seq {
		b.last = to
	}
	return err
}

var judged = []carewire.Kind{carewire.KindVital, carewire.KindAlert, carewire.KindAccess}

// rebuild makes the Case anew from the log, as far back as the rules look:
// silently up to b.since, and with raises and clears from there on, unless the
// log shows them already. snapshot has the newest of each vital and all open
// alerts.
func (b *bed) rebuild(snapshot []carewire.Event, to carewire.Position) error {
	j := b.row.judge
	c := NewCase(j.set, b.patient, Settings{})
	c.maxAway, c.unset = span(j.opt.MaxBlind), true
	c.to = j.to(b.patient)
	b.c = c
	b.set()
	from := b.since.time().Add(-j.set.window)
	if old := b.lookBack(snapshot); !old.IsZero() && old.Before(from) {
		from = old
	}
	if err := b.flapped(from, to.Seq); err != nil {
		return err
	}
	begin, err := b.before(from, to.Seq)
	if err != nil {
		return err
	}
	slices.SortStableFunc(snapshot, func(x, y carewire.Event) int { return began(&x).Compare(began(&y)) })
	for i := range snapshot {
		b.older(&snapshot[i], from)
	}
	loud := false
	last := to
	err = b.read(carewire.HistoryQuery{Cursor: begin, From: from, Kinds: judged}, func(e *carewire.Event) {
		at := timeOf(e)
		if !loud && millisOf(at) >= b.since {
			loud = true
			c.Advance(b.since.time())
			c.leave()
		}
		if e.Vital == nil || !e.Vital.Received.Before(from) {
			b.take(e)
		}
		if e.Seq > last.Seq {
			last = e.Position
		}
	})
	if err != nil {
		b.c = nil
		return err
	}
	if !loud {
		c.Advance(b.since.time())
		c.leave()
	}
	b.last = last
	c.reconcile()
	return nil
}

// older takes in an entry that is older than the part of the log that is read.
func (b *bed) older(e *carewire.Event, from time.Time) {
	switch {
	case e.Vital != nil && e.Vital.Received.Before(from):
		b.c.Vital(e.Position, e.Vital)
	case e.Alert != nil && e.Alert.Raised.Before(from) && (e.Alert.Condition == carewire.ConditionPresent || !e.Alert.Updated.Before(from)):
		a := *e.Alert
		a.Condition, a.Rev = carewire.ConditionPresent, 0
		a.Updated = a.Raised
		b.c.Alert(e.Position, &a)
	}
	b.c.owed = nil
}

// lookBack is from when on vitals are to be read, where the newest of an input
// that may be old cannot be used itself; zero: there is none.
func (b *bed) lookBack(snapshot []carewire.Event) (from time.Time) {
	s := b.row.judge.set
	for i := range snapshot {
		v := snapshot[i].Vital
		if v == nil || v.Test || faultOf(v) == faultNone && v.Replaces == "" && !slices.ContainsFunc(v.Components, isAbsent) {
			continue
		}
		codes := append([]string{v.Code}, partsOf[v.Code]...)
		for _, p := range v.Components {
			codes = append(codes, p.Code)
		}
		for _, code := range codes {
			if n, ok := s.codes[keyOf(v.System, code)]; ok && s.ages[n] > 0 {
				if old := b.since.time().Add(-s.ages[n]); from.IsZero() || old.Before(from) {
					from = old
				}
			}
		}
	}
	return from
}

func isAbsent(c carewire.Component) bool { return c.Absent != "" }

// flapped notes the alerts of the hour before from, and those that people have closed.
func (b *bed) flapped(from time.Time, last uint64) error {
	begin, err := b.before(from.Add(-time.Hour), last)
	if err != nil {
		return err
	}
	return b.read(carewire.HistoryQuery{Cursor: begin, From: from.Add(-time.Hour), To: from, Kinds: []carewire.Kind{carewire.KindAlert, carewire.KindAccess}}, func(e *carewire.Event) {
		if e.Alert == nil {
			b.take(e)
		} else {
			b.c.remember(e.Seq, e.Alert)
		}
	})
}

// remember takes in an alert of the hour before a Case begins.
func (c *Case) remember(seq uint64, a *carewire.Alert) {
	i := c.set.index(a.Key)
	if i < 0 || a.Test || a.Source.By != host {
		return
	}
	st, t := &c.states[i], c.set.rules[i].timing()
	switch {
	case a.Condition == carewire.ConditionPresent && a.Open() && !st.known.present:
		st.note(t, millisOf(a.Updated))
	case a.Closed != nil && a.Closed.By.ID != host && a.Condition == carewire.ConditionPresent: // not by a discharge
		st.close(t, millisOf(a.Closed.At), seq)
	}
	st.known = known{a.ID, a.Rev, a.Open() && a.Condition == carewire.ConditionPresent}
}

// began is when a vital was received, or an alert was raised.
func began(e *carewire.Event) time.Time {
	if e.Alert != nil {
		return e.Alert.Raised
	}
	return timeOf(e)
}

// timeOf is zero for other events.
func timeOf(e *carewire.Event) (t time.Time) {
	switch {
	case e.Vital != nil:
		t = e.Vital.Received
	case e.Alert != nil:
		t = e.Alert.Updated
	}
	return t
}

// before finds a number of the log, which ends at last, that is before all entries
// received from a time on. It looks from the end on: a log may be months long.
func (b *bed) before(from time.Time, last uint64) (uint64, error) {
	q := carewire.HistoryQuery{Patient: b.patient, Limit: 1, Kinds: []carewire.Kind{carewire.KindVital, carewire.KindAlert}}
	for step := uint64(256); step < last; step *= 4 {
		q.Cursor = last - step
		page, err := b.row.judge.history(b.row.ctx, q)
		switch {
		case errors.Is(err, carewire.ErrGap):
			return 0, nil // read finds the oldest entry that is kept
		case err != nil:
			return 0, err
		case len(page.Events) > 0 && timeOf(&page.Events[0]).Before(from.Add(-inFlight)): // the order of receipt is not quite that of the log
			return q.Cursor, nil
		}
	}
	return 0, nil
}

// read reads the patient's log to its end. If its beginning is no longer kept,
// it begins with the oldest kept entry.
func (b *bed) read(q carewire.HistoryQuery, take func(*carewire.Event)) error {
	q.Patient = b.patient
	whole := q.Cursor == 0
	for {
		page, err := b.row.judge.history(b.row.ctx, q)
		if errors.Is(err, carewire.ErrGap) && whole {
			whole = false
			if q.Cursor, err = b.oldest(q); err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		for i := range page.Events {
			if e := &page.Events[i]; e.Vital != nil || e.Alert != nil || e.Access != nil {
				take(e)
			}
		}
		if page.Next == 0 {
			return nil
		}
		q.Cursor = page.Next
	}
}

// oldest finds the number behind which everything that q asks for is kept.
func (b *bed) oldest(q carewire.HistoryQuery) (uint64, error) {
	q.Limit = 1
	low, high := uint64(0), uint64(1)
	gap := func(at uint64) (bool, error) {
		q.Cursor = at
		_, err := b.row.judge.history(b.row.ctx, q)
		if errors.Is(err, carewire.ErrGap) {
			return true, nil
		}
		return false, err
	}
	for {
		pruned, err := gap(high)
		if err != nil {
			return 0, err
		}
		if !pruned {
			break
		}
		low, high = high, 2*high
	}
	for low+1 < high {
		middle := low + (high-low)/2
		pruned, err := gap(middle)
		if err != nil {
			return 0, err
		}
		if pruned {
			low = middle
		} else {
			high = middle
		}
	}
	return high, nil
}

func (j *Judge) history(ctx context.Context, q carewire.HistoryQuery) (carewire.HistoryPage, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return j.hub.History(ctx, q)
}
