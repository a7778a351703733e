package pgstore

import (
	"context"

	"github.com/carewire/carewire"
)

// Size implements [carewire.Sizer]: Used is the room of the schema's tables and
// their indexes on the server's disk. Of Free nothing is known.
func (s *Store) Size(ctx context.Context) (carewire.StoreSize, error) {
	size := carewire.StoreSize{Free: -1}
	if err := s.usable(ctx); err != nil {
		return size, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := s.pool.QueryRow(ctx, `select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint from pg_class c
		join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relkind = 'r'`, s.schema).Scan(&size.Used)
	return size, failure("size", err)
}
