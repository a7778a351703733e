package carewire

import (
	"context"
	"slices"
	"sync"
	"time"
)

// decide says for each patient why p may not do this; nil for those where p may.
func (h *Hub) decide(ctx context.Context, p *Principal, action Action, patients []string) map[string]error {
	refused := make(map[string]error, len(patients))
	for patient, r := range h.rights(ctx, Access{Principal: *p, Action: action, Patients: patients}) {
		refused[patient] = r.err
	}
	return refused
}

// A right is what was decided for one patient.
type right struct {
	err       error     // ErrForbidden or ErrUndecided; nil: granted
	until     time.Time // zero: until it is asked for again
	emergency bool      // granted because a was an emergency
}

// rights has an Access decided, with one call of the Authorizer for all
// patients, and one more for an emergency.
func (h *Hub) rights(ctx context.Context, a Access) map[string]right {
	rights := make(map[string]right, len(a.Patients))
	switch {
	case len(a.Patients) == 0:
		return rights
	case a.Principal.Actions != nil && !slices.Contains(a.Principal.Actions, a.Action):
		for _, patient := range a.Patients {
			rights[patient] = right{err: ErrForbidden}
		}
		return rights
	case h.opt.Authorizer == nil:
		for _, patient := range a.Patients {
			rights[patient] = right{err: h.byRule(ctx, &a.Principal, a.Action, patient)}
		}
	default:
		ordinary := a
		ordinary.Emergency, ordinary.Reason = false, ""
		h.ask(ctx, ordinary, rights)
		h.askEmergency(ctx, a, rights)
	}
	now := h.now()
	for _, patient := range a.Patients {
		if h.revoked.covers(&a.Principal, patient, now) {
			rights[patient] = right{err: ErrForbidden}
		}
	}
	return rights
}

// ask puts the Authorizer's decisions into rights.
func (h *Hub) ask(ctx context.Context, a Access, rights map[string]right) {
	list, err := callHost(ctx, h.calls.authorize, func(ctx context.Context) ([]Decision, error) {
		c := a
		c.Patients = slices.Clone(a.Patients)
		return h.opt.Authorizer.Authorize(ctx, c)
	})
	now := h.now()
	for i, patient := range a.Patients {
		switch {
		case err != nil || len(list) != len(a.Patients):
			rights[patient] = right{err: ErrUndecided}
		case !list[i].Allow || !list[i].Until.IsZero() && !list[i].Until.After(now):
			rights[patient] = right{err: ErrForbidden}
		default:
			rights[patient] = right{until: list[i].Until}
		}
	}
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
	asking   chan struct{} // holds one who reads and writes what follows, and may ask the Directory
	patients map[string]bool
	until    time.Time
	failed   time.Time // when the Directory last did not answer
}

const (
	groupsKept = time.Minute
	failedFor  = time.Second // those who waited for an answer that failed do not each ask again
)

func (g *groups) init() { g.all = make(map[string]*group) }

// members returns the patients of a group.
func (h *Hub) members(ctx context.Context, name string) (map[string]bool, error) {
	if h.opt.Directory == nil {
		return nil, nil
	}
	h.groups.mu.Lock()
	g := h.groups.all[name]
	if g == nil {
		g = &group{asking: make(chan struct{}, 1)}
		h.groups.all[name] = g
	}
	h.groups.mu.Unlock()
	select {
	case g.asking <- struct{}{}:
		defer func() { <-g.asking }()
	case <-ctx.Done():
		return nil, ErrUndecided
	}
	if g.patients != nil && time.Now().Before(g.until) {
		return g.patients, nil
	}
	if !g.failed.IsZero() && time.Since(g.failed) < failedFor {
		return nil, ErrUndecided
	}
	list, err := callHost(ctx, h.calls.directory, func(ctx context.Context) ([]string, error) {
		return h.opt.Directory.Patients(ctx, name)
	})
	if err != nil {
		g.failed = time.Now()
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
	if err := h.tellNodes(ctx, &AccessChange{Kind: "members", Group: group, Until: now.Add(time.Minute)}, "members/"+group, now); err != nil {
		return err
	}
	return h.regroup(ctx, group)
}

// regroup asks the Directory anew and gives those who watch what they have now.
func (h *Hub) regroup(ctx context.Context, group string) error {
	h.groups.forget(group)
	_, err := h.members(ctx, group)
	if err != nil {
		return err
	}
	h.generation.Add(1)
	var wg sync.WaitGroup
	for _, c := range h.registry.list() {
		if h.opt.Authorizer != nil || slices.Contains(c.who.Groups, group) {
			wg.Go(func() { c.recheck(ctx) })
		}
	}
	wg.Wait()
	return nil
}
