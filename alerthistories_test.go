package carewire

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	lifeSeed      = flag.Uint64("life.seed", 2000, "first seed of TestAlertHistories; 0: a new one")
	lifeHistories = flag.Int("life.histories", 200, "histories of TestAlertHistories")
)

// A statement is one source's.
type statement struct {
	by       string
	priority Priority
}

// A lifeModel is the alert as docs/protocol.md has it.
type lifeModel struct {
	kind  AlertKind
	latch bool
	deaf  bool // pages reach nobody

	open, told bool // told: it was ever raised
	rev        uint64
	sources    []statement
	leader     string // the first source with the highest priority
	priority   Priority
	latched    bool
	peak       Priority // the highest since the steps began or since it was accepted

	state   ResponsibilityState
	by      string
	until   time.Time
	offered string

	running   bool
	level     int
	step      int
	due       time.Time // zero: not known; the alert tells it
	to        []string
	addressed map[string]bool
	reached   bool // of this level
	heard     bool // since the steps began
	assigned  string
	last      bool            // no step follows this level
	rejected  map[string]bool // at this level
	refused   map[string]bool // at the level before

	paused time.Time // until then
	held   bool      // the pause holds the next level back
}

// show gives the alert its sources' statements.
func (m *lifeModel) show() {
	m.priority, m.leader = m.sources[0].priority, m.sources[0].by
	for _, s := range m.sources {
		if s.priority.rank() > m.priority.rank() {
			m.priority, m.leader = s.priority, s.by
		}
	}
}

// begin begins the steps.
func (m *lifeModel) begin(now time.Time) {
	m.step, m.to, m.heard, m.assigned, m.last, m.held = 0, nil, false, "", false, false
	m.rejected, m.peak = make(map[string]bool), m.priority
	m.due, m.running = now, m.priority != PriorityInfo
}

func (m *lifeModel) nobody() { m.state, m.by, m.offered = ResponsibilityUndefined, "", "" }

func (m *lifeModel) end() { m.open, m.running, m.offered, m.sources = false, false, "", nil }

func (m *lifeModel) raise(by string, p Priority, now time.Time) string {
	if !m.open {
		m.open, m.told, m.latched, m.level = true, true, false, 0
		m.sources, m.addressed = []statement{{by, p}}, make(map[string]bool)
		m.rev++
		m.show()
		m.nobody()
		m.begin(now)
		return ""
	}
	i := slices.IndexFunc(m.sources, func(s statement) bool { return s.by == by })
	switch {
	case m.latched && p == PriorityInfo:
		return ""
	case i >= 0 && m.sources[i].priority == p:
		return ""
	case i >= 0:
		m.sources[i].priority = p
	default:
		m.sources = append(m.sources, statement{by, p})
	}
	m.rev++
	m.show()
	recurs := m.latched
	m.latched = false
	if recurs {
		m.nobody()
	}
	m.follow(now)
	return ""
}

// follow has the telling follow the priority.
func (m *lifeModel) follow(now time.Time) {
	switch {
	case m.priority.rank() > m.peak.rank():
		m.nobody()
		m.begin(now)
	case m.state == ResponsibilityAccepted:
	case m.priority == PriorityInfo:
		m.running = false
	case !m.running:
		m.running = true
		if m.due.Before(now) {
			m.due = now
		}
	}
}

func (m *lifeModel) clear(by string, now time.Time) string {
	i := slices.IndexFunc(m.sources, func(s statement) bool { return s.by == by })
	switch {
	case by != "service" && i < 0 && by != m.leader:
		return "forbidden"
	case !m.open, m.latched:
		return ""
	case i < 0:
		m.sources = nil
	default:
		m.sources = slices.Delete(m.sources, i, i+1)
	}
	m.rev++
	switch {
	case len(m.sources) > 0:
		m.show()
		m.follow(now)
	case m.state == ResponsibilityAccepted || m.peak == PriorityInfo || !m.latch:
		m.end()
	default:
		m.latched = true
		m.running = m.running && !m.heard && !m.held
	}
	return ""
}

