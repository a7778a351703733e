-- Each statement by itself, outside of a transaction: nodes write meanwhile. One
-- that was broken off is done again from the beginning of the file.

drop index concurrently if exists states_open;
create index concurrently states_open on states (changed, patient, key) where open and changed is not null;

drop index concurrently if exists states_current;
create index concurrently states_current on states (patient) where kind = 1 or open;

drop index concurrently if exists states_part;
create index concurrently states_part on states (part) where part > 0;

drop index concurrently if exists log_old_vitals;
create index concurrently log_old_vitals on log_rest (coalesce(received, '-infinity'), patient, seq) where kind in (1, 6);

drop index concurrently if exists log_old_others;
create index concurrently log_old_others on log_rest (coalesce(received, '-infinity'), patient, seq) where kind not in (1, 6);

drop index concurrently if exists log_received;

update version set newest = 5;
