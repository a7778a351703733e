package carewire

import (
	"context"
	"errors"
	"time"
)

// logs appends to the patients' logs, and reads single entries of them.
type logs struct {
	store  *guardedStore
	now    func() time.Time
	append func(ctx context.Context, e Entry, quiet bool) (AppendResult, error)
}

// readAt reads one entry of a log. It does not matter whether later vitals are
// still kept.
func (l *logs) readAt(ctx context.Context, patient string, p Position, kind Kind) (Entry, error) {
	list, err := l.store.Read(ctx, patient, Position{p.Epoch, p.Seq - 1}, ReadQuery{Kinds: []Kind{kind}, Limit: 1})
	if err == nil && (len(list) != 1 || list[0].Seq != p.Seq) {
		err = ErrGap
	}
	if err != nil {
		return Entry{}, unavailable(err)
	}
	return list[0], nil
}

// known reports whether the Store has an event, by its ID, and where; ErrIDReused
// means that it has another one under it. The question goes the way of appends, so
// it comes after those of the same patient that are under way.
func (l *logs) known(ctx context.Context, e Entry) (at Position, yes bool, err error) {
	e.Rev = RevAsk
	r, err := l.append(ctx, e, true)
	if errors.Is(err, ErrConflict) || errors.Is(err, ErrFull) {
		err = nil
	}
	return r.Position, err == nil && r.Repeated, err
}

// newest reads the newest revision of a key; the zero Entry if there is none.
func (l *logs) newest(ctx context.Context, patient, key string) (Entry, error) {
	e, err := l.store.Get(ctx, patient, key)
	if errors.Is(err, ErrNotFound) {
		return Entry{}, nil
	}
	if err != nil {
		return Entry{}, unavailable(err)
	}
	return e, nil
}

// revise reads the newest revision of an entry, calls next to make the
// following one, and appends that. If another revision was appended meanwhile,
// it begins again. In the end it returns ErrBusy.
func (l *logs) revise(ctx context.Context, quiet bool, read func() (Entry, error), next func(old *Entry, now time.Time) (Entry, error)) (Entry, AppendResult, error) {
	for range 20 {
		old, err := read()
		if err != nil {
			return Entry{}, AppendResult{}, err
		}
		now := l.now()
		e, err := next(&old, now)
		if err != nil {
			return Entry{}, AppendResult{}, err
		}
		e.Rev, e.Received = old.Rev+1, now
		r, err := l.append(ctx, e, quiet)
		if !errors.Is(err, ErrConflict) {
			return e, r, err
		}
	}
	return Entry{}, AppendResult{}, ErrBusy
}

// unavailable returns the error for a failed read.
func unavailable(err error) error {
	if errors.Is(err, ErrGap) || errors.Is(err, ErrClosed) {
		return err
	}
	return ErrUnavailable
}
