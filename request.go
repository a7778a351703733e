package carewire

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"golang.org/x/time/rate"
)

const (
	historyBytes = 48 << 10 // of one page, about
	askAgain     = 5 * time.Second
)

// handle carries out one request, sends its reply and returns its type. A publish
// goes on after handle has returned; everything else is done in order.
func (c *conn) handle(b []byte) requestType {
	r, err := decodeRequest(b, c.hub.opt.MaxVitals)
	if wait := c.tooFast(); wait > 0 {
		c.out.send(errorFrame(r.Req, &RequestError{Code: CodeBusy, Retry: RetryLater, RetryAfter: wait}))
		return r.Type
	}
	if err != nil {
		c.out.send(errorFrame(r.Req, err))
		var f *ValidationError
		if errors.As(err, &f) && f.Field == "" || err == errUnknownType {
			if c.errors == nil {
				c.errors = rate.NewLimiter(rate.Every(10*time.Second), mistakes)
			}
			if !c.errors.Allow() {
				c.close(ClosePolicy)
			}
		}
		return r.Type
	}
	if err := c.fits(r.Type); err != nil {
		c.out.send(errorFrame(r.Req, err))
		return r.Type
	}
	ctx, generation := c.hub.ctx, c.hub.access.generation.Load()
	var members func(*encoder)
	var a Alert
	switch r.Type {
	case reqWatch:
		c.watch(ctx, r)
		return r.Type
	case reqPublish:
		c.publish(ctx, r)
		return r.Type
	case reqUnwatch:
		c.unwatch(r.Patients, r.Groups)
	case reqRaise:
		a, err = c.raise(ctx, r)
		members = alertMember(&a)
	case reqClear:
		a, err = c.hub.clear(ctx, c.who, c.who.ID, r.Ref, r.EventID)
		members = alertMember(&a)
	case reqAnswer:
		a, err = c.hub.answer(ctx, c.who, r.Ref, r.Answer)
		members = alertMember(&a)
	case reqReceipt:
		if err = c.may(ctx, ActionWatch, r.Receipt.Patient); err == nil {
			err = c.hub.receipts.take(ctx, c.who, r.Receipt)
		}
	case reqNotify:
		var n Notice
		n, err = c.notify(ctx, r.Notice)
		members = func(e *encoder) {
			e.name("notice")
			n.encode(e)
		}
	case reqHistory:
		members, err = c.history(ctx, &r.History)
	case reqTicket:
		var text string
		var until time.Time
		var first *http.Request
		if first, err = c.first.request(ctx); err == nil {
			text, until, err = c.hub.giveTicket(ctx, c.who, first.Header.Get("Origin"))
		}
		members = func(e *encoder) {
			e.str("ticket", text)
			e.time("expires", until)
		}
	case reqToken:
		var expires Principal
		expires, err = c.renew(r.Token)
		members = func(e *encoder) { e.time("expires", expires.Expires) }
		if err == errOtherPrincipal {
			c.close(ClosePolicy)
			return r.Type
		}
	}
	c.recordRequest(r, &a, err)
	if err != nil {
		c.out.send(errorFrame(r.Req, err))
		return r.Type
	}
	reply := okFrame(r.Req, members)
	if r.Type != reqHistory {
		c.out.send(reply)
	} else if !c.tell(generation, reply) {
		c.out.send(errorFrame(r.Req, ErrUndecided))
	}
	return r.Type
}

// tell sends what was decided under generation. It reports false, and sends
// nothing, if something may have ended access since.
func (c *conn) tell(generation uint64, frames ...[]byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hub.access.generation.Load() != generation {
		return false
	}
	for _, f := range frames {
		c.out.send(f)
	}
	return true
}

func alertMember(a *Alert) func(*encoder) {
	return func(e *encoder) {
		e.name("alert")
		a.encode(e)
	}
}

