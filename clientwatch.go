package carewire

import (
	"cmp"
	"container/list"
	"maps"
	"slices"
	"strings"
	"time"
)

// view holds a Client's watches and the events that wait for its reader.
// Client.mu guards it.
//
// The rule of counting. must is the number of undroppable entries in 1..seq. If
// a client at (seq, must) has missed nothing, the next event shows
//
//	a vital:                            the same must
//	an alert, notice, receipt, access:  must+1
//	a gap, which hides one entry:       must or must+1
//	synced, after a recovered sync:     the same must
//	a head at or after seq:             the same must
//	a head at or before seq:            the same epoch
//
// and a greater seq. With DeliverEvery every number comes: seq grows by one,
// and a synced or head is at seq itself. Anything else means that an event is
// missing after the client's position, and the client resumes there. A snapshot
// is not counted; its synced gives position and count.
type view struct {
	patients map[string]watchSpec // watched by name
	groups   map[string]watchSpec
	follows  map[string]*follow // by patient: those of patients, and those that groups bring
	queue    backlog

	first       bool   // nothing was asked on this connection yet
	planDue     bool   // a follow or the groups need asking
	regroup     bool   // the groups are to be watched anew
	regroupSoon bool   // and will be
	groupCalls  int    // requests for groups without a reply
	missed      int    // patients that had to be resumed, not logged yet
	inboxMissed bool   // an inbox found no room
	store       string // the server's last word on its store
}

func newView() view {
	return view{patients: make(map[string]watchSpec), groups: make(map[string]watchSpec), follows: make(map[string]*follow),
		queue: backlog{newest: make(map[vitalKey]*list.Element)}}
}

// follow returns the state of a patient who is watched from now on.
func (v *view) follow(patient string, w watchSpec) *follow {
	f := v.follows[patient]
	if f == nil {
		f = &follow{patient: patient}
		v.follows[patient] = f
	}
	if named, ok := v.patients[patient]; ok {
		w = named
	}
	f.spec = w
	return f
}

// groupSpec is how a patient is watched who came to a group: in each case
// nothing is missing then.
func (v *view) groupSpec() watchSpec {
	var best watchSpec
	for _, w := range v.groups {
		if best == (watchSpec{}) || w.delivery == DeliverEvery || best.delivery == DeliverAlerts {
			w.waves = cmp.Or(w.waves, best.waves)
			best = w
		}
	}
	return best
}

// take is told of every event the server sends.
func (c *Client) take(ev Event) {
	f := c.follows[ev.Patient]
	if f != nil && ev.Type != EventWave { // which says nothing of the log
		c.noteAlive(f)
	}
	switch ev.Type {
	case EventVital, EventAlert, EventNotice, EventReceipt, EventAccess, EventGap:
		c.takeEntry(f, ev)
	case EventSync:
		if f == nil && len(c.groups) > 0 { // somebody came to a group
			f = c.follow(ev.Patient, c.groupSpec())
			f.confirm()
			f.heard = time.Now()
		}
		switch {
		case f == nil, f.state == followWaiting && !f.confirmed: // of a watch that is over
		case !c.hasRoom():
			c.fallBehind(f)
		case !ev.Recovered:
			f.state, f.resumable, f.counted = followSnapshot, false, false
			c.push(ev)
		case !f.resumable: // recovered from where? the held events may be part of a snapshot
			c.resync(f)
		default:
			f.state = followCatching
			c.push(ev)
		}
	case EventSynced:
		switch {
		case f == nil || f.state == followWaiting:
		case f.state == followCatching && (f.counted && ev.Must != f.must || f.deliversEvery() && ev.Seq != f.position.Seq):
			c.resync(f)
		default:
			f.state, f.position, f.must, f.resumable, f.counted, f.stale = followLive, ev.Position, ev.Must, true, true, false
			c.push(ev)
		}
	case EventHead:
		for _, h := range ev.Heads {
			c.takeHead(h)
		}
	case EventRevoked:
		c.forget(ev.Patient)
		c.push(ev)
	case EventStatus:
		c.store = ev.Store
		c.push(ev)
	case EventInbox, EventGranted, EventHeartbeat:
		c.push(ev)
	case EventWave:
		if f != nil && f.spec.waves != "" {
			c.queue.pushWave(ev)
			signal(c.came)
		}
	case EventWaves:
		c.wavesTaken(ev.waves)
	}
}

