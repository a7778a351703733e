package pgstore

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pgstore/pgtest"
)

// A store that is filled and pruned again and again is pruned as fast the second time as
// the first: two cycles, of 20 days each, with a million vitals in the long form. The
// times are logged.
func TestRefill(t *testing.T) {
	perCycleDay := 200
	if os.Getenv("PGSTORE_LONG") != "" {
		perCycleDay = 50_000
	}
	pool := connect(t, pgtest.Database(t), 10)
	s := open(t, pool, nil)
	keep := carewire.Retention{Vitals: 5 * perDay}
	day := 0
	for cycle := range 3 {
		began := time.Now()
		var pruning, longest time.Duration
		for range 20 {
			from := time.Now()
			require.NoError(t, s.Prune(t.Context(), start.AddDate(0, 0, day), keep))
			pruning, longest = pruning+time.Since(from), max(longest, time.Since(from))
			for n := 0; n < perCycleDay; n += 200 {
				batch := make([]carewire.Entry, 200)
				for i := range batch {
					batch[i] = vitalOn(day, fmt.Sprint("p", i), "hr")
					batch[i].ID += fmt.Sprint("/", n)
				}
				mustAppend(t, s, batch...)
			}
			day++
		}
		var rows, dead, bytes int64
		require.NoError(t, pool.QueryRow(t.Context(), `select count(*) from carewire.log`).Scan(&rows))
		require.NoError(t, pool.QueryRow(t.Context(), `select coalesce(sum(n_dead_tup), 0)::bigint, coalesce(sum(pg_total_relation_size(relid)), 0)::bigint from pg_stat_user_tables where schemaname = 'carewire'`).Scan(&dead, &bytes))
		require.LessOrEqual(t, rows, int64(9*perCycleDay), "pruned to the days that are kept, in whole parts")
		t.Logf("cycle %d: 20 days of %d vitals in %v; 20 prunes took %v, the longest %v; %d rows stay, %d dead ones, %d MB", cycle, perCycleDay, time.Since(began).Round(time.Millisecond),
			pruning.Round(time.Millisecond), longest.Round(time.Millisecond), rows, dead, bytes>>20)
	}
}
