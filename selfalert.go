package carewire

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"time"
)

// complaints raises technical alerts in the log of the system: about alerts
// that reach or move nobody, or that have no room, and about unreadable
// entries. Their keys consist of rule and subject, and contain no names.
type complaints struct {
	*core
	raise func(context.Context, Raise) error
	most  func(fromKey) int // open alerts of a source

	mu       sync.Mutex
	held     map[troubleKey]int // alerts that are in trouble, but not recorded as such yet
	reported map[openKey]int64  // when it was last said of an entry that it cannot be read, in ticks
}

// newComplaints returns complaints that are raised by raise. most is how many
// open alerts a source may have.
func newComplaints(c *core, raise func(context.Context, Raise) error, most func(fromKey) int) *complaints {
	return &complaints{core: c, raise: raise, most: most, held: make(map[troubleKey]int), reported: make(map[openKey]int64)}
}

const saidMost = 10000 // entries of which this is kept in mind

// unreadable says once a minute, in the log and to people, that the Store has
// damaged a due entry.
func (c *complaints) unreadable(ctx context.Context, e *Entry, said, text string) {
	c.mu.Lock()
	k, now := openKey{e.Patient, e.Key}, c.clock.ticks()
	last, known := c.reported[k]
	again := known && time.Duration(now-last) < repeatEvery
	if !again {
		if len(c.reported) > saidMost {
			clear(c.reported)
		}
		c.reported[k] = now
	}
	c.mu.Unlock()
	if !again {
		c.log.Error("carewire: " + said)
		c.complain(ctx, AlertRef{Patient: e.Patient, Key: e.Key}, "unreadable", text)
	}
}

// complainOf complains that people cannot be told of an alert as they should
// be: once for all alerts with the same trouble, with the highest of their
// priorities. If somebody has accepted the complaint, an alert whose trouble
// isNew calls people again, because the acceptance was about others. A Policy
// that fails does so for all alerts, and calls once.
func (c *complaints) complainOf(ctx context.Context, a *Alert, isNew bool) error {
	if a.Patient == SystemPatient {
		return nil
	}
	rule, priority := a.Escalation.trouble, a.Priority
	if had, ok := c.present(rule, a.Test); ok && had.Priority.rank() >= priority.rank() {
		if !isNew || rule == troublePolicy || had.Responsibility.State != ResponsibilityAccepted {
			return nil
		}
		priority = had.Priority
	}
	return c.raise(ctx, Raise{Patient: SystemPatient, Key: rule, ID: rand.Text(), Kind: AlertTechnical, Priority: priority, Test: a.Test,
		Text: troubleText[rule], Source: Source{Rule: rule}, about: a.Ref()})
}

var troubleText = map[string]string{
	troubleNobody:    "There is nobody to be told of an alert.",
	troubleUnreached: "An alert has reached nobody.",
	troublePolicy:    "The recipients of an alert cannot be determined.",
	troubleExhausted: "An alert has gone through all steps of the policy and nobody has accepted it.",
}

// hold keeps the complaints of a's trouble from ending until it is recorded. The
// caller then calls release.
func (c *complaints) hold(a *Alert) (release func()) {
	k := troubleKey{a.Escalation.trouble, a.Test}
	add := func(n int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		addCount(c.held, k, n)
	}
	add(1)
	return func() { add(-1) }
}

func (c *complaints) anyTroubled(rule string, test bool) bool {
	c.mu.Lock()
	held := c.held[troubleKey{rule, test}]
	c.mu.Unlock()
	return held+c.open.troubled(rule, test) > 0
}

// complainOnce complains unless there is such a complaint already.
func (c *complaints) complainOnce(ctx context.Context, r Raise) error {
	if _, ok := c.present(r.Key, r.Test); ok {
		return nil
	}
	return c.raise(ctx, r)
}

// crowded complains that a source has too many open alerts: once, of whichever
// patients they are. That is a test alert if they are. There are no complaints
// about complaints.
func (c *complaints) crowded(ctx context.Context, by string, about AlertRef) error {
	if about.Patient == SystemPatient {
		return nil
	}
	return c.complainOnce(ctx, Raise{Patient: SystemPatient, Key: crowdedKey(by), ID: rand.Text(), Kind: AlertTechnical, Priority: PriorityHigh, Test: about.Test,
		Text: "One source has too many open alerts: another one was refused.", Source: Source{Rule: crowdedRule}, about: about})
}

const (
	crowdedRule = "too-many-alerts"
	sourcesRule = "too-many-sources"
	toldRule    = "too-many-told"
)