// takeEntry takes an event of a patient's log if it is the next one.
func (c *Client) takeEntry(f *follow, ev Event) {
	switch {
	case f == nil || f.state == followWaiting:
	case f.state == followSnapshot:
		c.push(ev)
	case !f.continues(&ev):
		c.resync(f)
	case !c.hasRoom():
		c.fallBehind(f)
	default:
		f.position, f.must, f.resumable, f.counted = ev.Position, ev.Must, true, true
		c.push(ev)
	}
}

// takeHead compares the server's count with the Client's. A head before our
// position was read before our last event came.
func (c *Client) takeHead(h Head) {
	f := c.follows[h.Patient]
	if f == nil || f.state != followLive {
		return
	}
	c.noteAlive(f)
	if h.Seq > f.position.Seq && f.deliversEvery() || h.Seq >= f.position.Seq && h.Must != f.must || h.Seq <= f.position.Seq && h.Epoch != f.position.Epoch {
		c.resync(f)
	}
}

// noteAlive notes a sign of life of one patient.
func (c *Client) noteAlive(f *follow) {
	f.heard = time.Now()
	if f.stale && f.state == followLive {
		f.stale = false
		c.push(Event{Type: EventLive, Patient: f.patient})
	}
}

// tellStale tells the reader, once, that a patient is not current.
func (c *Client) tellStale(f *follow) {
	if !f.stale {
		f.stale = true
		c.push(Event{Type: EventStale, Patient: f.patient})
	}
}

// resync resumes a patient with missing events, from the last complete position.
// If that has not helped, it begins with a snapshot, at growing intervals.
func (c *Client) resync(f *follow) {
	now := time.Now()
	if now.Sub(f.lastMiss) > 2*c.o.MaxBackoff {
		f.misses = 0
	}
	f.lastMiss = now
	c.tellStale(f)
	f.await()
	if f.misses++; f.misses > 1 {
		f.resumable, f.counted = false, false
		c.askAfter(f, c.backoff(f.misses))
	}
	c.missed++
	c.planDue = true
	signal(c.wake)
}

// fallBehind stops a patient's events until the reader has made room.
func (c *Client) fallBehind(f *follow) {
	c.tellStale(f)
	f.await()
	if c.planDue = true; f.leaving {
		return
	}
	f.leaving = true
	c.post(c.callOwn(reqUnwatch, func(e *encoder) { e.strings("patients", []string{f.patient}) }, func(*reply) {
		if f.leaving = false; f.state != followWaiting || !f.asked.IsZero() { // a Watch came in between
			f.await()
		}
		c.planDue = true
	}))
}

// askAfter lets f be asked for after d.
func (c *Client) askAfter(f *follow, d time.Duration) {
	f.asked, f.confirmed = time.Time{}, false
	f.due = time.Now().Add(d)
	c.runAfter(d, func() { c.planDue = true })
}

func (c *Client) regroupAfter(d time.Duration) {
	c.regroupSoon = true
	c.runAfter(d, func() { c.regroup, c.planDue = true, true })
}

// resumeAll is for a new connection, which knows of no watch.
func (c *Client) resumeAll() {
	for _, f := range c.follows {
		f.await()
		f.due, f.leaving, f.stale = time.Time{}, false, false // EventLost says it of all
	}
	c.first, c.planDue, c.regroup, c.regroupSoon, c.groupCalls = true, true, len(c.groups) > 0, false, 0
	c.inboxMissed, c.store = false, ""
}

