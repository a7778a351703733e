package carewire

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

const (
	askAgain      = 5 * time.Second // for undecided patients
	refusalsShown = 500             // refused patients of groups that a reply names; further ones are counted
	grantsShown   = 40 << 10        // bytes of patients in a reply; further ones of groups are told one by one
)

// An opening is a watch request in progress, with the wanted and the allowed
// patients.
type opening struct {
	conn     *conn
	o        WatchOptions
	wanted   map[string][]string // patient: through which groups; "" by name
	patients []string            // the wanted patients, in order
	rights   map[string]right
	granted  []string
	refused  []Refusal
	more     int // further patients of groups that could not be watched
}

// watch begins to watch the allowed patients, and returns the refused ones.
func (c *conn) watch(ctx context.Context, r *request) {
	if len(r.Patients) > c.hub.opt.MaxPatients {
		c.hub.stats.limits.patients.Add(1)
		c.out.send(errorFrame(r.Req, errLimit))
		return
	}
	generation := c.generation()
	o := &opening{conn: c, o: WatchOptions{Patients: r.Patients, Groups: r.Groups, Since: r.Since, Delivery: r.Delivery, Waves: r.Waves, Emergency: r.Emergency, Reason: r.Reason}}
	o.resolve(ctx)
	o.rights = c.hub.access.rights(ctx, Access{Principal: *c.principal(), Action: ActionWatch, Patients: o.patients, Emergency: r.Emergency, Reason: r.Reason})
	o.limit()
	c.open(ctx, o.patients, o.rights, r.Reason)
	o.sort()
	o.followGroups()
	shown, later := o.split()
	c.out.send(watchedFrame(r.Req, shown, o.refused, o.more))
	for _, p := range later {
		if !c.out.waitForRoom(ctx, inboxAhead) {
			return
		}
		c.out.send(patientFrame(EventGranted, p))
	}
	c.begin(ctx, o.granted, o.rights, generation, o.newWatch)
	if s := c.hub.store.status(); s.degraded() && s.state == storeOK {
		c.tellStatus(s, o.granted)
	}
}

// resolve finds the patients wanted, by name and through groups.
func (o *opening) resolve(ctx context.Context) {
	c := o.conn
	o.wanted = make(map[string][]string)
	for _, p := range o.o.Patients {
		if !slices.Contains(o.wanted[p], "") {
			o.wanted[p] = append(o.wanted[p], "")
		}
	}
	added := 0
	for _, g := range o.o.Groups {
		var patients map[string]bool
		err := error(errLimit)
		if follows, room := c.watchesGroup(g); follows || added < room {
			if !follows {
				added++
			}
			patients, err = c.groupPatients(ctx, g)
		} else {
			c.hub.stats.limits.groups.Add(1)
		}
		if err != nil {
			o.refused = append(o.refused, Refusal{Group: g, Code: requestError(err).Code})
			c.record(Record{Event: AuditWatch, Group: g}, err)
			continue
		}
		for p := range patients {
			o.wanted[p] = append(o.wanted[p], g)
		}
	}
	o.patients = slices.Sorted(maps.Keys(o.wanted))
}

// limit refuses patients and groups beyond the limits of a connection.
func (o *opening) limit() {
	c := o.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	room := c.hub.opt.MaxPatients - len(c.watches)
	for _, p := range o.patients {
		if o.rights[p].err == nil && c.watches[p] == nil {
			if room--; room < 0 {
				o.rights[p] = right{err: errLimit}
				c.hub.stats.limits.patients.Add(1)
			}
		}
	}
}

// sort separates the patients that may be watched from the refused ones.
// Forbidden patients of groups are not mentioned. Of other refused patients of
// groups, only a limited number is listed and recorded.
func (o *opening) sort() {
	listed := 0
	for _, p := range o.patients {
		err, named := o.rights[p].err, slices.Contains(o.wanted[p], "")
		switch {
		case err == nil:
			o.granted = append(o.granted, p)
		case !named && listed == refusalsShown && !errors.Is(err, ErrForbidden):
			o.more++
		case named || !errors.Is(err, ErrForbidden):
			if !named {
				listed++
			}
			o.refused = append(o.refused, Refusal{Patient: p, Code: requestError(err).Code})
			rec := Record{Event: AuditWatch, Patient: p}
			if o.o.Emergency {
				rec.Event, rec.Reason = AuditEmergency, o.o.Reason
			}
			o.conn.record(rec, err)
		}
	}
}

