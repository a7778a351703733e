package spread

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/carewire/carewire"
)

// ErrMembers means that the given members are not those of one Store: one is
// missing, belongs to another Store, has another member's name, or is new and
// not empty.
var ErrMembers = errors.New("spread: these are not the members of one Store")

const (
	tableLog  = "@spread" // the log of each member that holds its membership
	tableKey  = "table"
	memberKey = "member"
)

// table says which member has each part. Nobody changes one that is in use.
type table struct {
	Store   string   // the ID of the Store
	Members []string // their names
	Owners  []int    // of each part: which of Members has it; the last is that of "@system"

	rev   uint64 // of the entry that it was read from
	owner []int  // Owners as indices into Store.members
}

// membership is kept by each member: the names of the Store and of the member.
type membership struct{ Store, Name string }

func usableMembers(members []Member) error {
	if len(members) == 0 || len(members) > maxMembers {
		return fmt.Errorf("%w: there must be 1 to %d", ErrMembers, maxMembers)
	}
	names := map[string]bool{}
	for _, m := range members {
		if m.Name == "" || len(m.Name) > 64 || names[m.Name] {
			return fmt.Errorf("%w: each needs a name of its own, of 1 to 64 bytes", ErrMembers)
		}
		names[m.Name] = true
		_, prunes := m.Store.(carewire.Pruner)
		if _, erases := m.Store.(carewire.Eraser); !prunes || !erases {
			return fmt.Errorf("%w: %q is no Pruner and Eraser", ErrMembers, m.Name)
		}
	}
	return nil
}

// openTable finds the table, or makes it, and sees that the members belong to it.
func (s *Store) openTable(ctx context.Context, parts int) error {
	found, err := s.findTable(ctx)
	if err == nil && found == nil {
		found, err = s.makeTable(ctx, parts)
	}
	if err == nil {
		found, err = s.addMembers(ctx, found)
	}
	if err == nil {
		err = s.use(found)
	}
	if err != nil {
		return err
	}
	for _, m := range s.members {
		if err := m.join(ctx, found.Store); err != nil {
			return err
		}
	}
	return nil
}

// findTable looks for the table at all members, and returns nil if there is none.
func (s *Store) findTable(ctx context.Context) (*table, error) {
	var found *table
	for i, m := range s.members {
		t, err := readTable(ctx, m.Store)
		if errors.Is(err, carewire.ErrNotFound) {
			continue
		}
		if err == nil && found != nil {
			err = fmt.Errorf("%w: %q and %q each have a table", ErrMembers, s.members[s.home].Name, m.Name)
		}
		if err != nil {
			return nil, err
		}
		found, s.home = t, i
	}
	return found, nil
}

// makeTable makes the table at the member with the first name, in any order of
// the members, unless another node is faster.
func (s *Store) makeTable(ctx context.Context, parts int) (*table, error) {
	t := &table{Store: rand.Text(), Owners: make([]int, parts+1)}
	for i, m := range s.members {
		if _, err := readMembership(ctx, m.Store); !errors.Is(err, carewire.ErrNotFound) {
			return nil, errors.Join(fmt.Errorf("%w: %q belongs to another one, or the member with the table is missing", ErrMembers, m.Name), err)
		}
		if len(s.members) > 1 {
			if err := m.empty(ctx); err != nil {
				return nil, err
			}
		}
		t.Members = append(t.Members, s.members[i].Name)
	}
	for part := range parts {
		t.Owners[part] = part % len(s.members)
	}
	s.home = slices.IndexFunc(s.members, func(m Member) bool { return m.Name == slices.Min(t.Members) })
	t.Owners[parts] = s.home
	if err := s.write(ctx, t); !errors.Is(err, carewire.ErrConflict) {
		return t, err
	}
	return readTable(ctx, s.members[s.home].Store)
}

// addMembers puts members that are new into the table, without parts.
func (s *Store) addMembers(ctx context.Context, t *table) (*table, error) {
	for {
		next := *t
		next.Members = slices.Clone(t.Members)
		for _, m := range s.members {
			if slices.Contains(t.Members, m.Name) {
				continue
			}
			if err := m.empty(ctx); err != nil {
				return nil, err
			}
			next.Members = append(next.Members, m.Name)
		}
		if len(next.Members) == len(t.Members) {
			return t, nil
		}
		err := s.write(ctx, &next)
		if err == nil {
			return &next, nil
		}
		if !errors.Is(err, carewire.ErrConflict) {
			return nil, err
		}
		if t, err = readTable(ctx, s.members[s.home].Store); err != nil {
			return nil, err
		}
	}
}