var usualHold = map[Priority]time.Duration{PriorityHigh: 30 * time.Minute, PriorityMedium: 2 * time.Hour, PriorityLow: 12 * time.Hour, PriorityInfo: 12 * time.Hour}

func (m *lifeModel) answer(by string, w Answer, now time.Time) string {
	mine := m.state == ResponsibilityAccepted && m.by == by
	theirs := m.state == ResponsibilityAccepted && m.by != by
	offered := theirs && m.offered == "person:"+by
	switch {
	case w.To == "person:eve":
		return "refused"
	case !m.open:
		return "ended"
	case w.Do == AnswerAccept && theirs && !offered && !w.Force:
		return "conflict"
	case w.Do == AnswerReject && theirs && !offered,
		(w.Do == AnswerRelease || w.Do == AnswerHandover) && !mine,
		w.Do == AnswerAssign && (theirs || m.latched),
		w.Do == AnswerClose && !m.latched && !w.Force:
		return "refused"
	}
	m.rev++
	switch w.Do {
	case AnswerAccept:
		m.state, m.by, m.offered, m.running, m.held = ResponsibilityAccepted, by, "", false, false
		m.until = now.Add(cmp.Or(w.For, usualHold[m.priority]))
		if m.peak = m.priority; m.latched {
			m.end()
		}
	case AnswerReject:
		switch {
		case offered:
			m.offered, m.running = "", false
		case mine:
			m.offered = ""
			m.begin(now)
			fallthrough
		default:
			m.state, m.by = ResponsibilityRejected, by
			m.rejects(by, now)
		}
	case AnswerRelease:
		m.nobody()
		m.begin(now)
	case AnswerAssign:
		m.nobody()
		if mine {
			m.begin(now)
		}
		m.assigned, m.running, m.due = w.To, true, now
	case AnswerHandover:
		m.offered = w.To
		if m.until.After(now.Add(5 * time.Minute)) {
			m.until = now.Add(5 * time.Minute)
		}
	case AnswerClose:
		m.end()
	}
	return ""
}

// rejects notes a rejection. When all who were told at this level have rejected,
// the next level is due at once.
func (m *lifeModel) rejects(by string, now time.Time) {
	m.rejected[by] = true
	for _, to := range m.to {
		if !m.rejected[strings.TrimPrefix(to, "person:")] {
			return
		}
	}
	if m.running && len(m.to) > 0 && !m.last {
		m.due = now
	}
}

// lose ends the acceptance of a person who may not answer any more.
func (m *lifeModel) lose(by string, now time.Time) {
	if m.open && m.state == ResponsibilityAccepted && m.by == by {
		m.nobody()
		m.begin(now)
	}
}

// covered reports whether a pause holds people back from being told.
func (m *lifeModel) covered(now time.Time) bool {
	return m.kind == AlertPhysiological && now.Before(m.paused)
}

// unpause ends the pause. The escalation that it has held back is due.
func (m *lifeModel) unpause(now time.Time) {
	if m.paused = (time.Time{}); m.held && m.due.After(now) {
		m.due = now
	}
	m.held = false
}

// tick does the due work.
func (m *lifeModel) tick(now time.Time) {
	if m.open && m.state == ResponsibilityAccepted && !m.until.After(now) {
		m.lose(m.by, now)
	}
	switch {
	case !m.running || m.due.After(now):
		return
	case m.covered(now):
		m.held, m.due = true, m.paused
		return
	}
	m.level++
	m.refused, m.rejected, m.last, m.held = m.rejected, make(map[string]bool), m.step == len(shift), false
	m.reached = !m.deaf
	if m.assigned != "" {
		m.to, m.assigned, m.last = []string{m.assigned}, "", false
		m.due = now.Add(time.Minute)
	} else {
		m.step = min(m.step+1, len(shift))
		m.to = shift[m.step-1].To
		m.due = now.Add(shift[m.step-1].After)
	}
	for _, to := range m.to {
		m.addressed[to] = true
	}
	switch {
	case m.last: // told again after a time that grows; a person who has just rejected is not paged
		m.reached = m.reached || m.refused["cat"]
		m.due = time.Time{}
	case !m.reached:
		m.due = now.Add(5 * time.Second)
	}
	m.heard = m.heard || m.reached
	m.running = !(m.latched && m.heard || m.priority == PriorityInfo)
}

