package carewire

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Calls of the host's code run outside lanes, each in a goroutine of its own,
// with a deadline and a recover; of each kind only so many at once.
type callers struct{ authenticate, authorize, directory, policy, notify, resolve chan struct{} }

func newCallers() callers {
	n := func(n int) chan struct{} { return make(chan struct{}, n) }
	return callers{n(256), n(64), n(32), n(64), n(64), n(256)}
}

var errPanicked = errors.New("carewire: the host's code panicked")

// callHost runs f, which is the host's code. A call that does not come back in
// time is given up, and keeps its place until it does.
func callHost[T any](ctx context.Context, h *Hub, places chan struct{}, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, h.opt.CallTimeout)
	defer cancel()
	type outcome struct {
		v   T
		err error
	}
	var none T
	select {
	case places <- struct{}{}:
	case <-ctx.Done():
		return none, ErrBusy
	}
	ch := make(chan outcome, 1)
	go func() {
		var o outcome
		o.err = errPanicked
		defer func() {
			if recover() != nil {
				h.stats.panics.Add(1)
				h.log.Error("carewire: the host's code panicked")
			}
			<-places
			ch <- o
		}()
		o.v, o.err = f(ctx)
	}()
	select {
	case o := <-ch:
		return o.v, o.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// decide says for each patient why p may not do this; nil for those where p may.
func (h *Hub) decide(ctx context.Context, p *Principal, action Action, patients []string) map[string]error {
	return h.decideAccess(ctx, Access{Principal: *p, Action: action, Patients: patients})
}

func (h *Hub) decideAccess(ctx context.Context, a Access) map[string]error {
	rights := make(map[string]error, len(a.Patients))
	if h.opt.Authorizer == nil {
		for _, patient := range a.Patients {
			rights[patient] = h.byRule(ctx, &a.Principal, a.Action, patient)
		}
	} else {
		now := h.now()
		list, err := callHost(ctx, h, h.calls.authorize, func(ctx context.Context) ([]Decision, error) {
			c := a
			c.Patients = slices.Clone(a.Patients)
			return h.opt.Authorizer.Authorize(ctx, c)
		})
		for i, patient := range a.Patients {
			switch {
			case err != nil || len(list) != len(a.Patients):
				rights[patient] = ErrUndecided
			case !list[i].Allow || !list[i].Until.IsZero() && !list[i].Until.After(now):
				rights[patient] = ErrForbidden
			default:
				rights[patient] = nil
			}
		}
	}
	for _, patient := range a.Patients {
		if h.revoked.covers(&a.Principal, patient, h.now()) {
			rights[patient] = ErrForbidden
		}
	}
	return rights
}

// byRule applies the default rules.
func (h *Hub) byRule(ctx context.Context, p *Principal, action Action, patient string) error {
	if !slices.Contains(allowed[p.Role], action) {
		return ErrForbidden
	}
	if slices.Contains(p.Patients, patient) {
		return nil
	}
	undecided := false
	for _, g := range p.Groups {
		in, err := h.members(ctx, g)
		if err != nil {
			undecided = true
		} else if in[patient] {
			return nil
		}
	}
	if undecided {
		return ErrUndecided
	}
	return ErrForbidden
}

// groups remembers for a minute which patients a group has.
type groups struct {
	mu  sync.Mutex
	all map[string]*group
}

type group struct {
	mu       sync.Mutex // held while the Directory is asked
	patients map[string]bool
	until    time.Time
}

const groupsKept = time.Minute

func (g *groups) init() { g.all = make(map[string]*group) }

// members returns the patients of a group.
func (h *Hub) members(ctx context.Context, name string) (map[string]bool, error) {
	if h.opt.Directory == nil {
		return nil, nil
	}
	h.groups.mu.Lock()
	g := h.groups.all[name]
	if g == nil {
		g = new(group)
		h.groups.all[name] = g
	}
	h.groups.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.patients != nil && time.Now().Before(g.until) {
		return g.patients, nil
	}
	list, err := callHost(ctx, h, h.calls.directory, func(ctx context.Context) ([]string, error) {
		return h.opt.Directory.Patients(ctx, name)
	})
	if err != nil {
		return nil, ErrUndecided
	}
	g.patients, g.until = make(map[string]bool, len(list)), time.Now().Add(groupsKept)
	for _, p := range list {
		if validID(p) {
			g.patients[p] = true
		}
	}
	return g.patients, nil
}

// forget makes the next look at a group ask the Directory.
func (g *groups) forget(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.all, name)
}

// MembersChanged says that a group's patients have changed. The Directory is
// asked again, here and on every node, and those who watch the group are told
// what they were granted and what was revoked. ErrUndecided means that the
// Directory did not answer; nodes try again within a minute.
func (h *Hub) MembersChanged(ctx context.Context, group string) error {
	if !validID(group) {
		return invalid("group", "must be an ID")
	}
	now := h.now()
	if err := h.tellNodes(ctx, &Change{Kind: "members", Group: group, Until: now.Add(time.Minute)}, "members/"+group, now); err != nil {
		return err
	}
	return h.regroup(ctx, group)
}

// regroup asks the Directory anew and gives the group's watchers what they have now.
func (h *Hub) regroup(ctx context.Context, group string) error {
	h.groups.forget(group)
	patients, err := h.members(ctx, group)
	if err != nil {
		return err
	}
	for _, c := range h.connections(func(c *conn) bool { return slices.Contains(c.who.Groups, group) || h.opt.Authorizer != nil }) {
		c.regroup(ctx, group, patients)
	}
	return nil
}

