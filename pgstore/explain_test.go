package pgstore

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pgstore/pgtest"
)

// fillSQL writes a million entries: half a million vitals of 500 patients in part
// 0, as nodes of version 1 wrote them, as many in parts, and one patient with
// 100,000 alerts that have ended, beside 200 that are open.
const fillSQL = `
	create function pg_temp.at(n bigint) returns timestamptz language sql immutable as $$ select timestamptz '2026-03-01 08:00Z' + n * interval '1 second' $$;

	insert into carewire.log (patient, seq, must, epoch, kind, key, rev, open, audience, sender, id, sum, time, received, data, part)
	select 'p' || n % 500, 1 + n / 500, 0, 1, 1, 'k' || n / 500 % 10, 0, false, 2, 's', 'v' || n, '\x00', pg_temp.at(n / 5), pg_temp.at(n / 5), '{}',
		case when n < 450000 then 0 else $day + n / 5 / 86400 end
	from generate_series(0, 899999) n;
	insert into carewire.log (patient, seq, must, epoch, kind, key, rev, open, audience, sender, id, sum, time, received, data)
	select 'many', n, n, 1, 2, 'a' || n, 1, n > 100000, 1, 's', 'a' || n, '\x00', pg_temp.at(n), pg_temp.at(n), '{}' from generate_series(1, 100200) n;

	insert into carewire.heads (patient, seq, must, epoch) select patient, max(seq), max(must), 1 from carewire.log group by patient;
	insert into carewire.heads (patient, seq, must, epoch) select 'x' || n, 1, 0, 1 from generate_series(1, 50000) n;
	insert into carewire.states (patient, key, seq, rev, kind, open, time, part)
	select distinct on (patient, key) patient, key, seq, 0, 1, false, time, part from carewire.log where kind = 1 order by patient, key, seq desc;
	insert into carewire.states (patient, key, seq, rev, kind, open, due, time, changed)
	select patient, key, seq, 1, 2, open, case when open then time end, time, pg_current_xact_id() from carewire.log where kind = 2;
	insert into carewire.ids select 'p' || n % 500, 's', 'old' || n, '\x00', 1, n, 0, now() + interval '1 year' from generate_series(1, 100000) n;
	vacuum analyze carewire.log, carewire.heads, carewire.states, carewire.ids`

// watcher keeps the statements that a pool sends.
type watcher struct {
	mu   sync.Mutex
	sent []statement
}

type statement struct {
	sql  string
	args []any
}

func (w *watcher) note(sql string, args []any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	sql = strings.TrimSpace(sql)
	inserts := strings.HasPrefix(sql, "insert into carewire.log") || strings.HasPrefix(sql, "insert into carewire.states") // of their arguments: they read nothing
	if strings.Contains(sql, "carewire.") && !inserts {
		w.sent = append(w.sent, statement{sql, args})
	}
}

func (w *watcher) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	w.note(d.SQL, d.Args)
	return ctx
}
func (w *watcher) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (w *watcher) TraceBatchStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceBatchStartData) context.Context {
	for _, q := range d.Batch.QueuedQueries {
		w.note(q.SQL, q.Arguments)
	}
	return ctx
}
func (w *watcher) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (w *watcher) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// take returns the statements sent since it was last called.
func (w *watcher) take() []statement {
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := w.sent
	w.sent = nil
	return sent
}

// plan is a node of EXPLAIN's output.
type plan struct {
	Type     string  `json:"Node Type"`
	Relation string  `json:"Relation Name"`
	Rows     float64 `json:"Actual Rows"`
	Loops    float64 `json:"Actual Loops"`
	Removed  float64 `json:"Rows Removed by Filter"`
	Checked  float64 `json:"Rows Removed by Index Recheck"`
	Plans    []plan
}

// walk adds up the rows that were read from tables, and lists those that were
// read from one end to the other.
func (p *plan) walk(read *float64, sequential *[]string) {
	if p.Relation != "" && strings.Contains(p.Type, "Scan") && p.Type != "Bitmap Index Scan" {
		*read += p.Loops * (p.Rows + p.Removed + p.Checked)
		if p.Type == "Seq Scan" && p.Loops*(p.Rows+p.Removed) > 0 && !slices.Contains([]string{"epochs", "parts", "version"}, p.Relation) { // which have a few rows
			*sequential = append(*sequential, p.Relation)
		}
	}
	for i := range p.Plans {
		p.Plans[i].walk(read, sequential)
	}
}

// explain runs a statement and undoes it, planned as for its arguments and as for any.
func explain(t *testing.T, pool *pgxpool.Pool, s statement, generic bool) (root plan) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	mode := "force_custom_plan"
	if generic {
		mode = "force_generic_plan"
	}
	_, err = tx.Exec(t.Context(), `set local plan_cache_mode = `+mode)
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `prepare explained as `+s.sql, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err, s.sql)
	var places []string
	for i := range s.args {
		places = append(places, fmt.Sprint("$", i+1))
	}
	call := "explained"
	if len(places) > 0 {
		call += "(" + strings.Join(places, ", ") + ")"
	}
	var text []byte
	args := append([]any{pgx.QueryExecModeSimpleProtocol}, s.args...)
	require.NoError(t, tx.QueryRow(t.Context(), `explain (analyze, timing off, format json) execute `+call, args...).Scan(&text), s.sql)
	_, err = tx.Exec(t.Context(), `deallocate explained`)
	require.NoError(t, err)
	var list []struct{ Plan plan }
	require.NoError(t, json.Unmarshal(text, &list))
	return list[0].Plan
}

