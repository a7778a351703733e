package pgstore

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pgstore/pgtest"
)

// vitalOn is a vital of some day after start.
func vitalOn(day int, patient, key string) carewire.Entry {
	at := start.AddDate(0, 0, day)
	return carewire.Entry{Patient: patient, Kind: carewire.KindVital, Key: key, Sender: "s", ID: fmt.Sprint(key, day), Audience: carewire.AudienceAll,
		Time: at, Received: at, Data: []byte(`{}`)}
}

func (s *Store) parted(t *testing.T) (list []span) {
	t.Helper()
	require.NoError(t, s.readParts(t.Context()))
	return *s.parts.Load()
}

// Vitals of fifty days, kept for ten: they go by parts of two days, and with them
// all data of patients who have left. The rest is read, and recognised, as before.
func TestPartsAreDropped(t *testing.T) {
	pool := connect(t, pgtest.Database(t), 10)
	s := open(t, pool, nil)
	keep := carewire.Retention{Vitals: 10 * perDay}
	once := vitalOn(0, "a", "once") // the newest of its key for ever
	mustAppend(t, s, once, vitalOn(0, "gone", "hr"))
	var all []carewire.Entry
	most := 0
	for day := range 50 {
		require.NoError(t, s.Prune(t.Context(), start.AddDate(0, 0, day), keep))
		e := vitalOn(day, "a", "hr")
		e.Position = mustAppend(t, s, e)[0].Position
		all = append(all, e)
		if day > 1 {
			require.NotZero(t, s.partOf(&e))
		}
		most = max(most, len(s.parted(t)))
	}
	require.LessOrEqual(t, most, 8)
	oldest := s.parted(t)[0].first
	require.GreaterOrEqual(t, oldest, dayOf(start)+49-10-2)
	require.Less(t, oldest, dayOf(start)+49-10+1)
	var rows int
	require.NoError(t, pool.QueryRow(t.Context(), `select count(*) from carewire.log`).Scan(&rows))
	require.LessOrEqual(t, rows, 14)

	last := all[len(all)-1].Seq
	_, err := s.Read(t.Context(), "a", carewire.Position{Seq: last - 15}, carewire.ReadQuery{})
	require.ErrorIs(t, err, carewire.ErrGap)
	got, err := s.Read(t.Context(), "a", carewire.Position{Seq: last - 9}, carewire.ReadQuery{})
	require.NoError(t, err)
	require.Len(t, got, 9)
	for i, e := range got {
		require.Equal(t, last-8+uint64(i), e.Seq)
	}
	for _, e := range all[len(all)-9:] { // all of which are in the log
		again := mustAppend(t, s, e)[0]
		require.True(t, again.Repeated)
		require.Equal(t, e.Position, again.Position)
		e.Sum[0]++
		require.ErrorIs(t, mustAppend(t, s, e)[0].Err, carewire.ErrIDReused)
	}
	latest, head, err := s.Latest(t.Context(), "a")
	require.NoError(t, err)
	require.Len(t, latest, 2)
	require.Equal(t, "once", latest[0].Key)
	require.Equal(t, last, latest[1].Seq)
	require.Equal(t, last, head.Seq)
	heads, err := s.Heads(t.Context(), []string{"gone"})
	require.NoError(t, err)
	require.Zero(t, heads[0].Seq)
	var left int
	require.NoError(t, pool.QueryRow(t.Context(), `select (select count(*) from carewire.states where patient = 'gone') + (select count(*) from carewire.pruned where patient = 'gone')`).Scan(&left))
	require.Zero(t, left)
}

// A part that somebody reads is dropped the next time; appends do not wait long.
func TestPartInUse(t *testing.T) {
	pool := connect(t, pgtest.Database(t), 10)
	s := open(t, pool, nil)
	addParts(t, s, span{dayOf(start), dayOf(start) + 1})
	mustAppend(t, s, vitalOn(0, "a", "hr"), vitalOn(0, "a", "hr"))
	reading, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = reading.Exec(t.Context(), `select count(*) from carewire.log`)
	require.NoError(t, err)
	later, keep := start.AddDate(0, 0, 30), carewire.Retention{Vitals: 10 * perDay}
	require.NoError(t, s.Prune(t.Context(), later, keep))
	require.Equal(t, dayOf(start), s.parted(t)[0].first)
	require.NoError(t, reading.Rollback(t.Context()))
	require.NoError(t, s.Prune(t.Context(), later, keep))
	require.Greater(t, s.parted(t)[0].first, dayOf(start))
}

// A part that another node has dropped is noticed: entries that would go there are
// kept elsewhere.
func TestPartDroppedByAnotherNode(t *testing.T) {
	dsn := pgtest.Database(t)
	s, other := open(t, connect(t, dsn, 10), nil), open(t, connect(t, dsn, 10), nil)
	addParts(t, s, span{dayOf(start), dayOf(start) + 1})
	require.NoError(t, other.Prune(t.Context(), start.AddDate(0, 0, 30), carewire.Retention{Vitals: 10 * perDay}))
	require.Equal(t, uint64(1), mustAppend(t, s, vitalOn(0, "a", "hr"))[0].Seq)
	e, err := other.Get(t.Context(), "a", "hr")
	require.NoError(t, err)
	require.Equal(t, uint64(1), e.Seq)
}

// Logs that are forgotten again and again while several nodes append to them give
// out no position twice, and every entry has its place.
func TestForgottenWhileOthersAppend(t *testing.T) {
	dsn := pgtest.Database(t)
	var mu sync.Mutex
	seen := map[carewire.Position]bool{}
	var wg, appending sync.WaitGroup
	for node := range 2 {
		s := open(t, connect(t, dsn, 8), &Options{LockTimeout: time.Minute, Timeout: time.Minute})
		appending.Go(func() {
			for i := range 150 {
				e := notice("a", fmt.Sprint(node, "-", i))
				got, err := s.Append(t.Context(), []carewire.Entry{e})
				if !assert.NoError(t, err) || !assert.NoError(t, got[0].Err) {
					return
				}
				mu.Lock()
				assert.False(t, seen[got[0].Position], "a position was given out twice")
				seen[got[0].Position] = true
				mu.Unlock()
			}
		})
	}
	s := open(t, connect(t, dsn, 8), nil)
	over := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				assert.NoError(t, s.Prune(t.Context(), start.AddDate(3, 0, 0), carewire.Retention{Vitals: time.Hour, Others: time.Hour}))
			}
		}
	})
	appending.Wait()
	close(over)
	wg.Wait()
	require.Len(t, seen, 300)
	require.NoError(t, s.Prune(t.Context(), start.AddDate(3, 0, 0), carewire.Retention{Vitals: time.Hour, Others: time.Hour}))
	heads, err := s.Heads(t.Context(), []string{"a"})
	require.NoError(t, err)
	require.Empty(t, heads[0].Epochs)
	var epochs int
	require.NoError(t, s.pool.QueryRow(t.Context(), `select count(*) from carewire.epochs`).Scan(&epochs))
	require.Greater(t, epochs, 2, "nothing was forgotten meanwhile")
}
