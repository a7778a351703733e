package carewire

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"
)

const (
	claimFor   = 10 * time.Second // a level that was claimed and not told by then is taken up again
	pollEvery  = time.Second
	waitingMax = 1000
	stepsMost  = 64 // steps of a policy that are asked for at a time
)

// An escalator handles due entries. It tells people of alerts, level by level,
// and passes timers and expired grants to their owners. While the Store fails
// it works from this node's memory.
type escalator struct {
	*core
	receipts      *receipts
	complaints    *complaints
	pauses        *pauses
	policy        Policy // nil: none
	policyCalls   *hostCall
	paging        *paging        // nil: nobody is told beyond carewire
	withdrawer    PageWithdrawer // nil: pages cannot be taken back
	withdrawCalls *hostCall
	reportWithin  time.Duration // 0: handed over counts as reached
	testTo        []string      // recipients of test alerts
	anyConnected  func(to []string, patient string) bool
	record        func(Record, error)
	counts        *escalationCounters
	act           map[Kind]func(context.Context, *Entry) // handlers of entries other than alerts
	unrecorded    *unrecorded
	stored        []*dueWork // of each member of the Store: one that hangs delays no other
}

// newEscalator returns an escalator by o, which calls the host by calls.
// anyConnected reports whether one of the addressees is connected. record records for the
// audit. act handles due entries other than alerts.
func newEscalator(c *core, r *receipts, k *complaints, p *pauses, o *Options, calls *hostCalls, stats *counters,
	anyConnected func(to []string, patient string) bool, record func(Record, error), act map[Kind]func(context.Context, *Entry)) *escalator {
	x := &escalator{core: c, receipts: r, complaints: k, pauses: p, policy: o.Policy, policyCalls: calls.policy, testTo: o.TestRecipients,
		anyConnected: anyConnected, record: record, counts: &stats.escalation, act: act, unrecorded: newUnrecorded(len(c.logs.store.members))}
	for range c.logs.store.members {
		x.stored = append(x.stored, newDueWork(c.background, x.do))
	}
	x.alerts.due = x.tellAtOnce
	if o.Pager == nil {
		return x
	}
	x.paging = newPaging(o, stats)
	if w, ok := o.Pager.(PageWithdrawer); ok {
		x.withdrawer, x.withdrawCalls = w, calls.withdraw
		x.alerts.withdraw = func(a Alert) { x.withdraw(a, a.Escalation.addressed) }
	}
	if r, ok := o.Pager.(PageReporter); ok && r.ReportsPages() {
		x.reportWithin = o.ReportWithin
	}
	return x
}

// escalationCounters are the escalator's part of Stats.
type escalationCounters struct {
	unreached, badAddressees, policyFailed, pagesSent, pagesFailed, pagesMoot atomic.Uint64
}

// tellAtOnce begins the telling of an alert that is due now, without waiting for
// the next round.
func (x *escalator) tellAtOnce(e *Entry, a *Alert) {
	x.stored[x.logs.store.memberOf(e.Patient)].add(newDueEntry(e, a))
}

// run handles the entries that have come due, at once and then every second.
func (x *escalator) run() {
	every := time.NewTicker(pollEvery)
	defer every.Stop()
	known := newDueWork(x.background, x.tellBlind)
	for {
		for i, work := range x.stored {
			work.round(func() ([]dueEntry, error) {
				now := x.logs.now()
				due, err := x.logs.store.waitingOf(x.ctx, i, now, waitingMax)
				x.unrecorded.blind[i].Store(err != nil)
				return x.open.due(now, func(patient string) bool { return x.logs.store.memberOf(patient) == i }, due), err
			})
		}
		select {
		case <-every.C:
			lost := x.failingMembers()
			x.unrecorded.forget(func(patient string) bool { return !lost[x.logs.store.memberOf(patient)] })
			if len(lost) > 0 {
				known.round(func() ([]dueEntry, error) { return x.overdue(lost), nil })
			}
		case <-x.quit:
			return
		}
	}
}