// check compares an alert with the model, and learns when a repeat is due.
func (m *lifeModel) check(a *Alert, now time.Time) error {
	if !m.told {
		return nil
	}
	var wrong []error
	same := func(what string, want, got any) {
		if fmt.Sprint(want) != fmt.Sprint(got) {
			wrong = append(wrong, fmt.Errorf("%s is %v, and the model has %v", what, got, want))
		}
	}
	same("open", m.open, a.Open())
	same("rev", m.rev, a.Rev)
	if !m.open || !a.Open() {
		return errors.Join(wrong...)
	}
	same("latched", m.latched, a.Latched)
	same("over", m.latched, a.Condition == ConditionOver)
	same("priority", m.priority, a.Priority)
	same("responsibility", m.state, a.Responsibility.State)
	same("person", m.by, a.Responsibility.By.ID)
	same("handed to", m.offered, a.Responsibility.To)
	if m.state == ResponsibilityAccepted {
		same("until", m.until.Round(time.Second), a.Responsibility.Until.Round(time.Second))
	}
	if len(m.sources) > 1 {
		var sources []statement
		for _, s := range a.Sources {
			sources = append(sources, statement{s.By, s.Priority})
		}
		same("sources", m.sources, sources)
	}
	if m.offered != "" { // the person to whom it is handed over is told
		m.level, m.to, m.due = a.Escalation.Level, a.Escalation.recipients, a.Escalation.Due
		return errors.Join(wrong...)
	}
	same("level", m.level, a.Escalation.Level)
	same("running", m.running, a.Escalation.State != EscalationOff)
	if m.level > 0 {
		same("told", m.to, a.Escalation.recipients)
		for to := range m.addressed {
			same("addressed "+to, true, slices.Contains(a.Escalation.addressed, to))
		}
	}
	if !m.running && m.due.IsZero() { // of a repeat that was the last telling
		m.due = a.Escalation.next
	}
	if m.running {
		same("step", m.step, a.Escalation.Step)
		due := a.Escalation.Due
		if m.due.IsZero() { // a repeat: it is to come, and not too late
			same("a repeat is due", true, due.After(now) && due.Sub(now) <= 15*time.Minute)
		} else {
			same("due", true, due.Sub(m.due).Abs() <= 3*time.Second)
		}
		m.due = due
	}
	return errors.Join(wrong...)
}

// A history is one random life.
type history struct {
	*attended
	m    *lifeModel
	r    *rand.Rand
	done []string
}

func (l *history) settle() error {
	synctest.Wait()
	l.m.tick(time.Now())
	a := l.alert()
	return l.m.check(&a, time.Now())
}

// pass lets time pass, and stops shortly after each moment at which something is due.
func (l *history) pass(d time.Duration) error {
	for end := time.Now().Add(d); ; {
		next := end
		for _, at := range []time.Time{l.m.until, l.m.due, l.m.paused} {
			if at.After(time.Now()) && at.Before(next) {
				next = at
			}
		}
		time.Sleep(time.Until(next) + 2*time.Second)
		if !l.m.paused.After(time.Now()) {
			l.m.unpause(time.Now())
		}
		if err := l.settle(); err != nil || !time.Now().Before(end) {
			return err
		}
	}
}

// An outcome is how code and model answered one thing.
type outcome struct {
	what string
	got  error
	want string
}