func (c *conn) publish(ctx context.Context, r *request) {
	if c.inFlight == nil {
		c.inFlight = make(chan struct{}, c.hub.opt.MaxPublishes)
	}
	select {
	case c.inFlight <- struct{}{}:
	default:
		c.hub.stats.limits.publishes.Add(1)
		c.inFlight <- struct{}{}
	}
	c.hub.publish(ctx, c.who, r.Vitals, func(results []PublishResult) {
		<-c.inFlight
		c.counted(r.Vitals, results)
		c.out.send(okFrame(r.Req, func(e *encoder) {
			e.name("results")
			e.b = append(e.b, '[')
			for i := range results {
				e.comma()
				e.b = append(e.b, '{')
				if err := results[i].Err; err != nil {
					e.object("error", func() { e.failure(err) })
				} else {
					e.count("seq", results[i].Seq)
					e.bool("repeated", results[i].Repeated)
				}
				e.b = append(e.b, '}')
			}
			e.b = append(e.b, ']')
		}))
	})
}

// may reports why c's principal may not do something for a patient.
func (c *conn) may(ctx context.Context, action Action, patient string) error {
	return c.hub.access.decide(ctx, c.who, action, []string{patient})[patient]
}

func (c *conn) raise(ctx context.Context, r *request) (Alert, error) {
	if err := c.may(ctx, ActionRaise, r.Alert.Patient); err != nil {
		return Alert{}, err
	}
	if r.Alert.Test {
		if err := c.may(ctx, ActionTest, r.Alert.Patient); err != nil {
			return Alert{}, err
		}
	}
	return c.hub.raise(ctx, c.who.ID, r.Alert)
}

func (c *conn) notify(ctx context.Context, n Notice) (Notice, error) {
	if err := c.may(ctx, ActionNotify, n.Patient); err != nil {
		return Notice{}, err
	}
	return c.hub.notify(ctx, c.who.ID, n)
}

// history answers with a page of a patient's log, of what may be seen.
func (c *conn) history(ctx context.Context, q *HistoryQuery) (func(*encoder), error) {
	rec := Record{Event: AuditHistory, Patient: q.Patient, Key: q.Key}
	if err := c.may(ctx, ActionHistory, q.Patient); err != nil {
		c.record(rec, err)
		return nil, err
	}
	if err := c.hub.audit.recordFirst(ctx, []Record{c.signed(rec)})[0]; err != nil {
		return nil, err
	}
	list, next, err := c.hub.historyPage(ctx, q, c.who)
	if err != nil {
		return nil, err
	}
	return func(e *encoder) {
		e.name("events")
		e.b = append(e.b, '[')
		for i := range list {
			e.comma()
			e.entry(&list[i])
		}
		e.b = append(e.b, ']')
		e.uint("next", next)
	}, nil
}

// historyPage reads entries that p (nil: the host) may see, and says where the
// next page begins; 0 if this is the last.
func (h *Hub) historyPage(ctx context.Context, q *HistoryQuery, p *Principal) (list []Entry, next uint64, err error) {
	limit := q.Limit
	if limit <= 0 || limit > h.opt.MaxHistory {
		limit = h.opt.MaxHistory
	}
	s := ReadQuery{Kinds: q.Kinds, From: q.From, To: q.To, Limit: limit}
	if len(s.Kinds) == 0 {
		s.Kinds = append([]Kind{KindVital}, undroppable...)
	}
	if q.Key != "" {
		s.Key = alertKey(q.Key, false)
	}
	entries, err := h.store.Read(ctx, q.Patient, Position{Seq: q.Cursor}, s)
	if err != nil {
		return nil, 0, unavailable(err)
	}
	size := 0
	for i := range entries {
		e := &entries[i]
		if size += len(e.Data) + 128; size > historyBytes && len(list) > 0 {
			return list, next, nil
		}
		next = e.Seq
		if !e.hidden() && (p == nil || p.sees(e)) {
			list = append(list, *e)
		}
	}
	if len(entries) < limit {
		next = 0
	}
	return list, next, nil
}

// History reads a page of a patient's log. ErrGap means that entries after
// q.Cursor are no longer kept. What the Store has damaged is left out.
func (h *Hub) History(ctx context.Context, q HistoryQuery) (HistoryPage, error) {
	if !validPatient(q.Patient) {
		return HistoryPage{}, invalid("patient", "must be an ID")
	}
	list, next, err := h.historyPage(ctx, &q, nil)
	h.audit.recordHost(Record{Event: AuditHistory, Patient: q.Patient, Key: q.Key}, err)
	page := HistoryPage{Next: next}
	for i := range list {
		ev, err := list[i].event()
		if err != nil {
			return HistoryPage{}, errStored
		}
		page.Events = append(page.Events, ev)
	}
	return page, err
}

