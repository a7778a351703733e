package v1

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/carewire/carewire"
)

// A mark says which of the changed states a caller has seen: all that the
// transactions visible in Base wrote, and of those that came up to Target the
// pages up to At. PostgreSQL's transactions are numbered when they begin and
// seen when they commit, so that no number could say this, but a snapshot does.
type mark struct {
	Epoch  string
	Base   string // a pg_snapshot; "": only open entries were asked for
	Target string `json:",omitempty"` // the snapshot of the first page; "": all pages were seen
	At     change
}

// change names a changed state in the order of pages.
type change struct {
	Transaction uint64 `json:",omitempty"`
	Patient     string `json:",omitempty"`
	Key         string `json:",omitempty"`
}

const (
	snapshotSQL = `select pg_current_snapshot()::text, (select epoch from carewire.epochs order by num desc limit 1)`

	changedSQL = `
		select ` + columns + `, s.changed::text::bigint
		from ` + newest + `
		where s.changed is not null and (s.changed, s.patient, s.key) > ($1::text::xid8, $2, $3)`
	sinceSQL = ` and s.changed >= pg_snapshot_xmin($5::text::pg_snapshot) and not pg_visible_in_snapshot(s.changed, $5::text::pg_snapshot)`
	openSQL  = ` and s.open`
	pageSQL  = ` order by s.changed, s.patient, s.key limit $4`
)

// Changed implements [carewire.Store]. The mark grows with the number of
// transactions that are under way in the server.
func (s *Store) Changed(ctx context.Context, from string, limit int) ([]carewire.Entry, string, error) {
	limit = orThousand(limit)
	m := parseMark(from)
	var found []carewire.Entry
	for {
		page, next, err := s.changedPage(ctx, m, limit-len(found))
		if err != nil {
			return nil, "", err
		}
		found = append(found, page...)
		// Entries that were committed after the first page are not in the later
		// ones.
		again := next.Target == "" && m.Target != "" && len(found) < limit
		if m = next; !again {
			return found, m.text(), nil
		}
	}
}

// changedPage returns the states after m, and the mark behind them.
func (s *Store) changedPage(ctx context.Context, m mark, limit int) (found []carewire.Entry, next mark, err error) {
	var snapshot, epoch string
	var last uint64
	err = s.view(ctx, "changed", func(b *pgx.Batch) {
		b.Queue(s.sql(snapshotSQL)).QueryRow(func(row pgx.Row) error { return row.Scan(&snapshot, &epoch) })
		args := []any{strconv.FormatUint(m.At.Transaction, 10), m.At.Patient, m.At.Key, limit}
		sql := changedSQL + openSQL + pageSQL
		if m.Base != "" {
			args = append(args, m.Base)
			sql = changedSQL + sinceSQL + pageSQL
		}
		b.Queue(s.sql(sql), args...).Query(func(rows pgx.Rows) (err error) {
			found, err = entries(rows, &last)
			return err
		})
	})
	if err != nil {
		return nil, mark{}, err
	}
	if m.Epoch != epoch && m.Epoch != "" {
		return s.changedPage(ctx, mark{}, limit)
	}
	if m.Target == "" {
		m.Target = snapshot
	}
	if len(found) < limit {
		return found, mark{Epoch: epoch, Base: m.Target}, nil
	}
	end := found[len(found)-1]
	return found, mark{epoch, m.Base, m.Target, change{last, end.Patient, end.Key}}, nil
}

func (m mark) text() string {
	b, _ := json.Marshal(m)
	return string(b)
}

// parseMark returns the zero mark for one that is unusable.
func parseMark(text string) mark {
	var m mark
	if json.Unmarshal([]byte(text), &m) != nil || m.Epoch == "" || m.Base != "" && !isSnapshot(m.Base) || m.Target != "" && !isSnapshot(m.Target) ||
		m.Base == "" && m.Target == "" || strings.ContainsRune(m.At.Patient+m.At.Key, 0) {
		return mark{}
	}
	return m
}

// isSnapshot reports whether text is a pg_snapshot, xmin:xmax:xip,xip….
func isSnapshot(text string) bool {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return false
	}
	numbers := parts[:2:2]
	if parts[2] != "" {
		numbers = slices.Concat(parts[:1], strings.Split(parts[2], ","), parts[1:2])
	}
	var last uint64
	return !slices.ContainsFunc(numbers, func(one string) bool {
		n, err := strconv.ParseUint(one, 10, 63)
		bad := err != nil || n == 0 || cmp.Less(n, last)
		last = n
		return bad
	})
}