// step does one random thing.
func (l *history) step() outcome {
	pick := func(of ...string) string { return of[l.r.IntN(len(of))] }
	ctx, now := context.Background(), time.Now()
	by := pick("ann", "bob", "cat")
	answer := func(w Answer) outcome {
		what := fmt.Sprint(by, " ", w.Do, " ", w.To, " ", w.For, " ", w.Force)
		if !l.m.told {
			return outcome{what, nil, ""}
		}
		return outcome{what, l.answer(by, w), l.m.answer(by, w, now)}
	}
	switch l.r.IntN(22) {
	case 0, 1, 2, 3:
		by, p := pick("mon", "mon", "app", "service"), Priority(pick("high", "medium", "low", "info"))
		return outcome{fmt.Sprint(by, " raises ", p), l.attended.raise(by, p), l.m.raise(by, p, now)}
	case 4, 5, 6:
		if by := pick("mon", "mon", "app", "service", "stranger"); l.m.told {
			return outcome{by + " clears", l.attended.clear(by), l.m.clear(by, now)}
		}
		return outcome{"", nil, ""}
	case 7, 8:
		return answer(Answer{Do: AnswerAccept, For: time.Duration(pick2(l.r, 0, 3, 10)) * time.Minute})
	case 9:
		return answer(Answer{Do: AnswerAccept, Force: true, Reason: "she is in theatre"})
	case 10, 11:
		return answer(Answer{Do: AnswerReject})
	case 12:
		return answer(Answer{Do: AnswerRelease})
	case 13:
		return answer(Answer{Do: AnswerAssign, To: "person:" + pick("ann", "bob", "cat", "eve")})
	case 14:
		return answer(Answer{Do: AnswerHandover, To: "person:" + pick("ann", "bob", "cat", "eve")})
	case 15:
		if force := l.r.IntN(6) == 0; force {
			return answer(Answer{Do: AnswerClose, Force: true, Reason: "probe is off"})
		}
		return answer(Answer{Do: AnswerClose})
	case 16:
		l.m.deaf = !l.m.deaf
		l.attended.deaf.Store(l.m.deaf)
		return outcome{fmt.Sprint("deaf ", l.m.deaf), nil, ""}
	case 17:
		r := Revocation{Principal: by, Patients: []string{"p1"}}
		err := l.hub.Suspend(ctx, r)
		synctest.Wait()
		l.m.lose(by, now)
		return outcome{by + " is kept out", errors.Join(err, l.hub.Restore(ctx, r)), ""}
	case 18:
		d := time.Duration(pick2(l.r, 20, 90)) * time.Second
		l.m.paused = now.Add(d)
		return outcome{fmt.Sprint("pause ", d), l.hub.Pause(ctx, staff["bob"], Pause{Patient: "p1", For: d, Reason: "washing"}), ""}
	case 19:
		err := l.hub.Unpause(ctx, staff["ann"], "p1")
		l.m.unpause(now)
		return outcome{"unpause", err, ""}
	case 20:
		if l.r.IntN(5) > 0 {
			return outcome{"", nil, ""}
		}
		if l.m.open {
			l.m.rev++
		}
		l.m.end()
		l.m.paused = time.Time{}
		return outcome{"discharge", l.hub.Discharge(ctx, "p1"), ""}
	}
	d := time.Duration(pick2(l.r, 3, 20, 45, 130, 400)) * time.Second
	return outcome{"pass " + d.String(), l.pass(d), ""}
}

func pick2(r *rand.Rand, of ...int) int { return of[r.IntN(len(of))] }

// After any events in any order an alert is as the model has it.
func TestAlertHistories(t *testing.T) {
	first := cmp.Or(*lifeSeed, rand.Uint64())
	for seed := first; seed < first+uint64(*lifeHistories); seed++ {
		var failure string
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			kinds := []AlertKind{AlertPhysiological, AlertPhysiological, AlertTechnical}
			l := &history{attended: newAttended(t), r: r, m: &lifeModel{kind: kinds[r.IntN(3)]}}
			defer l.close()
			l.m.latch = l.m.kind == AlertPhysiological || r.IntN(2) == 0
			l.kind, l.latch = l.m.kind, l.m.latch
			for range 60 {
				o := l.step()
				what, got, want := o.what, o.got, o.want
				l.done = append(l.done, time.Now().Format("15:04:05 ")+what)
				err := l.settle()
				if code := codeFor(got); code != want {
					err = fmt.Errorf("%q, and the model has %q", code, want)
				}
				if err == nil {
					err = l.pass(time.Second)
				}
				if err != nil {
					failure = fmt.Sprintf("%s\n%v", strings.Join(l.done, "\n"), err)
					return
				}
			}
		})
		require.Empty(t, failure, "-life.seed=%d -life.histories=1", seed)
	}
}
