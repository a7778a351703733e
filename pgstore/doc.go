// Package pgstore keeps the logs of carewire Hubs in a schema of a PostgreSQL
// database: a durable [carewire.Store] that several nodes share, for hosts that
// run PostgreSQL anyway.
//
//	pool, err := pgxpool.New(ctx, dsn+" pool_ping_timeout=1s")
//	err = pgstore.Migrate(ctx, pool, "carewire")
//	store, err := pgstore.Open(ctx, pool, nil)
//	hub, err := carewire.New(auth, store, nil)
//
// It needs PostgreSQL 13 or newer, and is tested with 15. What it asks of a
// server that only speaks its protocol is in docs/deployment.md.
//
// Without a PingTimeout a call waits for [Options.Timeout] on a connection that
// was idle and that the network has forgotten.
//
// # Durability
//
// What Append has answered is committed. Open, and every Append, refuses a
// server whose fsync, full_page_writes or synchronous_commit is off, unless
// [Options.Volatile] allows it. A standby that takes over has what was
// committed only if replication is synchronous; what it lacks shows to clients
// by a new epoch, not in silence.
//
// # Rights
//
// [Migrate] makes the schema and the tables. Where the application's role may
// not, somebody else runs the files in [Migrations], and grants
//
//	grant usage on schema carewire to app;
//	grant select, insert, update, delete on all tables in schema carewire to app;
//
// Tables that a later version brings need the grant again. Partitions of the log
// are made and dropped by functions of the schema, which have the rights of
// whoever ran the files.
//
// # How entries are numbered
//
// An Append locks the heads of its patients' logs, in sorted order, and numbers
// its entries behind them: so numbers stand in the order of commits. Appends
// that come at the same time share a transaction, of two round trips, and do
// not wait for those of other patients. What a node leaves in the middle is
// ended by the server after two seconds, or by another node that needs the same
// patients, if it was lost while it sent, after [Options.Timeout].
//
// # Several nodes
//
// A node tells the others to whose logs it has appended by one NOTIFY for
// whatever it has committed meanwhile, after the commit and apart from it. Only
// roles that may read the tables can read the names. Each node listens on a
// connection of its own; while it hears nothing it looks once a second.
// Deadlines are judged by the database's clock.
//
// Behind a PgBouncer (1.21 or newer) that pools transactions, give
// [Options.Listen] a way past it, or [Options.NoListen]; and give the pool
// default_query_exec_mode=exec unless PgBouncer keeps prepared statements.
//
// # Epochs
//
// The epoch of what is written changes when the server's system identifier, its
// timeline or the tables are not those of before: after a standby was promoted,
// after recovery to a point in time, and after a dump was restored. What the
// database cannot see is that a copy of its files, or a volume's snapshot, was
// put in its place: then open it with [Options.NewEpoch] once.
//
// # Events of the host's own transactions
//
// [Store.RaiseTx] and [Store.PublishTx] leave an alert or vitals in a
// transaction of the host's, so that they are there if, and only if, what the
// host wrote is. [Store.Drain] gives them to a Hub.
//
// # A full disk
//
// When the server has no room (SQLSTATE 53100), the transaction is done again
// without its vitals, which are refused with ErrFull, and only if that fails too
// is everything new refused. Vitals are then not tried for five seconds, so that
// room that is made goes to alerts first. There is no reserve: whether an alert
// fits is chance until somebody makes room. A full disk under the WAL stops the
// server altogether.
package pgstore