// failingMembers are the members of the Store that fail, or did not return their due
// entries.
func (x *escalator) failingMembers() map[int]bool {
	lost := make(map[int]bool)
	for i, m := range x.logs.store.members {
		if state, _ := m.state(); state == storeFailing || x.unrecorded.blind[i].Load() {
			lost[i] = true
		}
	}
	return lost
}

// do does the due work of an entry.
func (x *escalator) do(ctx context.Context, e *Entry) {
	if e.Kind != KindAlert {
		if act := x.act[e.Kind]; act != nil {
			act(ctx, e)
		}
		return
	}
	a, err := decodeAlert(e)
	if err != nil {
		x.complaints.unreadable(ctx, e, "a stored alert cannot be read", "A stored alert cannot be read, and nobody is told of it.")
		return
	}
	x.tell(ctx, a)
}

// tell ends an acceptance that has run out, and tells the level that is due.
func (x *escalator) tell(ctx context.Context, a *Alert) {
	c := change{patient: a.Patient, key: a.Key, test: a.Test}
	expired, err := x.alerts.change(ctx, c, unlessEnded(a.ID, func(prev *Alert, now time.Time) (Alert, bool) {
		return expireAcceptance(prev, now)
	}))
	if err != nil || !expired.waitsForPerson() {
		return
	}
	c.quiet = true
	if until, paused := x.pauses.covers(&expired, x.logs.now()); paused {
		x.alerts.change(ctx, c, unlessEnded(a.ID, func(prev *Alert, _ time.Time) (Alert, bool) { return postponeLevel(prev, until) }))
		return
	}
	claimed := false
	mine, err := x.alerts.change(ctx, c, unlessEnded(a.ID, func(prev *Alert, now time.Time) (Alert, bool) {
		next, ok := claimLevel(prev, now, now.Add(claimFor))
		claimed = ok
		return muteTest(next, x.testTo), ok
	}))
	if err != nil || !claimed || !mine.Open() || mine.ID != a.ID { // it may have ended before a second try to claim it
		return
	}
	level := mine.Escalation.Level
	w := x.plan(ctx, &mine)
	if !x.page(ctx, &mine, &w, func(ctx context.Context) bool { return x.unneeded(ctx, &mine) }) {
		return // somebody has accepted it, or it has ended
	}
	w.aware = w.aware || x.receipts.earlyOf(&mine, w.to) != nil
	done := recordLevel(&mine, w, x.receipts.sendersOf(&mine))
	x.reportLevel(&done)
	if mine.Escalation.crowdedWith(w.to) {
		x.log.Error("carewire: an alert was told to too many people; those who were told first are left out")
		x.retryUntilDone(ctx, "told/"+a.Patient+"/"+alertKey(a.Key, a.Test), func(ctx context.Context) error { return x.complaints.manyTold(ctx, mine.Ref()) })
	}
	c.quiet = false
	// Before the level is recorded: a node that dies in between, or cannot write
	// the complaint, leaves it to be taken up again, complaint included. If that
	// fails for long, the telling goes on, and later levels complain.
	release := x.complaints.hold(&done)
	if done.Escalation.trouble != "" {
		if err := x.complaints.complainOf(ctx, &done, done.Escalation.trouble != mine.Escalation.trouble); err != nil && x.logs.now().Before(mine.Escalation.began.Add(claimFor)) {
			release()
			return
		}
	}
	now, err := x.alerts.change(ctx, c, unlessEnded(a.ID, func(prev *Alert, now time.Time) (Alert, bool) {
		if prev.Escalation.State != EscalationClaimed || prev.Escalation.Level != level {
			next := *prev
			next.Escalation.address(w.to...) // they were told all the same
			return next, !slices.Equal(next.Escalation.addressed, prev.Escalation.addressed)
		}
		return recordLevel(prev, w, x.receipts.sendersOf(prev)), true
	}))
	release()
	if err == nil {
		switch { // the pages of this level were handed over after the alert's were withdrawn
		case now.ID != a.ID:
			x.withdraw(done, w.to)
		case !now.waitsForPerson():
			x.withdraw(now, w.to)
		}
		if p := x.receipts.earlyOf(&now, now.Escalation.recipients); p != nil && now.Escalation.Level == level {
			x.receipts.reached(ctx, &now, p.ID)
		}
		x.complaints.endResolved(&now) // it may have been accepted while the complaint was written
	}
}