// manySources complains that an alert has more sources than it can have, and that
// a least urgent assertion was left out.
func (c *complaints) manySources(ctx context.Context, about AlertRef) error {
	about = AlertRef{Patient: about.Patient, Key: alertKey(about.Key, about.Test)}
	err := c.complain(ctx, about, sourcesRule, "An alert has too many sources: the statement of one of the least urgent is left out.")
	if err != nil {
		return err
	}
	if e, err := c.logs.newest(ctx, about.Patient, about.Key); err == nil { // it may have ended meanwhile
		if a, err := decodeAlert(&e); err == nil {
			c.endResolved(a)
		}
	}
	return nil
}

// manyTold complains that an alert has been told to more people than it can be
// addressed to, and that those who were told first do not hear of it any more.
func (c *complaints) manyTold(ctx context.Context, about AlertRef) error {
	about = AlertRef{Patient: about.Patient, Key: alertKey(about.Key, about.Test)}
	return c.complain(ctx, about, toldRule, "An alert was told to too many people: those who were told first do not hear how it goes on.")
}

func crowdedKey(by string) string { return complaintKey(AlertRef{Key: by}, crowdedRule) }

// present returns a complaint that is open, as this node knows, and its
// condition present.
func (c *complaints) present(key string, test bool) (*Alert, bool) {
	item := c.open.get(openKey{SystemPatient, alertKey(key, test)})
	if item == nil || item.alert == nil {
		return nil, false
	}
	return item.alert, item.alert.Condition == ConditionPresent
}

// complain raises a complaint about an entry. There are no complaints about
// complaints.
func (c *complaints) complain(ctx context.Context, about AlertRef, rule, text string) error {
	if about.Patient == SystemPatient {
		return nil
	}
	return c.raise(ctx, Raise{Patient: SystemPatient, Key: complaintKey(about, rule), ID: rand.Text(), Kind: AlertTechnical, Priority: PriorityHigh,
		Test: aboutOf(about).Test, Text: text, Source: Source{Rule: rule}, about: aboutOf(about)})
}

// reserved reports whether a key is one that carewire gives its own alerts.
func reserved(patient, key string) bool {
	if strings.HasPrefix(key, noDataRule+".") || strings.HasPrefix(key, outagePrefix) || key == noDataMore {
		return true
	}
	rule, _, _ := strings.Cut(key, ".")
	return patient == SystemPatient && (troubleText[rule] != "" || rule == "unreadable" || rule == crowdedRule || rule == sourcesRule || rule == toldRule)
}

func complaintKey(about AlertRef, rule string) string {
	return rule + "." + hexOf(digest([]byte(about.Patient + "\x00" + about.Key)))[:16]
}

// relieveBy relieves by a revision that is new to this node, its own or another's.
func (c *complaints) relieveBy(e *Entry) {
	if e.Kind != KindAlert || c.open.alertsOf(SystemPatient) == 0 {
		return
	}
	if a, err := decodeAlert(e); err == nil {
		c.endResolved(a)
	}
}

// endResolved ends the condition of complaints that no longer hold after the change
// of a: about alerts with a trouble, when none has it; that a could not be
// read; that a source has too many alerts, when half of them have ended; that a
// has too many sources, when half of those have ended; that a was told to too
// many people, when it is accepted or has ended.
func (c *complaints) endResolved(a *Alert) {
	if a.Patient == SystemPatient {
		return
	}
	for rule := range troubleText {
		if !c.anyTroubled(rule, a.Test) {
			c.end(rule, a.Test)
		}
	}
	self := AlertRef{Patient: a.Patient, Key: alertKey(a.Key, a.Test)}
	if len(a.assertions()) <= sourcesMost/2 {
		c.end(complaintKey(self, sourcesRule), a.Test)
	}
	if a.Open() && a.Responsibility.State != ResponsibilityAccepted {
		return
	}
	c.end(complaintKey(self, "unreadable"), a.Test)
	c.end(complaintKey(self, toldRule), a.Test)
	key := crowdedKey(a.Source.By)
	if _, crowded := c.present(key, a.Test); crowded && !c.open.crowdedBy(a.Source.By, a.Test, c.most) {
		c.end(key, a.Test)
	}
}

// end ends the condition of a complaint that is present.
func (c *complaints) end(key string, test bool) {
	if _, ok := c.present(key, test); ok {
		c.startRetrying("relieve/"+alertKey(key, test), func(ctx context.Context) error {
			return c.alerts.endCondition(ctx, SystemPatient, key, test)
		})
	}
}
