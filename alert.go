package carewire

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// The life of an alert as pure functions. Each takes an alert, an event and the
// time, and returns the alert afterwards. None changes its arguments.
//
// Two machines run side by side. The condition is present or over, as its
// source says. Responsibility is undefined, accepted or rejected, as people
// answer. Escalation goes on while the condition is present and nobody has
// accepted.

const (
	keptAnswers = 8
	reachWithin = 5 * time.Second  // a level that reached nobody by then gives way to the next
	repeatEvery = 60 * time.Second // without a policy
	repeatMax   = 15 * time.Minute
)

// holdsFor is how long an acceptance holds if the answer does not say.
func holdsFor(p Priority) time.Duration {
	switch p {
	case PriorityHigh:
		return 30 * time.Minute
	case PriorityMedium:
		return 2 * time.Hour
	}
	return 12 * time.Hour
}

// raiseAlert opens an occurrence of in, or updates the one that is open. prev is
// the newest state of the same patient and key, nil if there is none.
func raiseAlert(prev *Alert, in Raise, by string, now time.Time) Alert {
	if prev == nil || !prev.Open() {
		return openAlert(prev, in, by, now)
	}
	a := *prev
	back := a.Condition == ConditionOver
	if back && in.Priority == PriorityInfo {
		return a // no alarm condition: a latched alert stays latched
	}
	if back {
		a.Onset = onset(in.Onset, now)
	}
	anew := a.asksAnew(&in)
	a.assert(&in, by, now)
	a.About = cmp.Or(in.about, a.About)
	a.fillDefaults()
	a.changed(now)
	if back { // responsibility begins anew, escalation continues
		a.Condition, a.Latched = ConditionPresent, false
		a.Responsibility = Responsibility{State: ResponsibilityUndefined}
	}
	if anew {
		a.restart(now)
	}
	a.rank(now)
	return a
}

// asksAnew reports whether in makes an accepted complaint one about another alert.
// The person who has accepted it does not know of that alert.
func (a *Alert) asksAnew(in *Raise) bool {
	return a.Responsibility.State == ResponsibilityAccepted && in.about != (AlertRef{}) && in.about != a.About
}

// onset is when a condition began, as its source says; not in the future.
func onset(said, now time.Time) time.Time {
	if said.IsZero() || said.After(now) {
		said = now
	}
	return said.UTC().Truncate(time.Millisecond)
}

func openAlert(prev *Alert, in Raise, by string, now time.Time) Alert {
	a := in.alert()
	a.Condition, a.Raised = ConditionPresent, now
	if prev != nil {
		a.Rev = prev.Rev
	}
	a.Onset = onset(a.Onset, now)
	a.Source = in.source(by)
	a.fillDefaults()
	a.changed(now)
	a.restart(now)
	return a
}

func (a *Alert) fillDefaults() {
	if a.Kind == "" {
		a.Kind = AlertPhysiological
	}
	if a.Audience == 0 {
		a.Audience = AudienceStaff
	}
}

// changed counts a change by the source or by people.
func (a *Alert) changed(now time.Time) {
	a.Rev++
	a.Updated = now
}

// restart makes nobody responsible and begins the steps again. The level counts
// on, and the people told before stay addressed.
func (a *Alert) restart(now time.Time) {
	a.Responsibility = Responsibility{State: ResponsibilityUndefined}
	a.Escalation = Escalation{Level: a.Escalation.Level, State: EscalationDue, Due: now, peak: a.Priority, addressed: a.Escalation.addressed}
	if a.Priority == PriorityInfo { // no alarm condition: nobody is paged
		a.Escalation.State, a.Escalation.Due = EscalationOff, time.Time{}
	}
}

// stop ends the escalation.
func (a *Alert) stop() {
	x := &a.Escalation
	x.State, x.Due, x.next = EscalationOff, time.Time{}, time.Time{}
	x.assigned, x.trouble, x.held = "", "", false
}

