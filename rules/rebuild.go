package rules

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/carewire/carewire"
)

var judgedKinds = []carewire.Kind{carewire.KindVital, carewire.KindAlert, carewire.KindAccess}

// rebuild makes the Case anew from the log, as far back as the rules look: silently up
// to the time before which all is judged, and with raises and clears from there on,
// unless the log shows them already. snapshot has the newest of each vital and all open
// alerts. Unless part is readAll, a long log may be read in part.
func (b *bed) rebuild(snapshot []carewire.Event, to carewire.Position, part extent) error {
	j := b.row.judge
	c := NewCase(j.set, b.patient, Settings{})
	c.maxAway, c.unset = span(j.opt.MaxBlind), j.opt.Settings != nil
	c.to = j.to(b.patient)
	b.c = c
	if b.settings != nil {
		c.renew(*b.settings)
	} else if s, ok := b.ask(); ok {
		c.renew(s)
	}
	since := millis(b.judged.Load()).time()
	from := since.Add(-j.set.window)
	if oldest := b.oldestNeeded(snapshot, since); !oldest.IsZero() && oldest.Before(from) {
		from = oldest
	}
	if part == readEnd && to.Seq > urgentEntries {
		if begin, err := b.cursorWithin(from, to.Seq, urgentEntries); err != nil {
			return err
		} else if begin == 0 { // it is long
			c.muteRules(from.Before(since.Add(-j.set.window)))
			from = since.Add(-urgentWindow)
		}
	}
	begin, err := b.cursorBefore(from, to.Seq)
	if err != nil {
		return err
	}
	if err := b.rememberAlerts(from, to.Seq); err != nil {
		return err
	}
	slices.SortStableFunc(snapshot, func(x, y carewire.Event) int { return began(&x).Compare(began(&y)) })
	for i := range snapshot {
		b.takeOlder(&snapshot[i], from)
	}
	silent := true
	speak := func() {
		silent = false
		c.Advance(since)
		c.leave()
		c.muteUncertain()
	}
	last := to
	err = b.readLog(carewire.HistoryQuery{Cursor: begin, From: from, Kinds: judgedKinds}, func(e *carewire.Event) {
		at := changed(e)
		if silent && millisOf(at) >= millisOf(since) {
			speak()
		}
		if e.Vital == nil || !e.Vital.Received.Before(from) {
			b.take(e)
		}
		if e.Seq > last.Seq {
			last = e.Position
		}
	})
	if err != nil {
		return err
	}
	if silent {
		speak()
	}
	b.last = last
	c.reconcile()
	return nil
}

// readMissed judges the entries in the log behind the newest entry that was judged.
func (b *bed) readMissed(to carewire.Position) error {
	mu := &b.row.mu
	err := b.readLog(carewire.HistoryQuery{Cursor: b.last.Seq, Kinds: judgedKinds}, func(e *carewire.Event) {
		mu.Lock()
		defer mu.Unlock()
		b.take(e)
	})
	mu.Lock()
	defer mu.Unlock()
	if err == nil && b.last.Seq < to.Seq {
		b.last = to
	}
	return err
}

// muteRules keeps the rules silent that look back farther than urgentWindow, and scores
// if an input of theirs is to be read from farther back.
func (c *Case) muteRules(scores bool) {
	c.partial = true
	for i := range c.states {
		_, score := c.set.rules[i].machine.(*scoreMachine)
		c.states[i].mute = c.set.rules[i].window > urgentWindow || score && scores
	}
}

// muteUncertain keeps the rules of a partial Case silent that read a sensor whose interval
// is not known: more of the log may tell it.
func (c *Case) muteUncertain() {
	if !c.partial {
		return
	}
	for k := range c.sensors {
		if s := &c.sensors[k]; s.interval == 0 {
			for _, i := range c.set.readBy[s.code] {
				if _, score := c.set.rules[i].machine.(*scoreMachine); !score { // they ask for no interval
					c.states[i].mute = true
				}
			}
		}
	}
	for i := range c.states {
		if m, ok := c.set.rules[i].machine.(*combinationMachine); ok {
			for _, k := range m.parts {
				c.states[i].mute = c.states[i].mute || c.states[k].mute
			}
		}
	}
}

