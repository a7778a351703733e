package carewire

import (
	"context"
	"time"
)

const askedAtOnce = 64 // reads for clients under way at once

// askedReads are the reads that clients and the host ask for: missed events,
// pages of history. Their number at one time is limited, because appends, pages
// and the Hub's own reads need the Store too. Urgent reads go first. Their
// duration does not count for the Store's health.
type askedReads struct {
	store  Store
	now    func() time.Time
	places *places
}

func (r askedReads) read(ctx context.Context, urgency int, patient string, after Position, q ReadQuery) ([]Entry, error) {
	if !r.places.take(ctx, urgency) {
		return nil, ctx.Err()
	}
	defer r.places.give()
	e, err := r.store.Read(ctx, patient, after, q)
	return sound(e), plain(err)
}

func (r askedReads) latest(ctx context.Context, urgency int, patient string) ([]Entry, Head, error) {
	if !r.places.take(ctx, urgency) {
		return nil, Head{}, ctx.Err()
	}
	defer r.places.give()
	e, h, err := r.store.Latest(ctx, patient)
	return shown(sinceDischarge(sound(e)), r.now()), h, plain(err)
}

func (r askedReads) heads(ctx context.Context, patients []string) ([]Head, error) {
	if !r.places.take(ctx, 0) {
		return nil, ctx.Err()
	}
	defer r.places.give()
	h, err := r.store.Heads(ctx, patients)
	return h, plain(err)
}
