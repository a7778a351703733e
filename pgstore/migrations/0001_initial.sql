-- The tables of one carewire store. They are made in the schema that comes
-- first in search_path. All names compare by their bytes.

create table version (
	version int not null
);
insert into version values (1);

-- Which server wrote what. The row with the greatest num is current.
create table epochs (
	num      int generated always as identity primary key,
	epoch    text not null unique,
	identity text not null, -- of the server, its timeline and the table version
	began    timestamptz not null default now()
);

-- The end of each patient's log. Whoever appends locks the patient's row first.
create table heads (
	patient     text collate "C" primary key,
	seq         bigint not null default 0,
	must        bigint not null default 0,
	epoch       int    not null default 0,   -- of the last entry
	past_epochs int[]    not null default '{}', -- the ones before it, oldest first
	past_ends   bigint[] not null default '{}'  -- and the last number written in each
) with (fillfactor = 70);

create table log (
	patient   text collate "C" not null,
	seq       bigint not null,
	must      bigint not null,
	epoch     int    not null,
	kind      smallint not null, -- 1 vital, 2 alert, 3 notice, 4 receipt, 5 access, 6 timer
	key       text collate "C" not null,
	rev       bigint not null,
	open      boolean not null,
	due       timestamptz,
	audience  smallint not null,
	addressed text[],
	sender    text collate "C" not null,
	id        text collate "C" not null,
	sum       bytea not null,
	time      timestamptz,
	received  timestamptz,
	data      bytea,
	primary key (patient, seq)
);
create unique index log_ids on log (patient, sender, id) where id <> '';
create index log_others on log (patient, seq) where kind <> 1;
create index log_received on log using brin (received) with (autosummarize = on);

-- The IDs of entries that were pruned, for as long as they are remembered.
create table ids (
	patient text collate "C" not null,
	sender  text collate "C" not null,
	id      text collate "C" not null,
	sum     bytea  not null,
	epoch   int    not null,
	seq     bigint not null,
	must    bigint not null,
	expires timestamptz not null,
	primary key (patient, sender, id)
);
create index ids_expires on ids (expires);

-- What each key stands at: the newest entry, and the newest revision.
create table states (
	patient text collate "C" not null,
	key     text collate "C" not null,
	seq     bigint not null,
	rev     bigint not null,
	kind    smallint not null,
	open    boolean not null,
	due     timestamptz,
	time    timestamptz,
	changed xid8, -- the transaction that wrote it; null for vitals and timers
	primary key (patient, key)
) with (fillfactor = 70);
create index states_changed on states (changed, patient, key) where changed is not null;
create index states_due on states (due) where open and due is not null;

-- Up to where each log was pruned.
create table pruned (
	patient text collate "C" not null,
	kind    smallint not null,
	seq     bigint not null,
	primary key (patient, kind)
);

-- What hosts' own transactions leave for a Hub. A Hub takes it once they have
-- committed; what it can never take stays, with the reason.
create table pending (
	n       bigint generated always as identity primary key,
	kind    smallint not null, -- 1 vital, 2 alert
	event   text not null,     -- as the wire has it, with its ID
	after   timestamptz not null default now(), -- not to be tried before
	refused text
);
create index pending_open on pending (kind desc, n) where refused is null;