// use has the table count from now on, unless a newer one does.
func (s *Store) use(t *table) error {
	t.owner = make([]int, len(t.Owners))
	for part, i := range t.Owners {
		t.owner[part] = slices.IndexFunc(s.members, func(m Member) bool { return m.Name == t.Members[i] })
		if t.owner[part] < 0 {
			return fmt.Errorf("%w: %q has parts, and is missing", ErrMembers, t.Members[i])
		}
	}
	for {
		old := s.table.Load()
		if old != nil && old.rev >= t.rev || s.table.CompareAndSwap(old, t) {
			return nil
		}
	}
}

// refresh reads the table again.
func (s *Store) refresh(ctx context.Context) error {
	t, err := readTable(ctx, s.members[s.home].Store)
	if err == nil {
		err = s.use(t)
	}
	return err
}

// write makes t the next revision of the table; ErrConflict: another was faster.
func (s *Store) write(ctx context.Context, t *table) error {
	t.rev++
	return put(ctx, s.members[s.home].Store, tableKey, t.rev, t)
}

func readTable(ctx context.Context, from carewire.Store) (*table, error) {
	t := &table{}
	var err error
	if t.rev, err = get(ctx, from, tableKey, t); err != nil {
		return nil, err
	}
	ok := t.Store != "" && len(t.Members) > 0 && len(t.Members) <= maxMembers && len(t.Owners) > 1 && len(t.Owners) <= maxParts+1
	for _, i := range t.Owners {
		ok = ok && i >= 0 && i < len(t.Members)
	}
	if !ok {
		return nil, errDamaged
	}
	return t, nil
}

func readMembership(ctx context.Context, from carewire.Store) (m membership, err error) {
	_, err = get(ctx, from, memberKey, &m)
	return m, err
}

// join notes at a member of which Store it is one, or sees that it is noted.
func (m *Member) join(ctx context.Context, store string) error {
	is := membership{store, m.Name}
	err := put(ctx, m.Store, memberKey, 1, is)
	if !errors.Is(err, carewire.ErrConflict) {
		return err
	}
	was, err := readMembership(ctx, m.Store)
	if err == nil && was != is {
		err = fmt.Errorf("%w: %q is another's, or has another name", ErrMembers, m.Name)
	}
	return err
}

// empty returns an error if it can be seen that a Store is in use.
func (m *Member) empty(ctx context.Context) error {
	system, err := m.Store.Heads(ctx, []string{carewire.SystemPatient})
	if err != nil {
		return err
	}
	changed, _, err := m.Store.Changed(ctx, "", 1)
	if err != nil {
		return err
	}
	waiting, err := m.Store.Waiting(ctx, time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC), 1)
	if err == nil && (len(system) != 1 || system[0].Seq > 0 || len(changed) > 0 || len(waiting) > 0) {
		err = fmt.Errorf("%w: %q is new, and not empty", ErrMembers, m.Name)
	}
	return err
}

var errDamaged = errors.New("spread: a member's copy of the table is damaged")

// get reads a member's value of a key of its own log, and its revision.
func get(ctx context.Context, from carewire.Store, key string, into any) (uint64, error) {
	e, err := from.Get(ctx, tableLog, key)
	if err == nil && json.Unmarshal(e.Data, into) != nil {
		err = errDamaged
	}
	return e.Rev, err
}

// put writes the next revision of a member's value under a key of its own log.
// It is an open timer without a time: no client sees it, and it is never
// pruned.
func put(ctx context.Context, to carewire.Store, key string, rev uint64, what any) error {
	data, err := json.Marshal(what)
	if err != nil {
		return err
	}
	now := time.Now()
	a, err := to.Append(ctx, []carewire.Entry{{Patient: tableLog, Kind: carewire.KindTimer, Key: key, Rev: rev, Open: true,
		Audience: carewire.AudienceNamed, Sender: tableLog, Time: now, Received: now, Data: data}})
	if err == nil && len(a) == 1 {
		err = a[0].Err
	}
	return err
}
