package carewire

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

const askBefore = 15 * time.Second // before access ends by itself it is asked for again

// recheck authorises c's watches again, with one call for all patients, and
// updates the watches of groups. An undecided watch stays as it is and is
// checked again soon.
func (c *conn) recheck(ctx context.Context) {
	h := c.hub
	if h.opt.Authorizer == nil && len(c.principal().Groups) == 0 {
		return // the default rules do not change
	}
	asked, generation := h.access.questions.Add(1), c.generation()
	members, undecided := c.members(ctx)
	c.mu.Lock()
	patients := slices.Collect(maps.Keys(c.watches))
	joined := make(map[string]*watched) // came to a group
	for g, m := range members {
		for p := range m.patients {
			if c.watches[p] != nil || c.left[p] {
				continue
			}
			if joined[p] == nil {
				joined[p] = c.newWatch(p, m.delivery, m.waves)
				patients = append(patients, p)
			}
			joined[p].groups = append(joined[p].groups, g)
		}
	}
	c.mu.Unlock()
	slices.Sort(patients)
	rights := h.access.rights(ctx, Access{Principal: *c.principal(), Action: ActionWatch, Patients: patients})
	c.mu.Lock()
	var lost, came []string
	for _, p := range patients {
		w, err := c.watches[p], rights[p].err
		if w == nil && joined[p] == nil {
			continue // unwatched meanwhile
		}
		undecided = undecided || err != nil && !errors.Is(err, ErrForbidden)
		if w == nil {
			if err == nil {
				came = append(came, p)
			}
			continue
		}
		if w.granted > asked { // granted after the question: its answer is older
			undecided = true
			continue
		}
		w.follow(members)
		switch {
		case errors.Is(err, ErrForbidden):
			lost = append(lost, p)
			c.revokeWatch(p)
		case !w.alone && len(w.groups) == 0:
			c.revokeWatch(p)
		case err == nil:
			w.granted = h.access.questions.Add(1)
			c.setUntil(w, rights[p].until)
		}
	}
	room := min(max(h.opt.MaxPatients-len(c.watches), 0), len(came))
	came, without := came[:room], came[room:]
	for _, p := range without[:min(len(without), refusalsShown)] { // for a large group as many as in a reply
		c.out.send(patientFrame(EventRevoked, p))
	}
	c.mu.Unlock()
	c.open(ctx, came, rights, "")
	came = slices.DeleteFunc(came, func(p string) bool {
		undecided = undecided || rights[p].err != nil // it could not be recorded
		return rights[p].err != nil
	})
	for _, p := range came {
		c.out.send(patientFrame(EventGranted, p))
	}
	c.begin(ctx, came, rights, generation, func(p string) *watched { return joined[p] })
	if len(lost) > 0 {
		h.retryUntilDone(ctx, loseKey(c.principal().ID, lost), func(ctx context.Context) error {
			r := Revocation{Principal: c.principal().ID, Patients: lost}
			return errors.Join(h.access.emergencies.endAll(ctx, r), h.changes.loseAlerts(ctx, r))
		})
	}
	if undecided {
		c.checkAt.Store(ticksAfter(h.ticks(), askAgain))
	}
}

// grouped are the patients of a group that is watched.
type grouped struct {
	patients map[string]bool
	delivery Delivery
	waves    []string
}

// members resolves the groups that c watches; undecided if not all could be.
func (c *conn) members(ctx context.Context) (members map[string]grouped, undecided bool) {
	c.mu.Lock()
	groups := maps.Clone(c.groups)
	c.mu.Unlock()
	members = make(map[string]grouped)
	for g, o := range groups {
		patients, err := c.groupPatients(ctx, g)
		if err != nil {
			undecided = true
			continue
		}
		members[g] = grouped{patients, o.Delivery, o.Waves}
	}
	return members, undecided
}

// follow brings the groups that w is watched through in line with their members.
func (w *watched) follow(members map[string]grouped) {
	for g, m := range members {
		i := slices.Index(w.groups, g)
		switch {
		case i < 0 && m.patients[w.patient]:
			w.groups = append(w.groups, g)
		case i >= 0 && !m.patients[w.patient]:
			w.groups = slices.Delete(w.groups, i, i+1)
		}
	}
}

// revokeWatch ends a watch because access has ended. Under c.mu.
func (c *conn) revokeWatch(patient string) {
	if c.watches[patient] != nil {
		c.detach(patient, CodeForbidden)
		c.out.send(patientFrame(EventRevoked, patient))
	}
}

// setUntil says when access to w ends by itself. Under c.mu.
func (c *conn) setUntil(w *watched, until time.Time) {
	w.until = until
	if until.IsZero() || c.ended {
		return
	}
	left := until.Sub(c.hub.now())
	ask := ticksAfter(c.hub.ticks(), left-min(askBefore, left/2))
	for at := c.checkAt.Load(); ask < at && !c.checkAt.CompareAndSwap(at, ask); at = c.checkAt.Load() {
	}
	if lapse := ticksAfter(c.hub.ticks(), left); c.lapse == nil {
		c.lapse, c.lapseAt = time.AfterFunc(left, c.endLapsed), lapse
	} else if lapse < c.lapseAt {
		c.lapse.Reset(left)
		c.lapseAt = lapse
	}
}

// endLapsed ends the watches whose time has come, without asking the Authorizer,
// and sets the timer for the next.
func (c *conn) endLapsed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.lapse = nil
	now := c.hub.now()
	var lost []string
	for p, w := range c.watches {
		switch {
		case w.until.IsZero():
		case w.until.After(now):
			c.setUntil(w, w.until)
		default:
			lost = append(lost, p)
			c.revokeWatch(p)
		}
	}
	if len(lost) > 0 {
		c.hub.startRetrying(loseKey(c.principal().ID, lost), func(ctx context.Context) error {
			return c.hub.changes.loseAlerts(ctx, Revocation{Principal: c.principal().ID, Patients: lost})
		})
	}
}
