package carewire

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// An alert's progress counts for the revision that it began with, and until the
// member of the Store answers again.
func TestUnrecordedIsOfOneRevision(t *testing.T) {
	b := newWorkbench(t, NewMemoryStore(nil))
	for _, patient := range []string{"p1", "p2"} {
		in := high("k")
		in.Patient, in.ID = patient, ""
		require.NoError(t, b.raise(t.Context(), in))
	}
	u := newUnrecorded(1)
	level := func(patient string, rev uint64) int {
		e := b.entry(patient, "a/k")
		e.Rev += rev
		a, err := u.recall(e)
		require.NoError(t, err)
		return a.Escalation.Level
	}
	require.Zero(t, level("p1", 0), "the level in the Store")
	for _, patient := range []string{"p1", "p2"} {
		a := b.alert(patient, "k")
		a.Escalation.Level = 3
		u.keep(b.entry(patient, "a/k"), a)
	}
	require.Equal(t, 3, level("p1", 0))
	require.Zero(t, level("p1", 1), "the Store has something newer")
	u.forget(func(patient string) bool { return patient == "p1" })
	require.Zero(t, level("p1", 0))
	require.Equal(t, 3, level("p2", 0), "its member still fails")
	_, err := u.recall(&Entry{Patient: "p1", Key: "a/k", Kind: KindAlert, Data: []byte("{")})
	require.Error(t, err)
}

// While the Store fails, alerts of lost members that are more than five seconds
// late go through their levels from memory. Nothing is written.
func TestTellingWithoutTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &seam{Store: NewMemoryStore(nil)}
		r, start := newWatchroom(t, store, Options{Policy: threeSteps}), time.Now()
		r.begin()
		store.failing.Store(true)
		overdue := func() []dueEntry { return r.x.overdue(map[int]bool{0: true}) }
		require.Empty(t, overdue(), "another node may still act")
		time.Sleep(overdueAfter)
		require.Empty(t, r.x.overdue(map[int]bool{1: true}), "its member answers")
		for _, want := range []string{"5s person:nurse", "40s person:doctor"} {
			late := overdue()
			require.Len(t, late, 1, want)
			r.x.tellBlind(t.Context(), late[0].Entry)
			require.Equal(t, []string{want}, r.pager.told(start))
			require.Empty(t, overdue(), "until the next level is late")
			time.Sleep(30*time.Second + overdueAfter)
		}
		require.Equal(t, 2, r.records.of[AuditEscalation])
		require.EqualValues(t, 1, store.calls.Load(), "the alert was appended, and nothing since")
	})
}

// An alert that was accepted is not told from memory before the acceptance has
// run out.
func TestTellingWithoutTheStoreWaitsForAcceptances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &seam{Store: NewMemoryStore(nil)}
		r := newWatchroom(t, store, Options{Policy: threeSteps})
		r.begin()
		r.accept("p1", "k")
		store.failing.Store(true)
		e := r.open.get(openKey{"p1", "a/k"}).Entry
		time.Sleep(59 * time.Minute)
		r.x.tellBlind(t.Context(), &e)
		require.Empty(t, r.pager.told(time.Now()))
		time.Sleep(time.Minute)
		r.x.tellBlind(t.Context(), &e)
		require.Equal(t, []string{"0s person:nurse"}, r.pager.told(time.Now()))
	})
}