// suspend stops the escalation until resume continues it.
func (a *Alert) suspend() {
	x := &a.Escalation
	if x.State == EscalationOff || a.Responsibility.State == ResponsibilityAccepted {
		return
	}
	next, assigned, held := x.Due, x.assigned, x.held
	a.stop()
	x.next, x.assigned, x.held = next, assigned, held
}

// resume continues a suspended escalation. The next level is
// due when it would have been.
func (a *Alert) resume(now time.Time) {
	x := &a.Escalation
	if x.State != EscalationOff || x.next.IsZero() || a.Responsibility.State == ResponsibilityAccepted {
		return
	}
	x.State, x.Due, x.next = EscalationDue, x.next, time.Time{}
	if x.Due.Before(now) {
		x.Due = now
	}
}

func (a *Alert) end(now time.Time) {
	a.stop()
	a.Ended = now
}

// endCondition says that the condition has ended. An alert that nobody had accepted by
// then is latched: it stays open until somebody does. People are told of it
// until one person was reached.
func endCondition(prev *Alert, now time.Time) Alert {
	a := *prev
	if !a.Open() || a.Condition == ConditionOver {
		return a
	}
	a.Condition, a.Sources = ConditionOver, nil
	a.changed(now)
	switch {
	case a.Responsibility.State == ResponsibilityAccepted, a.NoLatch, a.Escalation.peak == PriorityInfo: // nobody was to accept it
		a.end(now)
	default:
		a.Latched = true
		a.settle()
	}
	return a
}

// settle ends the escalation of a latched alert once it has reached somebody, and
// that of an info once the person to whom it was assigned was told. A level in
// progress is recorded first.
func (a *Alert) settle() {
	x := &a.Escalation
	if (a.Priority == PriorityInfo || a.Latched && (x.everReached || x.held)) && x.State != EscalationClaimed {
		a.suspend()
	}
}

// dismissAlert ends an alert whose condition has ended as was to be expected: nobody
// needs to be told.
func dismissAlert(prev *Alert, now time.Time) Alert {
	a := *prev
	a.Condition, a.Sources = ConditionOver, nil
	a.end(now)
	a.changed(now)
	return a
}

// dischargeAlert ends an alert because its patient has left.
func dischargeAlert(prev *Alert, now time.Time) Alert {
	a := *prev
	a.Closed = &Closing{By: Person{ID: hostSender}, At: now, Reason: "discharged"}
	a.end(now)
	a.changed(now)
	return a
}

func cutPerson(to string) (id string, ok bool) {
	const prefix = "person:"
	if len(to) > len(prefix) && to[:len(prefix)] == prefix {
		return to[len(prefix):], true
	}
	return "", false
}

// expireAcceptance ends an acceptance that has run out; ok is false if it has not.
func expireAcceptance(prev *Alert, now time.Time) (a Alert, ok bool) {
	r := &prev.Responsibility
	if !prev.Open() || r.State != ResponsibilityAccepted || r.Until.After(now) {
		return *prev, false
	}
	a = *prev
	a.restart(now)
	return a, true
}

// moveAlert restarts the escalation of an alert whose patient has moved to another
// team. An accepted one stays with the person who accepted it, for as long as
// they may answer.
func moveAlert(prev *Alert, now time.Time) (a Alert, ok bool) {
	x := prev.Escalation.State
	if !prev.Open() || prev.Responsibility.State == ResponsibilityAccepted || x == EscalationOff || x == EscalationDue {
		return *prev, false
	}
	a = *prev
	a.restart(now)
	return a, true
}

// loseAcceptance ends the acceptance of somebody who may no longer answer.
func loseAcceptance(prev *Alert, principal string, now time.Time) (a Alert, ok bool) {
	r := &prev.Responsibility
	if !prev.Open() || r.State != ResponsibilityAccepted || r.By.ID != principal {
		return *prev, false
	}
	a = *prev
	a.restart(now)
	return a, true
}

