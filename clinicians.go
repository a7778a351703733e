package carewire

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

const (
	cliniciansKept = 20000
	membersAsked   = 16 // of a group that an alert is given to
)

// noToken is the Issued time of a Principal that stands for a person instead of
// a token. The end of sessions does not concern it.
var noToken = time.Date(9998, 1, 1, 0, 0, 0, 0, time.UTC)

// clinicians remembers the last Principal that was seen of each clinician, from
// connections and answers: rights are asked for them when they are not there.
type clinicians struct {
	host func(context.Context, string) (Principal, error) // Options.Person; nil: nobody else is known
	call *hostCall

	now func() time.Time

	mu    sync.Mutex
	known map[string]seenClinician
	order []string
}

// A seenClinician is a Principal, and when it was seen last.
type seenClinician struct {
	Principal
	at time.Time
}

func newClinicians(host func(context.Context, string) (Principal, error), call *hostCall, now func() time.Time) *clinicians {
	return &clinicians{host: host, call: call, now: now, known: make(map[string]seenClinician)}
}

// remember remembers a clinician as their session describes them.
func (x *clinicians) remember(p *Principal) {
	if !p.mayAnswer() {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, ok := x.known[p.ID]; !ok {
		if x.order = append(x.order, p.ID); len(x.order) > cliniciansKept {
			delete(x.known, x.order[0])
			x.order = x.order[1:]
		}
	}
	x.known[p.ID] = seenClinician{*p, x.now()}
}

// find returns the Principal with an ID: as the host names it, else as it was
// seen last. Somebody who was never seen is a clinician without patients, and
// somebody whom the host refuses or does not know has no role.
func (x *clinicians) find(ctx context.Context, id string) (Principal, error) {
	if x.host != nil {
		p, err := callHost(ctx, x.call, func(ctx context.Context) (Principal, error) { return x.host(ctx, id) })
		if errors.Is(err, ErrForbidden) || errors.Is(err, ErrNotFound) {
			return Principal{ID: id}, nil // without a role, nothing is allowed
		}
		if err != nil || p.ID != id || !p.valid() {
			return Principal{}, ErrUndecided
		}
		p.Issued = noToken
		return p, nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	p, ok := x.known[id]
	if !ok {
		return Principal{ID: id, Role: RoleClinician}, nil
	}
	return p.Principal, nil
}

// ofGroup returns some of the clinicians that were seen as members of a group, the
// last ones first.
func (x *clinicians) ofGroup(group string) (list []Principal) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, id := range slices.Backward(x.order) {
		if p := x.known[id]; slices.Contains(p.Groups, group) && len(list) < membersAsked {
			list = append(list, p.Principal)
		}
	}
	return list
}

// since returns from when on this node knows a person as they are: always if the host
// names them. ok is false if it does not know them.
func (x *clinicians) since(id string) (at time.Time, ok bool) {
	if x.host != nil {
		return noToken, true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	p, ok := x.known[id]
	return p.at, ok
}

// A holder is what entitled a person to accept an alert, kept with the alert: a node
// that has not seen the person asks by it whether they may still answer.
type holder struct {
	listed bool     // the patient was listed for them by name
	groups []string // their groups, at most groupsHeld
}

const groupsHeld = 64

// newHolder returns nil if p has groups that cannot be kept: any of them may entitle.
func newHolder(p *Principal, patient string) *holder {
	if len(p.Groups) > groupsHeld || slices.ContainsFunc(p.Groups, func(g string) bool { return !validID(g) }) {
		return nil
	}
	return &holder{listed: slices.Contains(p.Patients, patient), groups: slices.Clone(p.Groups)}
}

// acceptedAs returns the person who has accepted a, with what entitled them; nil
// if that is not known.
func (a *Alert) acceptedAs() *Principal {
	h, by := a.Escalation.holder, a.Responsibility.By
	if h == nil {
		return nil
	}
	p := &Principal{ID: by.ID, Name: by.Name, Role: by.Role, Groups: h.groups, Issued: noToken}
	if h.listed {
		p.Patients = []string{a.Patient}
	}
	return p
}

func (h *holder) encode(e *encoder) {
	if h != nil {
		e.object("holder", func() {
			e.bool("listed", h.listed)
			e.strings("groups", h.groups)
		})
	}
}

func decodeHolder(s *scanner) *holder {
	h := &holder{}
	s.object(func(name []byte) bool {
		switch string(name) {
		case "listed":
			h.listed = s.bool()
		case "groups":
			h.groups = s.strings(groupsHeld)
		default:
			return false
		}
		return true
	})
	return h
}