// split separates the patients that the reply names from patients of groups
// that are sent after it, so that no frame grows with a group.
func (o *opening) split() (shown, later []string) {
	size := 0
	for _, p := range o.granted {
		if size += len(p) + len(`"",`); size < grantsShown || slices.Contains(o.wanted[p], "") {
			shown = append(shown, p)
		} else {
			later = append(later, p)
		}
	}
	return shown, later
}

// followGroups has the groups that were not refused followed from now on.
func (o *opening) followGroups() {
	c := o.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range o.o.Groups {
		if !slices.ContainsFunc(o.refused, func(r Refusal) bool { return r.Group == g }) {
			if c.groups == nil {
				c.groups = make(map[string]WatchOptions)
			}
			c.groups[g] = WatchOptions{Delivery: o.o.Delivery, Waves: union(o.o.Waves, c.groups[g].Waves)}
		}
	}
}

// newWatch makes the watch of a patient.
func (o *opening) newWatch(p string) *watched {
	w := o.conn.newWatch(p, o.o.Delivery, o.o.Waves)
	if s, ok := o.o.Since[p]; ok {
		w.since = &s
	}
	for _, g := range o.wanted[p] {
		if g == "" {
			w.alone = true
		} else {
			w.groups = append(w.groups, g)
		}
	}
	return w
}

// open records that patients are opened to c, and begins their emergencies.
// Where that fails they are not.
func (c *conn) open(ctx context.Context, patients []string, rights map[string]right, reason string) {
	var list []Record
	for _, p := range patients {
		if r := rights[p]; r.err == nil && r.emergency {
			list = append(list, c.signed(Record{Event: AuditEmergency, Patient: p, Until: r.until, Reason: reason}))
		}
		if rights[p].err == nil {
			list = append(list, c.signed(Record{Event: AuditWatch, Patient: p}))
		}
	}
	for i, err := range c.hub.audit.recordFirst(ctx, list) {
		if p := list[i].Patient; err != nil && rights[p].emergency && c.hub.opt.EmergencyUnaudited {
			c.hub.log.Error("carewire: break-glass is granted without an audit record, which follows later")
			c.hub.audit.record(list[i])
		} else if err != nil {
			rights[p] = right{err: err}
		}
	}
	for _, p := range patients {
		if r := rights[p]; r.err == nil && r.emergency {
			r.err = c.hub.access.emergencies.begin(ctx, c.principal(), p, reason, r.until)
			rights[p] = r
		}
	}
}

func (c *conn) newWatch(patient string, d Delivery, waves []string) *watched {
	return &watched{watch: &watch{out: &c.out, patient: patient, delivery: d, waves: waves, lane: c.hub.lanes.of(patient)}}
}