// hotCalls are the calls that a Hub makes all the time. Each returns how many
// entries it was about.
func hotCalls(ctx context.Context, s *Store, at time.Time, batch []carewire.Entry, mark string) map[string]func() (int, error) {
	return map[string]func() (int, error){
		"append": func() (int, error) { list, err := s.Append(ctx, batch); return len(list), err },
		"append of an alert": func() (int, error) {
			list, err := s.Append(ctx, []carewire.Entry{{Patient: "many", Kind: carewire.KindAlert, Key: "a100200", Rev: 2, ID: "n", Sender: "s", Time: at, Received: at, Data: []byte(`{}`)}})
			return len(list), err
		},
		"read": func() (int, error) {
			list, err := s.Read(ctx, "p7", carewire.Position{Seq: 1750}, carewire.ReadQuery{})
			return len(list), err
		},
		"read old": func() (int, error) {
			list, err := s.Read(ctx, "p7", carewire.Position{}, carewire.ReadQuery{Limit: 200})
			return len(list), err
		},
		"read none": func() (int, error) {
			list, err := s.Read(ctx, "p7", carewire.Position{Seq: 1 << 40}, carewire.ReadQuery{})
			return len(list), err
		},
		"read alerts": func() (int, error) {
			list, err := s.Read(ctx, "p7", carewire.Position{}, carewire.ReadQuery{Kinds: []carewire.Kind{carewire.KindAlert}})
			return len(list), err
		},
		"latest":         func() (int, error) { list, _, err := s.Latest(ctx, "p7"); return len(list), err },
		"latest of many": func() (int, error) { list, _, err := s.Latest(ctx, "many"); return len(list), err },
		"get":            func() (int, error) { _, err := s.Get(ctx, "p7", "k3"); return 1, err },
		"states": func() (int, error) {
			list, err := s.States(ctx, []carewire.StateKey{{Patient: "p1", Key: "k1"}, {Patient: "many", Key: "a7"}, {Patient: "many", Key: "r/7"}})
			return len(list), err
		},
		"heads": func() (int, error) {
			list, err := s.Heads(ctx, []string{"p1", "p2", "many", "unknown"})
			return len(list), err
		},
		"open":      func() (int, error) { list, _, err := s.Changed(ctx, "", 50); return len(list), err },
		"unchanged": func() (int, error) { list, _, err := s.Changed(ctx, mark, 50); return len(list), err },
		"waiting":   func() (int, error) { list, err := s.Waiting(ctx, at.AddDate(1, 0, 0), 50); return len(list), err },
		"pruning": func() (int, error) {
			return 1, s.Prune(ctx, start.Add(time.Hour), carewire.Retention{Vitals: time.Hour, Others: time.Hour})
		},
	}
}

// No statement of those that run all the time reads a table from one end to the
// other, or more than three rows for each that it returns or writes, on a
// million entries.
func TestHotStatementsReadLittle(t *testing.T) {
	var w watcher
	config, err := pgxpool.ParseConfig(pgtest.Start(t, "fsync=off", "full_page_writes=off", "max_wal_size=4GB", "autovacuum=off").DSN())
	require.NoError(t, err)
	config.MaxConns, config.ConnConfig.Tracer = 10, &w
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	s := open(t, pool, &Options{NoListen: true, Volatile: true})
	today := dayOf(start)
	addParts(t, s, span{today, today + 1}, span{today + 1, today + 2}, span{today + 2, today + 3}, span{today + 3, today + 4})
	for one := range strings.SplitSeq(strings.ReplaceAll(fillSQL, "$day", fmt.Sprint(today)), ";\n") {
		exec(t, pool, one, pgx.QueryExecModeSimpleProtocol)
	}
	ctx := t.Context()
	at := start.AddDate(0, 0, 2)
	_, mark, err := s.Changed(ctx, "", 5000)
	require.NoError(t, err)

	var batch []carewire.Entry
	for i := range 300 { // of which a third is known
		e := vitalOn(2, fmt.Sprint("p", i), fmt.Sprint("k", i%10))
		e.Time, e.Received = at, at
		if i%3 == 0 {
			e.ID = fmt.Sprint("v", 899500+i)
		}
		batch = append(batch, e)
	}
	w.take()
	for name, call := range hotCalls(ctx, s, at, batch, mark) {
		n, err := call()
		require.NoError(t, err, name)
		sent := w.take()
		require.NotEmpty(t, sent, name)
		for _, one := range sent {
			for _, generic := range []bool{false, true} {
				root := explain(t, pool, one, generic)
				var read float64
				var sequential []string
				root.walk(&read, &sequential)
				about := fmt.Sprintf("%s, generic %v:\n%s", name, generic, one.sql)
				assert.Empty(t, sequential, about)
				gets := max(float64(n), root.Rows)
				assert.LessOrEqual(t, read, 3*gets+12, about) // each of some parts may be looked into in vain
			}
		}
		w.take()
	}
	require.True(t, slices.Contains([]int{4, 5}, len(s.parted(t))))
}
