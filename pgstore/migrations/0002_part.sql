-- Entries say in which part of the log they stand. All that is there stands in
-- part 0, and so does what nodes of version 1 write, who do not know the column.
-- Locks the tables for a moment.

alter table version add column newest int not null default 2; -- of the files that were run; version is the oldest package that does with the tables

alter table epochs add column later boolean not null default false; -- begins the logs that are new from then on, and leaves the others alone

alter table log add column part int not null default 0;
alter table log add constraint log_part check (part = 0) not valid;

alter table states add column part int not null default 0; -- of the entry, unless a node of version 1 has written it: then it is 0 whatever stands here

alter table pending add column what smallint not null default 0; -- of kind 2: 0 an alert to be raised, 1 one to be cleared, 2 a notice
