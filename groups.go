package carewire

import (
	"context"
	"maps"
	"sync"
	"time"
)

// groups remembers for a minute which patients a group has.
type groups struct {
	directory Directory // nil: groups have no patients
	call      *hostCall

	mu   sync.Mutex
	byID map[string]*group
	// compared holds the patients of groups that have any, as of the last
	// comparison.
	compared map[string]map[string]bool
}

type group struct {
	asking   chan struct{} // held to ask the Directory, and to use the fields below
	patients map[string]bool
	until    time.Time
	failed   time.Time // when the Directory last did not answer
}

const (
	groupsKept = time.Minute
	groupsMost = 10000
	failedFor  = time.Second // after a failed answer, those who waited for it do not ask again
)

func newGroups(d Directory, call *hostCall) *groups {
	return &groups{directory: d, call: call, byID: make(map[string]*group), compared: make(map[string]map[string]bool)}
}

// members returns the patients of a group.
func (x *groups) members(ctx context.Context, name string) (map[string]bool, error) {
	if x.directory == nil {
		return nil, nil
	}
	x.mu.Lock()
	g := x.byID[name]
	if g == nil {
		x.sweep()
		g = &group{asking: make(chan struct{}, 1)}
		x.byID[name] = g
	}
	x.mu.Unlock()
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
	list, err := callHost(ctx, x.call, func(ctx context.Context) ([]string, error) {
		return x.directory.Patients(ctx, name)
	})
	if err != nil {
		g.failed = time.Now()
		return nil, ErrUndecided
	}
	if len(list) == 0 { // a client may have made the name up
		x.forget(name)
	}
	g.patients, g.until = make(map[string]bool, len(list)), time.Now().Add(groupsKept)
	for _, p := range list {
		if validID(p) {
			g.patients[p] = true
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch known := x.compared[name]; {
	case known != nil: // a patient who has left may come back, and another node may be told of that
		x.compared[name] = bothHave(known, g.patients)
	case len(g.patients) > 0:
		x.compared[name] = g.patients
	}
	return g.patients, nil
}

func bothHave(a, b map[string]bool) map[string]bool {
	both := maps.Clone(a)
	maps.DeleteFunc(both, func(patient string, _ bool) bool { return !b[patient] })
	return both
}

// sweep forgets groups that nobody has asked for lately, once there are many: an
// Authorizer may let clients name any. Under x.mu.
func (x *groups) sweep() {
	if len(x.byID) < groupsMost {
		return
	}
	for name, g := range x.byID {
		select {
		case g.asking <- struct{}{}:
			if time.Now().After(g.until) {
				delete(x.byID, name)
			}
			<-g.asking
		default: // being asked for
		}
	}
	if len(x.byID) >= groupsMost { // all were used this minute
		clear(x.byID)
	}
}

// forget makes the next look at a group ask the Directory.
func (x *groups) forget(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.byID, name)
}

// MembersChanged reports that a group's patients have changed. This and every
// other node ask the Directory again, and tell the watchers of the group which
// patients were granted and which revoked. The open alerts of patients who came to
// the group begin their steps anew, so that the team that is responsible now is
// told. If this node has not asked for the group since it started, it takes all
// of its patients to have come. ErrUndecided means that the Directory did not
// answer; nodes try again within a minute.
func (h *Hub) MembersChanged(ctx context.Context, group string) error {
	if !validID(group) {
		return invalid("group", "must be an ID")
	}
	h.access.groups.compareNext(group)
	now := h.now()
	if _, err := h.changes.tellNodes(ctx, &AccessChange{Kind: "members", Group: group, Until: now.Add(time.Minute)}, "x/members/"+group, func(*Entry) time.Time { return now }); err != nil {
		return err
	}
	if err := h.changes.regroup(ctx, group); err != nil {
		return err
	}
	in, err := h.access.groups.members(ctx, group)
	if err != nil {
		return err
	}
	if err := h.changes.moveAlerts(ctx, h.access.groups.newTo(group, in)); err != nil {
		return err
	}
	h.access.groups.noteCompared(group, in)
	return nil
}

// compareNext has the next comparison count all patients of a group as new, if the
// node does not know the group yet. It cannot tell which ones are new.
func (x *groups) compareNext(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.compared[name] == nil {
		x.compared[name] = make(map[string]bool)
	}
}

// newTo returns those patients that a group did not have at the last comparison.
func (x *groups) newTo(name string, now map[string]bool) (came []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for patient := range now {
		if !x.compared[name][patient] {
			came = append(came, patient)
		}
	}
	return came
}

// noteCompared notes that the alerts of all new patients have begun their steps anew.
func (x *groups) noteCompared(name string, now map[string]bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.compared[name] = now
}