var errOtherPrincipal = errors.New("carewire: another principal's token")

// renew takes a fresh token of the same principal.
func (c *conn) renew(token string) (Principal, error) {
	r, err := c.first.request(c.hub.ctx)
	if err != nil {
		return Principal{}, ErrUndecided
	}
	r.Header.Set("Authorization", "Bearer "+token)
	p, err := c.hub.authenticate(r)
	switch {
	case errors.Is(err, ErrUnauthenticated):
		return p, ErrUnauthenticated
	case err != nil:
		return p, ErrUndecided
	case p.ID != c.who.ID || p.Role != c.who.Role:
		return p, errOtherPrincipal
	case c.hub.access.revoked.covers(&p, "", c.hub.now()):
		return p, ErrForbidden
	}
	c.expireAt(p.Expires)
	return p, nil
}

// watch begins to watch what may be watched, and says what may not.
func (c *conn) watch(ctx context.Context, r *request) {
	if len(r.Patients) > c.hub.opt.MaxPatients {
		c.hub.stats.limits.patients.Add(1)
		c.out.send(errorFrame(r.Req, errLimit))
		return
	}
	generation := c.hub.access.generation.Load()
	o := WatchOptions{Patients: r.Patients, Groups: r.Groups, Since: r.Since, Delivery: r.Delivery, Emergency: r.Emergency, Reason: r.Reason}
	var refused []Refusal
	wanted := make(map[string][]string) // patient: through which groups; "" by name
	for _, p := range o.Patients {
		if !slices.Contains(wanted[p], "") {
			wanted[p] = append(wanted[p], "")
		}
	}
	fresh := 0
	for _, g := range o.Groups {
		var patients map[string]bool
		err := error(errLimit)
		if follows, room := c.follows(g); follows || fresh < room {
			if !follows {
				fresh++
			}
			patients, err = c.groupPatients(ctx, g)
		} else {
			c.hub.stats.limits.groups.Add(1)
		}
		if err != nil {
			refused = append(refused, Refusal{Group: g, Code: requestError(err).Code})
			c.record(Record{Event: AuditWatch, Group: g}, err)
			continue
		}
		for p := range patients {
			wanted[p] = append(wanted[p], g)
		}
	}
	patients := make([]string, 0, len(wanted))
	for p := range wanted {
		patients = append(patients, p)
	}
	slices.Sort(patients)
	rights := c.hub.access.rights(ctx, Access{Principal: *c.who, Action: ActionWatch, Patients: patients, Emergency: o.Emergency, Reason: o.Reason})
	c.mu.Lock()
	room := c.hub.opt.MaxPatients - len(c.watches)
	for _, p := range patients {
		if rights[p].err == nil && c.watches[p] == nil {
			if room--; room < 0 {
				rights[p] = right{err: errLimit}
				c.hub.stats.limits.patients.Add(1)
			}
		}
	}
	c.mu.Unlock()
	c.open(ctx, patients, rights, o.Reason)
	var granted []string
	for _, p := range patients {
		if err := rights[p].err; err == nil {
			granted = append(granted, p)
		} else if !errors.Is(err, ErrForbidden) || slices.Contains(wanted[p], "") {
			refused = append(refused, Refusal{Patient: p, Code: requestError(err).Code})
			rec := Record{Event: AuditWatch, Patient: p}
			if o.Emergency {
				rec.Event, rec.Reason = AuditEmergency, o.Reason
			}
			c.record(rec, err)
		}
	}
	c.mu.Lock()
	for _, g := range o.Groups {
		if !slices.ContainsFunc(refused, func(r Refusal) bool { return r.Group == g }) {
			if c.groups == nil {
				c.groups = make(map[string]WatchOptions)
			}
			c.groups[g] = WatchOptions{Delivery: o.Delivery}
		}
	}
	c.mu.Unlock()
	c.out.send(okFrame(r.Req, func(e *encoder) {
		e.name("watching")
		e.b = append(e.b, '[')
		for _, p := range granted {
			e.comma()
			e.b = appendString(e.b, p)
		}
		e.b = append(e.b, ']')
		e.name("refused")
		e.b = append(e.b, '[')
		for _, f := range refused {
			e.comma()
			e.b = append(e.b, '{')
			e.str("patient", f.Patient)
			e.str("group", f.Group)
			e.str("code", string(f.Code))
			e.b = append(e.b, '}')
		}
		e.b = append(e.b, ']')
	}))
	c.begin(ctx, granted, rights, generation, func(p string) *watched {
		w := c.newWatch(p, o.Delivery)
		if s, ok := o.Since[p]; ok {
			w.since = &s
		}
		for _, g := range wanted[p] {
			if g == "" {
				w.alone = true
			} else {
				w.groups = append(w.groups, g)
			}
		}
		return w
	})
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
		if p := list[i].Patient; err != nil {
			rights[p] = right{err: err}
		}
	}
	for _, p := range patients {
		if r := rights[p]; r.err == nil && r.emergency {
			r.err = c.hub.access.emergencies.begin(ctx, c.who, p, reason, r.until)
			rights[p] = r
		}
	}
}