// A Revocation ends access that was given. Principal is required.
type Revocation struct {
	Principal string
	Session   string    // "": all sessions
	Patients  []string  // none: everything; the connections are closed (3003)
	Until     time.Time // until when the old tokens are refused; zero: for a day
}

// Revoke ends access at once: what is still queued is not delivered, the
// principal is refused until the old tokens have run out, on every node, and
// alerts that the principal had accepted are escalated again.
func (h *Hub) Revoke(ctx context.Context, r Revocation) error {
	if !validName(r.Principal) {
		return invalid("principal", "required")
	}
	for i, p := range r.Patients {
		if !validPatient(p) {
			return invalid(indexed("patients", i), "must be an ID")
		}
	}
	now := h.now()
	if r.Until.IsZero() {
		r.Until = now.Add(24 * time.Hour)
	}
	h.revoke(r)
	sum := digest([]byte(r.Principal + "\x00" + r.Session))
	err := h.tellNodes(ctx, &Change{Kind: "revoked", Principal: r.Principal, Session: r.Session, Patients: r.Patients, Until: r.Until},
		"revoked/"+hexOf(sum), now)
	return errors.Join(err, h.loseAlerts(ctx, r))
}

// revoke carries a revocation out on this node.
func (h *Hub) revoke(r Revocation) {
	h.revoked.add(r)
	for _, c := range h.connections(func(c *conn) bool {
		return c.who.ID == r.Principal && (r.Session == "" || c.who.Session == r.Session)
	}) {
		if len(r.Patients) == 0 {
			c.forbid()
		}
		for _, p := range r.Patients {
			c.revokePatient(p)
		}
	}
}

// loseAlerts makes those alerts nobody's that the principal had accepted.
func (h *Hub) loseAlerts(ctx context.Context, r Revocation) error {
	if r.Session != "" {
		return nil // the person is still there
	}
	var errs []error
	for _, e := range h.index.all() {
		if e.Kind != KindAlert || len(r.Patients) > 0 && !slices.Contains(r.Patients, e.Patient) {
			continue
		}
		if a, err := decodeAlert(&e); err != nil || a.Responsibility.By.ID != r.Principal {
			continue
		} else if _, err := h.change(ctx, change{patient: a.Patient, key: a.Key, test: a.Test}, func(prev *Alert, now time.Time) (Alert, error) {
			if prev == nil {
				return Alert{}, ErrForbidden
			}
			next, ok := lose(prev, r.Principal, now)
			if !ok {
				return next, errUnchanged
			}
			return h.untold(next), nil
		}); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// tellNodes writes an access entry into the system's log, where every node sees it.
func (h *Hub) tellNodes(ctx context.Context, c *Change, key string, now time.Time) error {
	var e encoder
	c.encode(&e)
	for range 10 {
		rev := uint64(0)
		old, err := h.store.Get(ctx, System, "x/"+key)
		if err == nil {
			rev = old.Rev
			if c.Kind == "revoked" {
				c.add(&old)
				e.b = nil
				c.encode(&e)
			}
		} else if !errors.Is(err, ErrNotFound) {
			return unavailable(err)
		}
		_, err = h.append(ctx, Entry{Patient: System, Kind: KindAccess, Key: "x/" + key, Rev: rev + 1, Open: true, Due: c.Until, Audience: AudienceStaff,
			Sender: host, Time: now, Received: now, Data: e.b}, false)
		if !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return ErrBusy
}

// add keeps what an older revocation under the same key still covers.
func (c *Change) add(old *Entry) {
	ev, err := old.event()
	if err != nil || !old.Open || ev.Access == nil {
		return
	}
	o := ev.Access
	if o.Until.After(c.Until) {
		c.Until = o.Until
	}
	if len(o.Patients) == 0 || len(c.Patients) == 0 {
		c.Patients = nil
		return
	}
	for _, p := range o.Patients {
		if !slices.Contains(c.Patients, p) {
			c.Patients = append(c.Patients, p)
		}
	}
}

// apply carries out an access entry of the system's log, once for each revision.
func (h *Hub) apply(e *Entry) {
	ev, err := e.event()
	if err != nil || ev.Access == nil || e.Patient != System {
		return
	}
	switch c := ev.Access; c.Kind {
	case "revoked":
		if e.Open {
			h.revoke(Revocation{Principal: c.Principal, Session: c.Session, Patients: c.Patients, Until: c.Until})
		}
	case "members":
		if e.Open && e.Sender == host {
			h.wg.Go(func() { h.regroup(h.ctx, c.Group) })
		}
	}
}

// revocations are those that still count.
type revocations struct {
	mu   sync.Mutex
	list []Revocation
}

func (r *revocations) add(v Revocation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.list = slices.DeleteFunc(r.list, func(o Revocation) bool { return o.Until.Before(now) })
	r.list = append(r.list, v)
}

// covers reports whether p's access to patient ("": to anything) has ended.
func (r *revocations) covers(p *Principal, patient string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.list {
		v := &r.list[i]
		if v.Principal == p.ID && (v.Session == "" || v.Session == p.Session) && v.Until.After(now) &&
			(len(v.Patients) == 0 || patient != "" && slices.Contains(v.Patients, patient)) {
			return true
		}
	}
	return false
}

func hexOf(sum [16]byte) string {
	const digits = "0123456789abcdef"
	b := make([]byte, 0, 32)
	for _, c := range sum {
		b = append(b, digits[c>>4], digits[c&15])
	}
	return string(b)
}
