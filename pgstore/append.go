package pgstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/carewire/carewire"
)

// request is one Append on its way to a writer.
type request struct {
	ctx   context.Context
	items []item
	err   error
	done  chan struct{} // closed when the items have their results, or err is there
}

// item is an entry to be written, which shares no slice with the caller, and
// its result.
type item struct {
	carewire.Entry
	epoch, part int32 // where it is kept
	result      carewire.AppendResult
}

const (
	maxName  = 800      // bytes in a patient, key, sender or ID: three fit into an index
	maxData  = 16 << 20 // bytes in Data and To together
	maxFlush = 1024     // entries that share a commit, unless one Append has more
)

var (
	errTooLong = fmt.Errorf("pgstore: an entry is too long: Patient, Key, Sender and ID may have %d bytes each, Data and To %d", maxName, maxData)
	errText    = errors.New("pgstore: Patient, Key, Sender, ID and To must be UTF-8 without NUL")
	errTime    = errors.New("pgstore: a time is out of the range that PostgreSQL keeps")
)

// Append implements [carewire.Store]. Appends that come at the same time share
// a transaction. If ctx ends while the batch waits for its turn nothing is
// written; if it ends while it is being written, its outcome is unknown. An
// error of the database matches ErrUnknownOutcome, and a *ServerError if the
// server has answered. An entry that PostgreSQL cannot keep is refused alone:
// one with a name of more than 800 bytes or that is not UTF-8, with more than
// 16 MiB, or with a time before the year -4712 or after 9999.
func (s *Store) Append(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	r := &request{ctx: ctx, items: make([]item, len(entries)), done: make(chan struct{})}
	for i := range entries {
		it := &r.items[i]
		it.Entry = entries[i]
		it.To, it.Data = slices.Clone(it.To), bytes.Clone(it.Data)
		it.Due, it.Time, it.Received = micros(it.Due), micros(it.Time), micros(it.Received)
		it.result.Err = keepable(&it.Entry)
	}
	select {
	case s.queue <- r:
	case <-s.closing:
		return nil, carewire.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if r.err != nil {
		return nil, r.err
	}
	results := make([]carewire.AppendResult, len(entries))
	for i := range r.items {
		results[i] = r.items[i].result
	}
	return results, nil
}

// micros is t as it is kept.
func micros(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

// keepable returns why PostgreSQL cannot keep an entry.
func keepable(e *carewire.Entry) error {
	names := []string{e.Patient, e.Key, e.Sender, e.ID}
	size := len(e.Data)
	for _, name := range names {
		if len(name) > maxName {
			return errTooLong
		}
	}
	for _, to := range e.To {
		size += len(to)
	}
	if size > maxData {
		return errTooLong
	}
	for _, name := range append(names, e.To...) {
		if !utf8.ValidString(name) || strings.IndexByte(name, 0) >= 0 {
			return errText
		}
	}
	for _, t := range []time.Time{e.Due, e.Time, e.Received} {
		if t.Year() < -4711 || t.Year() > 9999 {
			return errTime
		}
	}
	return nil
}

// write is a writer: it takes all requests that wait and commits them
// together, until the store closes.
func (s *Store) write() {
	for {
		select {
		case r := <-s.queue:
			batch := s.drain(r)
			s.flush(batch)
			for _, r := range batch {
				close(r.done)
			}
		case <-s.closing:
			return
		}
	}
}

// drain returns r and those that wait behind it.
func (s *Store) drain(r *request) []*request {
	batch := []*request{r}
	for n := len(r.items); n < maxFlush; n += len(r.items) {
		select {
		case r = <-s.queue:
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// errNewEpoch means that the server is not the one that wrote the last epoch.
var errNewEpoch = errors.New("pgstore: a new epoch is to begin")

// vitalsWait is how long vitals are refused after the server had no room, so
// that other entries get new room first.
const vitalsWait = 5 * time.Second

// room returns the entries to be refused without a try.
func (s *Store) room() fullness {
	if at := s.fullAt.Load(); at != 0 && time.Since(time.Unix(0, at)) < vitalsWait {
		return noVitals
	}
	return hasRoom
}

// flush writes the batch in one transaction and gives every item its result,
// or every request its error.
func (s *Store) flush(batch []*request) {
	var items []*item
	var live []*request
	for _, r := range batch {
		if r.err = r.ctx.Err(); r.err != nil {
			continue
		}
		live = append(live, r)
		for i := range r.items {
			if it := &r.items[i]; it.result.Err == nil {
				items = append(items, it)
			}
		}
	}
	if len(items) == 0 {
		return
	}
	// Not a caller's context: when one caller gives up, the others still wait.
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	full := s.room()
	err := s.transact(ctx, items, full)
	if errors.Is(err, errNewEpoch) {
		if err = s.startEpoch(ctx, false); err == nil {
			err = s.transact(ctx, items, full)
		}
	}
	if isLocked(err) {
		s.endLost(ctx)
	}
	for ; isFull(err) && full < noRoomAtAll; err = s.transact(ctx, items, full) {
		full++ // in the end an entry that is in the log already is still answered so
		s.fullAt.Store(time.Now().UnixNano())
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", carewire.ErrUnknownOutcome, failure("append", err))
		for _, r := range live {
			r.err = err
		}
		return
	}
	var grown []string
	for _, it := range items {
		if it.result.Err == nil && !it.result.Repeated {
			grown = append(grown, it.Patient)
		}
	}
	if len(grown) > 0 {
		s.committed.add(grown)
	}
}