// reportLevel counts and records the result of a level.
func (x *escalator) reportLevel(a *Alert) {
	var err error
	at := &a.Escalation
	if at.State == EscalationFailed && (len(at.recipients) == 0 || !x.anyConnected(at.recipients, a.Patient)) {
		err = errUnreached
		x.counts.unreached.Add(1)
		x.log.Error("carewire: a level of an alert has reached nobody", "level", at.Level, "priority", string(a.Priority))
	}
	x.record(Record{Event: AuditEscalation, Patient: a.Patient, Key: a.Key, ID: a.ID, Level: at.Level, To: at.recipients, Test: a.Test}, err)
}

var errUnreached = &RequestError{Code: CodeUnavailable, Retry: RetryLater}

// unneeded reports whether a level no longer needs telling. It reads the alert
// again, because somebody may just have accepted it on another node. If the
// read fails, the level is told.
func (x *escalator) unneeded(ctx context.Context, a *Alert) bool {
	now, err := x.alerts.newest(ctx, change{patient: a.Patient, key: a.Key, test: a.Test})
	if err != nil || now == nil {
		return false
	}
	return now.ID != a.ID || !now.Open() || now.Escalation.State != EscalationClaimed || now.Escalation.Level != a.Escalation.Level
}

// withdraw asks a PageWithdrawer to withdraw the pages of a to these.
func (x *escalator) withdraw(a Alert, to []string) {
	if x.withdrawer == nil || len(to) == 0 {
		return
	}
	if a.Test {
		to = x.testTo
	}
	x.start(func() {
		_, err := callHost(x.ctx, x.withdrawCalls, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, x.withdrawer.Withdraw(ctx, a, slices.Clone(to))
		})
		if err != nil {
			x.log.Warn("carewire: pages could not be taken back", "cause", causeOf(err))
		}
	})
}

// unlessEnded applies f to the occurrence with the given ID while it is open.
func unlessEnded(id string, f func(*Alert, time.Time) (Alert, bool)) func(*Alert, time.Time) (Alert, error) {
	return func(prev *Alert, now time.Time) (Alert, error) {
		if prev == nil {
			return Alert{}, ErrForbidden
		}
		if prev.ID != id || !prev.Open() {
			return *prev, errUnchanged
		}
		next, ok := f(prev, now)
		if !ok {
			return *prev, errUnchanged
		}
		return next, nil
	}
}

// plan returns the addressees of the claimed level of a, and the time until the
// next.
func (x *escalator) plan(ctx context.Context, a *Alert) telling {
	at := &a.Escalation
	if at.assigned != "" {
		return telling{to: []string{at.assigned}, after: repeatEvery, within: x.reachTime()}
	}
	if to := a.Responsibility.To; to != "" {
		return telling{to: []string{to}, after: repeatEvery, last: true}
	}
	others := telling{to: a.To, after: repeatEvery, last: true}
	if x.policy == nil {
		return others
	}
	w, err := x.findStep(ctx, a)
	switch {
	case err == nil:
		w.within = x.reachTime()
		return w
	case errors.Is(err, ErrNoStep):
		return others
	}
	x.counts.policyFailed.Add(1)
	x.log.Error("carewire: the Policy has failed", "cause", causeOf(err))
	others.failed = true
	if len(at.recipients) > 0 {
		others.to = at.recipients
	}
	return others
}

// reachTime is the time in which a level must reach somebody.
func (x *escalator) reachTime() time.Duration { return max(reachWithin, x.reportWithin) }