func (c *conn) newWatch(patient string, d Delivery) *watched {
	return &watched{watch: &watch{out: &c.out, patient: patient, delivery: d, lane: c.hub.lane(patient)}}
}

// begin attaches watches of patients that were granted under generation.
// Where something may have ended access since, it is asked for again.
func (c *conn) begin(ctx context.Context, patients []string, rights map[string]right, generation uint64, make func(string) *watched) {
	for len(patients) > 0 {
		c.mu.Lock()
		if c.ended {
			c.mu.Unlock()
			return
		}
		if c.hub.access.generation.Load() == generation {
			for _, p := range patients {
				if r := rights[p]; r.err == nil {
					c.attach(make(p), r.until)
				} else {
					c.out.send(patientFrame(EventRevoked, p))
					c.record(Record{Event: AuditWatchEnded, Patient: p, Code: requestError(r.err).Code}, nil)
				}
			}
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		generation = c.hub.access.generation.Load()
		rights = c.hub.access.rights(ctx, Access{Principal: *c.who, Action: ActionWatch, Patients: patients})
	}
}

// follows reports whether c watches a group, and how many more it may.
func (c *conn) follows(group string) (ok bool, room int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok = c.groups[group]
	return ok, c.hub.opt.MaxGroups - len(c.groups)
}

// groupPatients resolves a group that c's principal belongs to.
func (c *conn) groupPatients(ctx context.Context, group string) (map[string]bool, error) {
	if c.hub.opt.Authorizer == nil && !slices.Contains(c.who.Groups, group) {
		return nil, ErrForbidden
	}
	return c.hub.access.groups.members(ctx, group)
}

// attach begins one watch; one that there is of the same patient begins anew.
// Under c.mu.
func (c *conn) attach(w *watched, until time.Time) {
	if old := c.watches[w.patient]; old != nil {
		w.alone = w.alone || old.alone
		for _, g := range old.groups {
			if !slices.Contains(w.groups, g) {
				w.groups = append(w.groups, g)
			}
		}
		old.end()
		old.lane.submit(job{detach: old.watch})
	} else {
		c.hub.stats.watches.Add(1)
	}
	w.granted = c.hub.access.questions.Add(1)
	c.watches[w.patient] = w
	delete(c.left, w.patient)
	c.setUntil(w, until)
	w.lane.submit(job{attach: w.watch})
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

func (c *conn) unwatch(patients, groups []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range patients {
		if w := c.watches[p]; w != nil && len(w.groups) > 0 {
			if c.left == nil {
				c.left = make(map[string]bool)
			}
			c.left[p] = true // the group does not bring it back
		}
		c.detach(p, "")
	}
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
}

// watching reports whether c watches a patient.
func (c *conn) watching(patient string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.watches[patient] != nil
}
