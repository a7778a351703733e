package carewire

import (
	"cmp"
	"context"
	"time"
)

const askedAtOnce = 64 // reads for clients under way at once, at each member of a Spread

// askedReads are the reads that clients and the host ask for: missed events,
// pages of history. Their number at one time is limited, because appends, pages
// and the Hub's own reads need the Store too. Urgent reads go first. Their
// duration does not count for the Store's health.
type askedReads struct {
	store  *guardedStore
	now    func() time.Time
	places []*places // the places of each member
}

func newAskedReads(s *guardedStore, now func() time.Time) askedReads {
	r := askedReads{store: s, now: now}
	for range s.members {
		r.places = append(r.places, newPlaces(askedAtOnce))
	}
	return r
}

func (r askedReads) read(ctx context.Context, urgency int, patient string, after Position, q ReadQuery) ([]Entry, error) {
	places := r.places[r.store.memberOf(patient)]
	if !places.take(ctx, urgency) {
		return nil, ctx.Err()
	}
	defer places.give()
	e, err := r.store.Store.Read(ctx, patient, after, q)
	return withoutDamaged(e), packageError(err)
}

func (r askedReads) latest(ctx context.Context, urgency int, patient string) ([]Entry, Head, error) {
	places := r.places[r.store.memberOf(patient)]
	if !places.take(ctx, urgency) {
		return nil, Head{}, ctx.Err()
	}
	defer places.give()
	e, h, err := r.store.Store.Latest(ctx, patient)
	return withoutStale(sinceDischarge(withoutDamaged(e)), r.now()), h, packageError(err)
}

func (r askedReads) head(ctx context.Context, patient string) (Head, error) {
	places := r.places[r.store.memberOf(patient)]
	if !places.take(ctx, 0) {
		return Head{}, ctx.Err()
	}
	defer places.give()
	h, err := r.store.Store.Heads(ctx, []string{patient})
	if err != nil || len(h) != 1 {
		return Head{}, cmp.Or(packageError(err), errStore)
	}
	return h[0], nil
}