// shiftEarlier returns a with all that it waits for due earlier, after a clock was set back.
func shiftEarlier(prev *Alert, by time.Duration) Alert {
	a := *prev
	x := &a.Escalation
	for _, t := range []*time.Time{&a.Responsibility.Until, &x.Due, &x.began} {
		if !t.IsZero() {
			*t = t.Add(-by)
		}
	}
	return a
}

// postponeLevel holds the next level back until a pause ends.
func postponeLevel(prev *Alert, until time.Time) (a Alert, ok bool) {
	if !prev.Open() || prev.Escalation.State == EscalationOff || !prev.Escalation.Due.Before(until) {
		return *prev, false
	}
	a = *prev
	a.Escalation.held, a.Escalation.Due = true, until
	return a, true
}

// resumeEscalation makes an escalation that a pause has held back due now.
func resumeEscalation(prev *Alert, now time.Time) (a Alert, ok bool) {
	x := prev.Escalation
	if !prev.Open() || !x.held {
		return *prev, false
	}
	a = *prev
	a.Escalation.held = false
	switch {
	case x.State == EscalationOff:
		a.Escalation.next = earliest(x.next, now)
	default:
		a.Escalation.Due = earliest(x.Due, now)
	}
	return a, true
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// claimLevel takes the level that is due for one node to tell, until then. A level
// that was claimed already and has lapsed is taken up again as it is. ok is
// false if nothing is due.
func claimLevel(prev *Alert, now, until time.Time) (a Alert, ok bool) {
	x := prev.Escalation
	if !prev.Open() || x.State == EscalationOff || x.State == "" || x.Due.After(now) {
		return *prev, false
	}
	a = *prev
	if x.State != EscalationClaimed {
		x.Level++
		x.silent = x.State == EscalationNotified && !x.reached
		x.refusers, x.rejected = x.rejected, nil
		x.began, x.reached, x.early, x.held = now, false, false, false
	}
	x.State, x.Due = EscalationClaimed, until
	a.Escalation = x
	return a, true
}

// A telling is the result of a claimed level.
type telling struct {
	to        []string
	only      []string      // page only these; nil: all
	step      int           // the step of the policy; 0: none was asked for
	after     time.Duration // until the next level
	within    time.Duration // a level that has reached nobody by then gives way to the next
	paged     bool          // a Pager's call succeeded, and that counts as reached
	handed    bool          // pages were handed over, and a report is to come
	aware     bool          // those told know of it: all have just rejected, or one has sent a receipt
	exhausted bool          // the policy had no further step: the last one was told again
	last      bool          // there is no step after this one
	failed    bool          // the policy named nobody for the step: others were told
}

// Why people cannot be told as they should be: Escalation.trouble, and the rules
// of the complaints about it.
const (
	troubleNobody    = "no-recipient"     // there is nobody to be told
	troubleUnreached = "unreached"        // a level has reached nobody
	troublePolicy    = "policy-failed"    // the Policy did not answer
	troubleExhausted = "policy-exhausted" // all steps were told and nobody has accepted
)

// recordLevel records that the people of a level were told. The next step comes early, if there is
// one, after a level that reached nobody in time, and at once after a level
// that everybody asked has rejected. If the Policy fails, the step is retried
// soon, then once a minute. Repeats come at growing intervals. received lists
// the principals that sent a receipt.
func recordLevel(prev *Alert, w telling, received []string) Alert {
	a := *prev
	x := &a.Escalation
	x.recipients = slices.Clone(w.to)
	x.address(w.to...)
	x.assigned = ""
	x.reached = x.reached || w.paged || w.aware
	x.everReached = x.everReached || x.reached
	x.last = w.last || w.exhausted
	if w.step > 0 {
		x.Step = w.step
	}
	after := w.after
	switch {
	case w.failed:
		after = min(doubled(reachWithin, x.repeats), repeatEvery)
		x.repeats++
	case w.exhausted:
		x.repeats++
		after = doubled(after, x.repeats)
	case w.last && !x.reached && !w.handed:
		after = doubled(after, x.repeats)
		x.repeats++
	default:
		x.repeats = 0
	}
	x.after = after.Seconds()
	x.State = EscalationNotified
	if !x.reached && !w.handed {
		x.State = EscalationFailed
	}
	x.trouble = w.trouble(x)
	x.Due = x.began.Add(after)
	if soon := x.began.Add(w.within); !x.reached && !x.last && soon.Before(x.Due) {
		x.Due, x.early = soon, true
	}
	if !x.last && x.allRejected(received) {
		x.Due, x.early = x.began, false
	}
	a.settle()
	return a
}

// trouble says why people were not told as they should be; "": they were.
func (w *telling) trouble(x *Escalation) string {
	switch {
	case len(w.to) == 0:
		return troubleNobody
	case !x.reached && (!w.handed || x.silent):
		return troubleUnreached
	case w.failed:
		return troublePolicy
	case w.exhausted:
		return troubleExhausted
	}
	return ""
}

const (
	recipientsMost = 64  // of one level
	addressedMost  = 256 // in one occurrence
)

// address adds to those who were told in this occurrence. Of more than so many,
// the persons who were told first are left out: a group stands for many.
func (x *Escalation) address(to ...string) {
	added := slices.Clone(x.addressed)
	for _, t := range to {
		if !slices.Contains(added, t) {
			added = append(added, t)
		}
	}
	for len(added) > addressedMost {
		first := slices.IndexFunc(added, func(t string) bool { return strings.HasPrefix(t, "person:") })
		added = slices.Delete(added, max(first, 0), max(first, 0)+1)
	}
	x.addressed = added
}

// crowdedWith reports whether address would leave somebody out.
func (x *Escalation) crowdedWith(to []string) bool {
	n := len(x.addressed)
	for i, t := range to {
		if !slices.Contains(x.addressed, t) && !slices.Contains(to[:i], t) {
			n++
		}
	}
	return n > addressedMost
}

// doubled doubles d n times, up to repeatMax.
func doubled(d time.Duration, n int) time.Duration {
	for ; n > 0 && d < repeatMax; n-- {
		d = min(2*d, repeatMax)
	}
	return d
}

// noteReached notes that somebody who was told, and may accept, has the alert.
func noteReached(prev *Alert) (a Alert, ok bool) {
	x := prev.Escalation
	if !prev.Open() || x.reached || x.State == EscalationOff || x.State == EscalationDue {
		return *prev, false
	}
	a = *prev
	x.reached, x.everReached = true, true
	if x.trouble == troubleUnreached {
		x.trouble = ""
	}
	if x.State == EscalationFailed {
		x.State = EscalationNotified
	}
	if x.early { // the next level was brought forward because this one had reached nobody
		x.early, x.Due = false, x.began.Add(time.Duration(x.after*float64(time.Second)))
	}
	a.Escalation = x
	a.settle()
	return a, true
}

// waitsForPerson reports whether a waits for somebody to accept it, or to take it over.
func (a *Alert) waitsForPerson() bool {
	return a.Open() && (a.Responsibility.State != ResponsibilityAccepted || a.Responsibility.To != "")
}

// due is when something next happens to a by itself; zero if nothing does.
func (a *Alert) due() time.Time {
	switch {
	case !a.Open():
		return time.Time{}
	case a.Responsibility.State == ResponsibilityAccepted && a.Responsibility.To != "" && a.Escalation.Due.Before(a.Responsibility.Until):
		return a.Escalation.Due
	case a.Responsibility.State == ResponsibilityAccepted:
		return a.Responsibility.Until
	}
	return a.Escalation.Due
}
