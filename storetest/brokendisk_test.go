//go:build unix

package storetest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// onDisk is how RunDurable opens and harms a diskStore with wrong points.
func onDisk(wrong points) Durable {
	harm := func(set func(d *disk, on bool)) func(*testing.T, string, carewire.Store) func() {
		return func(_ *testing.T, _ string, s carewire.Store) func() {
			change := func(on bool) {
				d := s.(*diskStore)
				d.mu.Lock()
				defer d.mu.Unlock()
				set(&d.disk, on)
			}
			change(true)
			return func() { change(false) }
		}
	}
	return Durable{
		Place:  func(t *testing.T) string { return filepath.Join(t.TempDir(), "store") },
		Open:   func(place string) (carewire.Store, error) { return opened(openDisk(place, false, wrong)) },
		Locked: errLocked,
		Break:  harm(func(d *disk, on bool) { d.broken = on }),
		Failed: errFailed,
		Fill:   harm(func(d *disk, on bool) { d.full = on }), Reserve: true,
		Copy: func(t *testing.T, place string) func() {
			whole, err := os.ReadFile(place)
			require.NoError(t, err)
			return func() { require.NoError(t, os.WriteFile(place, whole, 0o600)) }
		},
		OpenCopy: func(place string) (carewire.Store, error) { return opened(openDisk(place, true, wrong)) },
	}
}

// opened keeps a nil store from becoming one that is not.
func opened(s *diskStore, err error) (carewire.Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

func TestDurableRulesPassDiskStore(t *testing.T) {
	t.Parallel()
	RunDurable(t, onDisk(points{}))
}

func TestDurableRulesSkipMemoryStore(t *testing.T) {
	t.Parallel()
	for _, r := range durableRules {
		err := r.run(&probe{ctx: t.Context(), life: &life{t: t, Durable: Durable{Open: func(string) (carewire.Store, error) {
			return carewire.NewMemoryStore(nil), nil
		}}}})
		require.True(t, errors.As(err, new(skipped)), "%s: %v", r.name, err)
	}
}

func TestDurableRulesFindBrokenStores(t *testing.T) {
	t.Parallel()
	forget := func(change func(e *carewire.Entry)) points { return points{change: change} }
	for _, c := range []struct {
		name, rule string
		wrong      points
	}{
		{"digests are forgotten", "reopened", forget(func(e *carewire.Entry) { e.Sum = [16]byte{} })},
		{"IDs are forgotten", "reopened", forget(func(e *carewire.Entry) { e.ID = "" })},
		{"deadlines are forgotten", "reopened", forget(func(e *carewire.Entry) { e.Due = e.Time })},
		{"open entries are forgotten", "reopened", forget(func(e *carewire.Entry) { e.Open = false })},
		{"revisions are forgotten", "never closed", forget(func(e *carewire.Entry) { e.Rev = 0 })},
		{"every opening is a new epoch", "reopened", points{newEpoch: true}},
		{"every opening is a new epoch, killed", "killed", points{newEpoch: true}},
		{"it answers before it writes", "never closed", points{late: true}},
		{"it answers before it writes, killed", "killed", points{late: true}},
		{"entries go to another patient", "killed", forget(func(e *carewire.Entry) {
			if strings.HasPrefix(e.ID, "n") {
				e.Patient = "b"
			}
		})},
		{"a failed write is ignored", "failed write", points{believes: true}},
		{"it goes on after a failed write", "failed write", points{goesOn: true}},
		{"it shows entries that were not written", "failed write", points{showsFailed: true}},
		{"there is no reserve", "disk full", points{allAtOnce: true}},
		{"a refused entry takes a number", "disk full", points{numbersFull: true}},
		{"a full disk is an error of the call", "disk full", points{fatal: true}},
		{"an older copy has the same epoch", "older copy", points{noEpoch: true}},
		{"every opening is a new epoch, copied", "older copy", points{newEpoch: true}},
		{"two may open it", "second opener", points{noLock: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := onDisk(c.wrong)
			d.beChild(t)
			t.Parallel()
			for _, r := range durableRules {
				if r.name != c.rule {
					continue
				}
				err := r.run(&probe{ctx: t.Context(), life: &life{Durable: d, t: t, test: t.Name()}})
				require.Error(t, err)
				require.False(t, errors.As(err, new(skipped)), err)
				require.ErrorContains(t, err, r.text)
				t.Log(strings.SplitN(err.Error(), "\n", 2)[0])
				return
			}
			t.Fatal("there is no such rule")
		})
	}
	t.Run("two that write one log know nothing of each other", func(t *testing.T) {
		d := onDisk(points{noLock: true})
		d.Locked = nil
		d.beChild(t)
		t.Parallel()
		err := durableRules[len(durableRules)-1].run(&probe{ctx: t.Context(), life: &life{Durable: d, t: t, test: t.Name()}})
		require.ErrorContains(t, err, "the rule")
	})
}