// askWaiting asks for the patients that wait, once there is room for them. Each is
// asked for by name, even if a group brought it.
func (c *Client) askWaiting() {
	if !c.planDue || c.queue.len() > c.o.Buffer/2 {
		return
	}
	c.planDue = false
	n := len(c.ready)
	if c.regroup && c.groupCalls == 0 {
		c.askGroups()
	}
	now := time.Now()
	asks := make(map[watchSpec][]string)
	for p, f := range c.follows {
		if _, named := c.patients[p]; !named && len(c.groups) == 0 {
			c.forget(p)
		} else if f.needs(now) {
			asks[f.spec] = append(asks[f.spec], p)
		}
	}
	for w, patients := range asks {
		slices.Sort(patients)
		for len(patients) > 0 {
			patients = patients[c.ask(w, patients, nil):]
		}
	}
	if c.first { // these go before requests that wait from earlier connections
		c.ready = append(c.ready[n:len(c.ready):len(c.ready)], c.ready[:n]...)
	}
	c.first = false
}

// askGroups watches all groups anew, which lists their present patients. The
// server begins their patients anew, and does not say which of those watched by
// name are among them: these follow by name.
func (c *Client) askGroups() {
	c.regroup, c.regroupSoon = false, false
	groups := make(map[watchSpec][]string)
	for g, w := range c.groups {
		groups[w] = append(groups[w], g)
	}
	members := slices.Sorted(maps.Keys(c.follows))
	for _, f := range c.follows {
		f.await()
	}
	for w, names := range groups {
		slices.Sort(names)
		c.groupCalls++
		for _, p := range members[c.ask(w, members, names):] {
			if _, named := c.patients[p]; !named { // there is no room to say where it stood
				f := c.follows[p]
				f.resumable, f.counted, f.asked = false, false, time.Now()
			}
		}
	}
}

// ask watches patients, or groups with patients as their members, from where
// they stand. It returns how many patients found room in the request.
func (c *Client) ask(w watchSpec, patients, groups []string) int {
	o := &WatchOptions{Groups: groups, Since: make(map[string]Position), Delivery: w.delivery, Waves: strings.Fields(w.waves), Emergency: w.emergency, Reason: w.reason}
	room := 32 << 10
	if c.limits.Frame > 0 {
		room = c.limits.Frame
	}
	room -= 512 + 6*len(w.reason) + 2*len(w.waves)
	for _, g := range groups {
		room -= len(g) + 3
	}
	n := 0
	for ; n < len(patients); n++ {
		p := patients[n]
		f := c.follows[p]
		if room -= 2*len(p) + len(f.position.Epoch) + 64; room < 0 && (n > 0 || groups != nil) {
			break
		}
		if f.resumable {
			o.Since[p] = f.position
		}
		if _, named := c.patients[p]; groups == nil || !named {
			f.asked = time.Now()
		}
	}
	if groups == nil {
		o.Patients = patients[:n:n]
	}
	c.post(c.callOwn(reqWatch, o.encode, func(r *reply) { c.resumed(o, r) }))
	return n
}

// resumed takes the reply to ask.
func (c *Client) resumed(o *WatchOptions, r *reply) {
	pause := time.Second + c.backoff(1)
	if r.Err != nil {
		later := r.Err.Retry != RetryNever
		pause = max(pause, r.Err.RetryAfter)
		r = new(reply)
		code := CodeForbidden
		if later {
			code = CodeUndecided
		}
		for _, p := range o.Patients {
			r.Refused = append(r.Refused, Refusal{Patient: p, Code: code})
		}
		for _, g := range o.Groups {
			r.Refused = append(r.Refused, Refusal{Group: g, Code: code})
		}
	}
	for _, p := range r.Watching {
		_, named := c.patients[p]
		if byGroup := len(o.Groups) > 0; byGroup && named || !byGroup && c.follows[p] == nil {
			continue // its own request says it; it is not watched any more
		}
		if f := c.follow(p, o.spec()); f.state == followWaiting {
			f.confirm()
		}
	}
	for _, x := range r.Refused {
		f := c.follows[x.Patient]
		switch {
		case f != nil && temporaryRefusal(x.Code):
			c.askAfter(f, pause)
		case f != nil:
			c.endPatient(x.Patient)
		case temporaryRefusal(x.Code) && len(o.Groups) > 0:
			c.regroupAfter(pause)
		case x.Group != "":
			delete(c.groups, x.Group)
		}
	}
	if len(o.Groups) == 0 {
		return
	}
	if c.groupCalls--; c.groupCalls > 0 {
		return
	}
	if c.planDue = true; c.regroup || c.regroupSoon {
		return
	}
	var gone []string
	for p, f := range c.follows {
		if _, named := c.patients[p]; !named && f.state == followWaiting && !f.confirmed && !f.asked.IsZero() {
			c.endPatient(p) // in no group any more
			gone = append(gone, p)
		}
	}
	c.drop(gone)
}

