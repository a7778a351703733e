// Package pgstore keeps the logs of carewire Hubs in a schema of a PostgreSQL
// database: a durable [carewire.Store] that several nodes share, for hosts that
// run PostgreSQL anyway.
//
//	pool, err := pgxpool.New(ctx, dsn+" pool_ping_timeout=1s")
//	err = pgstore.Migrate(ctx, pool, "carewire")
//	store, err := pgstore.Open(ctx, pool, nil)
//	hub, err := carewire.New(auth, store, nil)
//
// It needs PostgreSQL 13 or newer, and is tested with 15. docs/deployment.md
// lists its requirements of other servers that speak the protocol.
//
// Without a PingTimeout, a call on an idle connection that the network has
// forgotten waits for [Options.Timeout].
//
// # Durability
//
// Entries that Append has confirmed are committed. Open, and every Append,
// refuses a server whose fsync, full_page_writes or synchronous_commit is off,
// unless [Options.Volatile] allows it. A standby that takes over has all
// committed entries only if replication is synchronous. A new epoch tells
// clients about missing ones.
//
// # Rights
//
// [Migrate] creates the schema and the tables. If the application's role may not
// do that, an administrator runs the files in [Migrations], and grants
//
//	grant usage on schema carewire to app;
//	grant select, insert, update, delete on all tables in schema carewire to app;
//
// Tables of a later version need the grant again. Functions of the schema create
// and drop partitions of the log, with the rights of the role that ran the files.
//
// # Numbering
//
// An Append locks the heads of its patients' logs, in sorted order, and numbers
// its entries after them, so numbers are in the order of commits. Concurrent
// appends share a transaction, of two round trips, and do not wait for those of
// other patients. If a node stops in the middle, the server ends its transaction
// after two seconds. If a node is lost while it sends, another node that needs
// the same patients ends it after [Options.Timeout].
//
// # Several nodes
//
// After its commits, and separately from them, a node sends one NOTIFY with the
// patients to whose logs it has appended meanwhile. Only roles that may read the
// tables can read the names. Each node listens on its own connection; while it
// hears nothing it polls once a second. The database's clock decides deadlines.
//
// Behind a PgBouncer (1.21 or newer) that pools transactions, give
// [Options.Listen] a direct address, or set [Options.NoListen]; and give the pool
// default_query_exec_mode=exec unless PgBouncer keeps prepared statements.
//
// # Epochs
//
// New entries have a new epoch when the server's system identifier, its timeline
// or the tables have changed: after a standby was promoted, after recovery to a
// point in time, and after a dump was restored. The database cannot detect that a
// copy of its files, or a volume's snapshot, was put in its place: then open it
// with [Options.NewEpoch] once.
//
// # Events of the host's own transactions
//
// [Store.RaiseTx] and [Store.PublishTx] leave an alert or vitals in a
// transaction of the host's, so that they exist if, and only if, the transaction
// commits. [Store.Drain] gives them to a Hub.
//
// # A full disk
//
// If the server has no room (SQLSTATE 53100), the transaction is repeated
// without its vitals, which are refused with ErrFull. If that fails too, all new
// entries are refused. Vitals are then not tried for five seconds, so that alerts
// get new room first. There is no reserve: until there is room, chance decides
// whether an alert fits. A full disk under the WAL stops the whole server.
package pgstore
