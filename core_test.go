package carewire

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A workbench has the core of a Hub on a Store, and no Hub. Its components are
// tested by themselves. Appended entries enter the index at once.
type workbench struct {
	*core
	t     *testing.T
	store Store

	mu     sync.Mutex
	raised []Raise // by raise
}

func newWorkbench(t *testing.T, store Store) *workbench {
	log := slog.New(slog.DiscardHandler)
	c := newClock(store, log)
	guarded := newGuardedStore(store, c.now, nil, new(histogram))
	b := &workbench{t: t, store: store}
	b.core = newCore(guarded, c, log, func(ctx context.Context, e Entry, quiet bool) (AppendResult, error) {
		r, err := guarded.Append(ctx, []Entry{e})
		if err != nil {
			return AppendResult{}, ErrUnknownOutcome
		}
		if r[0].Err == nil && !r[0].Repeated {
			e.Position, e.Must = r[0].Position, r[0].Must
			b.open.noteRevision(e, quiet)
		}
		return r[0], r[0].Err
	})
	t.Cleanup(b.stop)
	return b
}

// raise raises an alert, as the Hub does it for a component.
func (b *workbench) raise(ctx context.Context, r Raise) error {
	b.mu.Lock()
	b.raised = append(b.raised, r)
	b.mu.Unlock()
	return b.change(ctx, r.Patient, r.Key, r.Test, func(prev *Alert, now time.Time) (Alert, error) {
		return raiseAlert(prev, r, hostSender, now), nil
	})
}

// keys are the keys of the alerts that were raised, in order.
func (b *workbench) keys() (keys []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.raised {
		keys = append(keys, b.raised[i].Key)
	}
	return keys
}

func (b *workbench) change(ctx context.Context, patient, key string, test bool, f func(*Alert, time.Time) (Alert, error)) error {
	_, err := b.alerts.change(ctx, change{patient: patient, key: key, test: test, sender: hostSender}, f)
	return err
}

// alert returns the newest state of an alert.
func (b *workbench) alert(patient, key string) Alert {
	b.t.Helper()
	a, err := b.alerts.newest(context.Background(), change{patient: patient, key: key})
	require.NoError(b.t, err)
	require.NotNil(b.t, a, key)
	return *a
}

// entry returns the newest revision of a key.
func (b *workbench) entry(patient, key string) *Entry {
	b.t.Helper()
	e, err := b.logs.newest(context.Background(), patient, key)
	require.NoError(b.t, err)
	return &e
}

// accept has a nurse accept an alert for an hour.
func (b *workbench) accept(patient, key string) {
	b.t.Helper()
	require.NoError(b.t, b.change(context.Background(), patient, key, false, func(prev *Alert, now time.Time) (Alert, error) {
		return answerAlert(prev, Answer{Do: AnswerAccept, For: time.Hour}, Person{ID: "nurse"}, nil, now)
	}))
}