// drop tells the server not to go on with patients who may have been asked for
// by name although a group had brought them.
func (c *Client) drop(patients []string) {
	for part := range slices.Chunk(patients, 100) {
		c.post(c.callOwn(reqUnwatch, func(e *encoder) { e.strings("patients", part) }, nil))
	}
}

// temporaryRefusal reports whether a refusal may be different later.
func temporaryRefusal(code ErrorCode) bool {
	switch code {
	case CodeUndecided, CodeBusy, CodeFull, CodeUnavailable, CodeUnknown, CodeInternal, CodeUnauthorized:
		return true
	}
	return false
}

// watched takes the ok to a Watch.
func (c *Client) watched(o *WatchOptions, r *reply) {
	w := o.spec()
	refused := make(map[Refusal]bool)
	for _, x := range r.Refused {
		refused[Refusal{Patient: x.Patient, Group: x.Group}] = true
	}
	begin := func(p string) {
		f := c.follow(p, w)
		f.await()
		f.confirm()
		f.position, f.resumable = o.Since[p]
		f.counted = false
	}
	for _, g := range o.Groups {
		if !refused[Refusal{Group: g}] {
			c.groups[g] = w
		}
	}
	for _, p := range o.Patients {
		if !refused[Refusal{Patient: p}] {
			c.patients[p] = w
			begin(p)
		}
	}
	for _, p := range r.Watching {
		if _, named := c.patients[p]; !named {
			begin(p)
		}
	}
}

// unwatch forgets patients that are no longer to be watched.
func (c *Client) unwatch(patients, groups []string) {
	for _, p := range patients {
		c.forget(p)
	}
	for _, g := range groups {
		delete(c.groups, g)
	}
	if len(c.groups) > 0 {
		return
	}
	var left []string
	for p := range c.follows {
		if _, named := c.patients[p]; !named {
			c.endPatient(p)
			left = append(left, p)
		}
	}
	if c.link != nil {
		c.drop(left)
	}
}

// forget drops a patient with all that waits for the reader.
func (c *Client) forget(patient string) {
	delete(c.patients, patient)
	delete(c.follows, patient)
	c.queue.purge(patient)
	signal(c.wake)
}

// endPatient tells the reader that a patient is no longer watched.
func (c *Client) endPatient(patient string) {
	c.forget(patient)
	c.push(Event{Type: EventRevoked, Patient: patient})
}

// checkPatients is called every ten seconds. It asks for patients without events, while
// the connection is alive and the server's store is well. It reports whether it
// has asked for a patient and the sync does not come.
func (c *Client) checkPatients() (stuck bool) {
	now := time.Now()
	well := c.store == "" || c.store == "ok"
	for _, f := range c.follows {
		switch {
		case f.state == followWaiting:
			stuck = stuck || well && !f.asked.IsZero() && now.Sub(f.asked) > clientPatience
		case now.Sub(f.heard) > clientPatience:
			if c.tellStale(f); well {
				c.resync(f)
			}
		}
	}
	return stuck
}

// refetch reports whether it is time to connect anew for the inbox.
func (c *Client) refetch() bool {
	return c.inboxMissed && c.queue.len() <= c.o.Buffer/2
}
