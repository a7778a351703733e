package carewire

import (
	"slices"
	"time"
)

// answerAlert gives a person's answer. received lists the principals that sent a
// receipt for the present level. The errors are ErrEnded, ErrConflict and
// ErrRefused.
func answerAlert(prev *Alert, w Answer, by Person, received []string, now time.Time) (Alert, error) {
	a := *prev
	mine := a.Responsibility.State == ResponsibilityAccepted && a.Responsibility.By.ID == by.ID
	taken := a.Responsibility.State == ResponsibilityAccepted && !mine
	given := Answered{Do: w.Do, By: by, At: now, To: w.To, Reason: w.Reason, Source: w.Source.rounded()}
	switch {
	case !a.Open():
		return a, ErrEnded
	case w.Rev != 0 && w.Rev != a.Rev, w.Do == AnswerAccept && taken && !w.Force && !w.offered:
		return a, ErrConflict
	}
	switch w.Do {
	case AnswerAccept:
		given.Until = a.accept(w.For, by, now)
		a.Escalation.holder = w.holder
	case AnswerReject:
		if taken && w.offered && a.Responsibility.To == "person:"+by.ID {
			a.Responsibility.To = ""
			a.stop()
			break
		}
		if taken {
			return a, ErrRefused
		}
		if mine {
			a.restart(now)
		}
		a.reject(by, received, now)
	case AnswerRelease:
		if !mine {
			return a, ErrRefused
		}
		a.restart(now)
	case AnswerAssign:
		if taken || a.Condition == ConditionOver {
			return a, ErrRefused
		}
		if mine {
			a.restart(now)
		}
		a.assign(w.To, now)
	case AnswerHandover:
		if !mine {
			return a, ErrRefused
		}
		a.Responsibility.To = w.To
		if until := now.Add(w.For); until.Before(a.Responsibility.Until) {
			a.Responsibility.Until = until
		}
		given.Until = a.Responsibility.Until
		a.Escalation.State, a.Escalation.Due = EscalationDue, now
		a.Escalation.address(w.To)
	case AnswerClose:
		if a.Condition == ConditionPresent && !w.Force {
			return a, ErrRefused
		}
		a.Closed = &Closing{By: by, At: now, Reason: w.Reason}
		a.end(now)
	default:
		return a, ErrRefused
	}
	a.changed(now)
	a.AnswerCount++
	a.Answers = append(slices.Clone(a.Answers), given)
	if n := len(a.Answers); n > keptAnswers {
		a.Answers = a.Answers[n-keptAnswers:]
	}
	return a, nil
}

// accept makes by responsible for the duration hold, 0 for the priority's
// default, and returns the end.
func (a *Alert) accept(hold time.Duration, by Person, now time.Time) (until time.Time) {
	if hold == 0 {
		hold = holdsFor(a.Priority)
	}
	until = now.Add(hold)
	a.Responsibility = Responsibility{State: ResponsibilityAccepted, By: by, At: now, Until: until}
	a.stop()
	a.Escalation.address("person:" + by.ID) // by hears of it if a colleague takes over
	a.Escalation.peak = a.Priority
	if a.Condition == ConditionOver {
		a.end(now)
	}
	return until
}

// assign makes to the next one to be told, of an info too. The steps go on after that.
func (a *Alert) assign(to string, now time.Time) {
	a.Responsibility = Responsibility{State: ResponsibilityUndefined}
	x := &a.Escalation
	x.State, x.Due, x.next, x.assigned = EscalationDue, now, time.Time{}, to
}

// reject notes that by does not take the alert. The next level follows at once
// when everyone told at this one has rejected.
func (a *Alert) reject(by Person, received []string, now time.Time) {
	a.Responsibility = Responsibility{State: ResponsibilityRejected, By: by, At: now}
	x := &a.Escalation
	if !slices.Contains(x.rejected, by.ID) && len(x.rejected) < 64 {
		x.rejected = append(slices.Clone(x.rejected), by.ID)
	}
	if x.State != EscalationOff && x.State != EscalationClaimed && !x.last && x.allRejected(received) {
		x.Due, x.early = now, false
	}
}

// allRejected reports whether everyone asked at this level has rejected: every
// person named, and of groups and roles everyone who sent a receipt, at least one.
func (x *Escalation) allRejected(received []string) bool {
	if len(x.recipients) == 0 {
		return false
	}
	circle := false
	for _, to := range x.recipients {
		id, person := cutPerson(to)
		if person && !slices.Contains(x.rejected, id) {
			return false
		}
		circle = circle || !person
	}
	for _, id := range received {
		if !slices.Contains(x.rejected, id) {
			return false
		}
	}
	return !circle || len(received) > 0
}
