package fhir

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/carewire/carewire"
)

const (
	countPage = 500    // entries read at a time
	markEvery = 1000   // events from one remembered count to the next
	markSaved = 5000   // and from one that the Store keeps to the next
	marksMost = 10_000 // subscriptions whose counts are remembered here
)

// subscriptions keeps subscriptions in the Store, as entries of the log @system
// that nobody is shown, and remembers how far each was counted.
type subscriptions struct {
	s     *Server
	mu    sync.Mutex
	marks map[string]marks
}

// marks are how far a count of a subscription's events has come at some times.
type marks struct {
	count string // subscription.Count
	list  []tally
}

// A tally is how many events a subscription had up to a number of its log.
type tally struct{ N, Seq uint64 }

func (x *subscriptions) init(s *Server) { x.s, x.marks = s, make(map[string]marks) }

const (
	subscriptionKey = "fhir/subscription/"
	ownerKey        = "fhir/owner/"
	hooksKey        = "fhir/hooks"
	leaseKey        = "fhir/lease/"
)

var (
	errPruned   = errors.New("fhir: events are no longer kept")
	errRestored = errors.New("fhir: the log was restored")
)

// load reads the Store's value of a key into v; rev is 0 if there is nothing.
func (x *subscriptions) load(ctx context.Context, key string, v any) (rev uint64, err error) {
	e, err := x.s.store.Get(ctx, carewire.SystemPatient, key)
	switch {
	case errors.Is(err, carewire.ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, carewire.ErrUnavailable
	case !e.Open:
		return e.Rev, carewire.ErrNotFound
	}
	if json.Unmarshal(e.Data, v) != nil {
		return e.Rev, carewire.ErrUnavailable
	}
	return e.Rev, nil
}

// save writes v as the revision after rev, and returns ErrConflict if somebody
// else was first. A nil v closes the key.
func (x *subscriptions) save(ctx context.Context, key string, rev uint64, v any) error {
	now := time.Now().UTC()
	e := carewire.Entry{Patient: carewire.SystemPatient, Kind: carewire.KindTimer, Key: key, Rev: rev + 1, Open: v != nil, Audience: carewire.AudienceNamed,
		Sender: "@fhir", Time: now, Received: now, Data: []byte("{}")}
	if v != nil {
		data, err := json.Marshal(v)
		if err != nil {
			return err
		}
		e.Data = data
	}
	list, err := x.s.store.Append(ctx, []carewire.Entry{e})
	switch {
	case err != nil || len(list) != 1:
		return carewire.ErrUnknownOutcome
	case errors.Is(list[0].Err, carewire.ErrConflict), errors.Is(list[0].Err, carewire.ErrFull):
		return list[0].Err
	case list[0].Err != nil:
		return carewire.ErrUnavailable
	}
	return nil
}

// get returns a subscription; errNotFound if there is none.
func (x *subscriptions) get(ctx context.Context, id string) (*subscription, error) {
	if !validLogicalID(id) {
		return nil, errNotFound
	}
	sub := new(subscription)
	rev, err := x.load(ctx, subscriptionKey+id, sub)
	if rev == 0 && err == nil || errors.Is(err, carewire.ErrNotFound) {
		return nil, errNotFound
	}
	sub.rev = rev
	return sub, err
}

// put writes a subscription that was got or is new.
func (x *subscriptions) put(ctx context.Context, sub *subscription) error {
	err := x.save(ctx, subscriptionKey+sub.ID, sub.rev, sub)
	if err == nil {
		sub.rev++
	}
	return err
}

// change sets the members of a subscription that f changes, again if somebody
// else was first.
func (x *subscriptions) change(ctx context.Context, id string, f func(*subscription)) (*subscription, error) {
	for {
		sub, err := x.get(ctx, id)
		if err != nil {
			return nil, err
		}
		f(sub)
		if err := x.put(ctx, sub); !errors.Is(err, carewire.ErrConflict) {
			return sub, err
		}
	}
}

// index changes a list of IDs that the Store keeps.
func (x *subscriptions) index(ctx context.Context, key string, f func([]string) ([]string, error)) error {
	for {
		var list []string
		rev, err := x.load(ctx, key, &list)
		if err != nil {
			return err
		}
		if list, err = f(list); err != nil {
			return err
		}
		if list == nil {
			list = []string{}
		}
		if err := x.save(ctx, key, rev, list); !errors.Is(err, carewire.ErrConflict) {
			return err
		}
	}
}

// list returns the IDs that the Store keeps under a key.
func (x *subscriptions) list(ctx context.Context, key string) (list []string, err error) {
	_, err = x.load(ctx, key, &list)
	return list, err
}

// create gives a subscription its ID and keeps it. It is written before the list
// of its owner names it. So after any failure, a name that stands for nothing is
// of one that is gone, and takes no place.
func (x *subscriptions) create(ctx context.Context, sub *subscription) error {
	key := ownerKey + digestID(sub.Owner.ID)
	room := func(list []string) (_ []string, err error) {
		if len(list) >= x.s.opt.MaxSubscriptions {
			list, err = x.existing(ctx, list)
		}
		if err == nil && len(list) >= x.s.opt.MaxSubscriptions {
			err = fail(429, "too-costly", "too many subscriptions: delete some")
		}
		return list, err
	}
	list, err := x.list(ctx, key)
	if err != nil {
		return err
	}
	if _, err := room(list); err != nil {
		return err
	}
	sub.ID = rand.Text()
	if err := x.put(ctx, sub); err != nil {
		return err
	}
	err = x.index(ctx, key, func(list []string) ([]string, error) {
		list, err := room(list) // others may have been created meanwhile
		return append(list, sub.ID), err
	})
	if err == nil && sub.Channel == channelHook {
		err = x.index(ctx, hooksKey, func(list []string) ([]string, error) { return append(list, sub.ID), nil })
	}
	if err != nil {
		x.save(ctx, subscriptionKey+sub.ID, sub.rev, nil) // if this fails too, it stays, and nobody knows its ID
		return err
	}
	return nil
}

// existing returns those IDs whose subscriptions exist.
func (x *subscriptions) existing(ctx context.Context, ids []string) (list []string, err error) {
	for _, id := range ids {
		switch _, err := x.get(ctx, id); {
		case err == nil:
			list = append(list, id)
		case !errors.Is(err, errNotFound):
			return nil, err
		}
	}
	return list, nil
}

// remove deletes a subscription. That the lists still name it does no harm, so
// they may fail: create clears the list of its owner, and postHooks that of hooks.
func (x *subscriptions) remove(ctx context.Context, sub *subscription) error {
	if err := x.save(ctx, subscriptionKey+sub.ID, sub.rev, nil); err != nil {
		return err
	}
	x.mu.Lock()
	delete(x.marks, sub.ID)
	x.mu.Unlock()
	x.unlist(ctx, ownerKey+digestID(sub.Owner.ID), sub.ID)
	return nil
}

// unlist takes an ID out of a list.
func (x *subscriptions) unlist(ctx context.Context, key, id string) {
	x.index(ctx, key, func(list []string) ([]string, error) {
		return slices.DeleteFunc(list, func(listed string) bool { return listed == id }), nil
	})
}

// forgetHook clears away the rest of a deleted subscription. Where that fails,
// the list names the subscription, and postHooks comes to it again.
func (x *subscriptions) forgetHook(ctx context.Context, id string) {
	var l lease
	rev, err := x.load(ctx, leaseKey+id, &l)
	if err == nil && rev > 0 {
		err = x.save(ctx, leaseKey+id, rev, nil)
	}
	if err == nil || errors.Is(err, carewire.ErrNotFound) {
		x.unlist(ctx, hooksKey, id)
	}
}

// begin has a subscription's events counted from the end of the log as it is now.
func (x *subscriptions) begin(ctx context.Context, sub *subscription) error {
	heads, err := x.s.store.Heads(ctx, []string{sub.Patient})
	if err != nil || len(heads) != 1 {
		return carewire.ErrUnavailable
	}
	sub.Start, sub.Mark, sub.Count = heads[0].Position, tally{Seq: heads[0].Seq}, rand.Text()
	return nil
}

// before returns a count from which event number n can be counted.
func (x *subscriptions) before(sub *subscription, n uint64) tally {
	best := tally{Seq: sub.Start.Seq}
	x.mu.Lock()
	defer x.mu.Unlock()
	list := []tally{sub.Mark}
	if m := x.marks[sub.ID]; m.count == sub.Count {
		list = append(list, m.list...)
	}
	for _, t := range list {
		if t.N < n && t.N >= best.N && t.Seq >= best.Seq {
			best = t
		}
	}
	return best
}

// note remembers a count, and has the Store keep one from time to time.
func (x *subscriptions) note(ctx context.Context, sub *subscription, t tally) {
	x.mu.Lock()
	var list []tally
	if m := x.marks[sub.ID]; m.count == sub.Count {
		list = m.list
	}
	if n := len(list); n > 1 && t.N < list[n-2].N+markEvery {
		list[n-1] = t
	} else if n == 0 || t.N > list[n-1].N {
		list = append(list, t)
	}
	if len(list) > markEvery {
		list = list[len(list)/2:]
	}
	if _, known := x.marks[sub.ID]; !known && len(x.marks) >= marksMost {
		for id := range x.marks { // any: it is counted again where it is asked for
			delete(x.marks, id)
			break
		}
	}
	x.marks[sub.ID] = marks{sub.Count, list}
	x.mu.Unlock()
	if t.N >= sub.Mark.N+markSaved {
		sub.Mark = t
		x.change(ctx, sub.ID, func(stored *subscription) { // if this fails, more is counted again later
			if stored.Count == sub.Count {
				stored.Mark = t
			}
		})
	}
}

// count goes on from a tally to the end of the log and hands each event, with its
// number, to each, if that is not nil. If each returns an error, counting ends
// before that event.
func (x *subscriptions) count(ctx context.Context, sub *subscription, t tally, each func(carewire.Event, uint64) error) (tally, error) {
	heads, err := x.s.store.Heads(ctx, []string{sub.Patient})
	if err != nil || len(heads) != 1 {
		return t, carewire.ErrUnavailable
	}
	if h := heads[0]; h.Epoch != sub.Start.Epoch && (sub.Start.Epoch != "" || len(h.Epochs) > 1) || h.Seq < t.Seq {
		return t, errRestored
	}
	for {
		entries, err := x.s.store.Read(ctx, sub.Patient, carewire.Position{Epoch: sub.Start.Epoch, Seq: t.Seq},
			carewire.ReadQuery{Kinds: []carewire.Kind{sub.kind()}, Limit: countPage})
		switch {
		case errors.Is(err, carewire.ErrGap):
			return t, errPruned
		case err != nil:
			return t, carewire.ErrUnavailable
		}
		for i := range entries {
			ev, ok := eventOf(&entries[i])
			next := tally{t.N, entries[i].Seq}
			if ok && sub.matches(ev) {
				next.N++
				if each != nil {
					if err := each(ev, next.N); err != nil {
						return t, err
					}
				}
			}
			t = next
		}
		if len(entries) < countPage {
			return t, nil
		}
	}
}

// eventOf reads an entry; false if it tells nobody anything.
func eventOf(e *carewire.Entry) (carewire.Event, bool) {
	ev := carewire.Event{Patient: e.Patient, Position: e.Position, Must: e.Must}
	var err error
	switch {
	case e.Kind == carewire.KindVital:
		ev.Type, ev.Vital = carewire.EventVital, new(carewire.Vital)
		err = ev.Vital.UnmarshalJSON(e.Data)
	case e.Kind == carewire.KindAlert:
		ev.Type, ev.Alert = carewire.EventAlert, new(carewire.Alert)
		err = ev.Alert.UnmarshalJSON(e.Data)
	case e.Kind == carewire.KindNotice && e.Rev <= 1:
		ev.Type, ev.Notice = carewire.EventNotice, new(carewire.Notice)
		err = ev.Notice.UnmarshalJSON(e.Data)
	default:
		return ev, false
	}
	return ev, err == nil
}