// findStep returns the step of the policy for a claimed level: the next step that
// names somebody, else the last one that does.
func (x *escalator) findStep(ctx context.Context, a *Alert) (telling, error) {
	next := a.Escalation.Step + 1
	for step := next; step < next+stepsMost; step++ {
		s, err := x.askPolicy(ctx, a, step)
		if errors.Is(err, ErrNoStep) {
			break
		} else if err != nil {
			return telling{}, err
		}
		if len(s.To) > 0 {
			return telling{to: s.To, after: s.After, step: step}, nil
		}
	}
	for step := next - 1; step > 0; step-- {
		s, err := x.askPolicy(ctx, a, step)
		if err != nil && !errors.Is(err, ErrNoStep) {
			return telling{}, err
		}
		if err == nil && len(s.To) > 0 {
			to := slices.DeleteFunc(slices.Clone(s.To), func(t string) bool { // has just rejected
				id, person := cutPerson(t)
				return person && slices.Contains(a.Escalation.refusers, id)
			})
			return telling{to: s.To, only: to, aware: len(to) == 0, after: s.After, step: step, exhausted: true}, nil
		}
	}
	return telling{}, ErrNoStep
}

// askPolicy asks the policy for one step, and leaves out malformed addressees.
func (x *escalator) askPolicy(ctx context.Context, a *Alert, step int) (Step, error) {
	s, err := callHost(ctx, x.policyCalls, func(ctx context.Context) (Step, error) { return x.policy(ctx, *a, step) })
	if err != nil {
		return Step{}, err
	}
	if s.After <= 0 {
		s.After = repeatEvery
	}
	var good []string
	for i, to := range s.To {
		switch {
		case !validAddressee(to), len(good) == recipientsMost:
			x.counts.badAddressees.Add(1)
			x.log.Error("carewire: a Step of the Policy names somebody in an unknown form, or too many", "step", step, "place", i)
		case !slices.Contains(good, to):
			good = append(good, to)
		}
	}
	s.To = good
	return s, nil
}

// muteTest stops the escalation of a test alert if there are no recipients of
// test alerts.
func muteTest(a Alert, recipients []string) Alert {
	if a.Test && len(recipients) == 0 {
		a.stop()
	}
	return a
}

// page pages all addressees of the level, and notes the results in w. It
// reports false if nobody needs to be told any more.
func (x *escalator) page(ctx context.Context, a *Alert, w *telling, unneeded func(context.Context) bool) bool {
	to := w.to
	if w.only != nil {
		to = w.only
	}
	if a.Test {
		to = x.testTo
	}
	if x.paging == nil || len(to) == 0 {
		return true
	}
	results := make(chan error, len(to))
	for _, t := range to {
		p := Page{Key: pageKey(a, t), To: t, Level: a.Escalation.Level, Alert: *a}
		go func() {
			err := x.paging.page(ctx, p, unneeded)
			if err != errUnneeded {
				x.record(Record{Event: AuditPage, Patient: a.Patient, Key: a.Key, ID: a.ID, Level: p.Level, To: []string{t}, Test: a.Test}, err)
			}
			results <- err
		}()
	}
	needed := false
	for range to {
		err := <-results
		needed = needed || err != errUnneeded
		w.handed = w.handed || err == nil
	}
	if x.reportWithin == 0 {
		w.paged = w.handed
	}
	return needed
}

// bringForward adapts due times to a clock that was set back. An entry that
// waits for a time of the old clock becomes due earlier, by as far as the time
// at which it was written, or its telling began, lies in the future. It reports
// whether there may be more, because a found entry may not be writable.
func (x *escalator) bringForward(ctx context.Context) (more bool) {
	now := x.logs.now()
	waiting, err := x.logs.store.waitingAll(ctx)
	more = err != nil
	places := make(chan struct{}, workAtOnce)
	for i := range waiting {
		e := waiting[i]
		by := e.Received.Sub(now)
		if a, err := decodeAlert(&e); e.Kind == KindAlert && err == nil { // it may have been raised again since
			by = max(by, a.Escalation.began.Sub(now))
		}
		if by <= stall {
			continue
		}
		more = true
		places <- struct{}{}
		x.start(func() {
			defer func() { <-places }()
			switch e.Kind {
			case KindAlert:
				if a, err := decodeAlert(&e); err == nil {
					c := change{patient: a.Patient, key: a.Key, test: a.Test, quiet: true}
					x.alerts.change(ctx, c, unlessEnded(a.ID, func(prev *Alert, _ time.Time) (Alert, bool) {
						return shiftEarlier(prev, by), prev.due().Equal(e.Due)
					}))
				}
			case KindTimer:
				x.do(ctx, &e)
			}
		})
	}
	return more
}