// begin attaches watches of patients that were granted under generation.
// Where something may have ended access since, it is asked for again.
func (c *conn) begin(ctx context.Context, patients []string, rights map[string]right, generation uint64, newWatch func(string) *watched) {
	for len(patients) > 0 {
		c.mu.Lock()
		if c.ended {
			c.mu.Unlock()
			return
		}
		if c.generation() == generation {
			for _, p := range patients {
				if r := rights[p]; r.err == nil {
					c.attach(newWatch(p), r.until)
				} else {
					c.out.send(patientFrame(EventRevoked, p))
					c.record(Record{Event: AuditWatchEnded, Patient: p, Code: requestError(r.err).Code}, nil)
				}
			}
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		generation = c.generation()
		rights = c.hub.access.rights(ctx, Access{Principal: *c.principal(), Action: ActionWatch, Patients: patients})
	}
}

// watchesGroup reports whether c watches a group, and how many more it may.
func (c *conn) watchesGroup(group string) (ok bool, room int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok = c.groups[group]
	return ok, c.hub.opt.MaxGroups - len(c.groups)
}

// groupPatients resolves a group that c's principal belongs to.
func (c *conn) groupPatients(ctx context.Context, group string) (map[string]bool, error) {
	if c.hub.opt.Authorizer == nil && !slices.Contains(c.principal().Groups, group) {
		return nil, ErrForbidden
	}
	return c.hub.access.groups.members(ctx, group)
}

// attach begins one watch; one that there is of the same patient begins anew.
// Under c.mu.
func (c *conn) attach(w *watched, until time.Time) {
	old := c.watches[w.patient]
	if old == nil {
		c.hub.stats.watches.Add(1)
		c.hub.signals.join(w.watch, nil)
	} else {
		w.alone = w.alone || old.alone
		w.waves = union(w.waves, old.waves)
		w.groups = union(w.groups, old.groups)
		c.hub.signals.join(w.watch, old.watch)
		old.end()
		old.lane.submit(job{detach: old.watch})
	}
	w.began, w.granted = c.hub.ticks(), c.hub.access.questions.Add(1)
	c.watches[w.patient] = w
	delete(c.left, w.patient)
	c.setUntil(w, until)
	w.lane.submit(job{attach: w.watch})
	if len(w.waves) > 0 && c.net != nil {
		c.net.Slow() // an alert cannot overtake bytes that the kernel has
	}
}

// union returns a with the elements of b that it lacks, in a new slice.
func union(a, b []string) []string {
	a = slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}

// detach ends a watch; why is "" if the client wants it. Under c.mu.
func (c *conn) detach(patient string, why ErrorCode) {
	if w := c.watches[patient]; w != nil {
		c.record(Record{Event: AuditWatchEnded, Patient: patient, Code: why}, nil)
		delete(c.watches, patient)
		w.end()
		w.lane.submit(job{detach: w.watch})
		c.hub.stats.watches.Add(-1)
	}
}

// unwatchWaves ends only the signals with these codes; the patients are watched on.
func (c *conn) unwatchWaves(patients, groups, codes []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range groups {
		if o, ok := c.groups[g]; ok {
			o.Waves = slices.DeleteFunc(slices.Clone(o.Waves), func(code string) bool { return slices.Contains(codes, code) })
			c.groups[g] = o
		}
	}
	for p, w := range c.watches {
		if slices.Contains(patients, p) || slices.ContainsFunc(w.groups, func(g string) bool { return slices.Contains(groups, g) }) {
			c.hub.signals.removeCodes(w.watch, codes)
		}
	}
}

// unwatch ends watches. The inbox then shows those patients' open entries.
func (c *conn) unwatch(patients, groups []string) {
	before := c.endWatches(patients, groups)
	var ended []string
	for _, p := range before {
		if !c.watching(p) {
			ended = append(ended, p)
		}
	}
	if len(ended) > 0 {
		c.inbox.push(c.hub.open.itemsTo(c.principal().keys(), ended)...)
	}
}

// endWatches ends watches, and returns the patients that were watched before.
// Groups end first: they no longer have the patients that are named besides.
func (c *conn) endWatches(patients, groups []string) (before []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before = slices.Collect(maps.Keys(c.watches))
	for _, g := range groups {
		delete(c.groups, g)
		for p, w := range c.watches {
			if i := slices.Index(w.groups, g); i >= 0 {
				w.groups = slices.Delete(w.groups, i, i+1)
				if len(w.groups) == 0 && !w.alone {
					c.detach(p, "")
				}
			}
		}
	}
	for _, p := range patients {
		if w := c.watches[p]; w != nil && len(w.groups) > 0 {
			if c.left == nil {
				c.left = make(map[string]bool)
			}
			c.left[p] = true // the group does not bring it back
		}
		c.detach(p, "")
	}
	return before
}

// watching reports whether c watches a patient.
func (c *conn) watching(patient string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.watches[patient] != nil
}