// takeOlder takes in an entry that is older than the part of the log that is read.
func (b *bed) takeOlder(e *carewire.Event, from time.Time) {
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

// oldestNeeded is from when on vitals are to be read where the newest of an input that may
// be old cannot be used itself, or the interval of a sensor that may have stopped is to be
// found; zero: there is none.
func (b *bed) oldestNeeded(snapshot []carewire.Event, since time.Time) (oldest time.Time) {
	s := b.row.judge.set
	need := func(at time.Time) {
		if oldest.IsZero() || at.Before(oldest) {
			oldest = at
		}
	}
	for i := range snapshot {
		v := snapshot[i].Vital
		if v == nil || v.Test {
			continue
		}
		usable := faultOf(v) == faultNone && v.Replaces == "" && !slices.ContainsFunc(v.Components, isAbsent)
		codes := append([]string{v.Code}, partsOf[v.Code]...)
		for _, p := range v.Components {
			codes = append(codes, p.Code)
		}
		for _, code := range codes {
			n, ok := s.codes[keyOf(v.System, code)]
			if ok && s.ages[n] > 0 && !usable {
				need(since.Add(-s.ages[n]))
			}
			if ok && v.Every == 0 && since.Sub(v.Received) < unknownLife && slices.ContainsFunc(snapshot, func(e carewire.Event) bool { return overtook(e.Vital, v) }) {
				need(v.Received.Add(-unknownLife / 3))
			}
		}
	}
	return oldest
}

// overtook reports whether v shows that the sensor of old may have stopped: another one has
// measured the same since. The interval of old's says whether it still counts.
func overtook(v, old *carewire.Vital) bool {
	return v != nil && v.Code == old.Code && v.System == old.System && (v.Device != old.Device || v.Site != old.Site) && v.Received.After(old.Received)
}

func isAbsent(c carewire.Component) bool { return c.Absent != "" }

// rememberAlerts notes the alerts of the hour before from, and those that people have
// closed, unless the patient was discharged after them.
func (b *bed) rememberAlerts(from time.Time, last uint64) error {
	begin, err := b.cursorBefore(from.Add(-time.Hour), last)
	if err != nil {
		return err
	}
	q := carewire.HistoryQuery{Cursor: begin, From: from.Add(-time.Hour), To: from, Kinds: []carewire.Kind{carewire.KindAlert, carewire.KindAccess}}
	return b.readLog(q, func(e *carewire.Event) {
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
	return changed(e)
}

// changed is when a vital was received, or an alert became as it is; zero for other events.
func changed(e *carewire.Event) (t time.Time) {
	switch {
	case e.Vital != nil:
		t = e.Vital.Received
	case e.Alert != nil:
		t = e.Alert.Updated
	}
	return t
}

// cursorBefore finds a number of the log, which ends at last, that is before all entries
// received from a time on. It looks from the end on: a log may be months long.
func (b *bed) cursorBefore(from time.Time, last uint64) (uint64, error) {
	return b.cursorWithin(from, last, last)
}

// cursorWithin looks at so many entries at most. The number is 0 if these are not enough.
func (b *bed) cursorWithin(from time.Time, last, most uint64) (uint64, error) {
	q := carewire.HistoryQuery{Patient: b.patient, Limit: 1, Kinds: []carewire.Kind{carewire.KindVital, carewire.KindAlert}}
	for step := uint64(128); step < last && step <= most; step *= 2 {
		q.Cursor = last - step
		page, err := b.row.judge.history(b.row.ctx, q)
		switch {
		case errors.Is(err, carewire.ErrGap):
			return 0, nil // readLog finds the oldest entry that is kept
		case err != nil:
			return 0, err
		case len(page.Events) > 0 && changed(&page.Events[0]).Before(from.Add(-inFlight)): // the order of receipt is not quite that of the log
			return q.Cursor, nil
		}
	}
	return 0, nil
}

// readLog reads the patient's log to its end. If its beginning is no longer kept,
// it begins with the oldest kept entry.
func (b *bed) readLog(q carewire.HistoryQuery, take func(*carewire.Event)) error {
	q.Patient = b.patient
	whole := q.Cursor == 0
	for {
		page, err := b.row.judge.history(b.row.ctx, q)
		if errors.Is(err, carewire.ErrGap) && whole {
			whole = false
			if q.Cursor, err = b.cursorOfOldest(q); err == nil {
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

// cursorOfOldest finds the number behind which everything that q asks for is kept.
func (b *bed) cursorOfOldest(q carewire.HistoryQuery) (uint64, error) {
	q.Limit = 1
	low, high := uint64(0), uint64(1)
	isPruned := func(at uint64) (bool, error) {
		q.Cursor = at
		_, err := b.row.judge.history(b.row.ctx, q)
		if errors.Is(err, carewire.ErrGap) {
			return true, nil
		}
		return false, err
	}
	for {
		pruned, err := isPruned(high)
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
		pruned, err := isPruned(middle)
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

const (
	readsAtOnce = 8                      // pages of logs that a Judge reads
	readsQuick  = 250 * time.Millisecond // a read that takes longer gives its place to others
)

// history reads a page when its turn comes. One that hangs holds up no other patient's.
func (j *Judge) history(ctx context.Context, q carewire.HistoryQuery) (carewire.HistoryPage, error) {
	select {
	case j.reads <- struct{}{}:
	case <-ctx.Done():
		return carewire.HistoryPage{}, ctx.Err()
	}
	late := time.AfterFunc(readsQuick, func() { <-j.reads })
	defer func() {
		if late.Stop() {
			<-j.reads
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return j.hub.History(ctx, q)
}
