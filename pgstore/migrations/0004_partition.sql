-- The log becomes a table of parts. The table of before is part 0: it takes all
-- but vitals, and vitals whose day has no part. Vitals of a day, or of some days,
-- are a part of their own, which is dropped as a whole. Locks the log for a moment.

alter table log rename to log_rest;

create table log (like log_rest including defaults) partition by range (part);
alter table log attach partition log_rest for values from (0) to (1);

-- The parts of vitals. An entry's part is the day on which it was received,
-- counted from 1970, if there is a part that has it, else 0.
create table parts (
	first int primary key,  -- day
	after int not null      -- the first day that is not in it any more
);

-- Whoever may use the log may go on to.
do $$
declare
	one record;
begin
	for one in
		select a.grantee, a.privilege_type, r.rolname
		from pg_class c cross join lateral aclexplode(c.relacl) a left join pg_roles r on r.oid = a.grantee
		where c.oid = format('%I.log_rest', current_schema())::regclass and a.grantee <> c.relowner
	loop
		execute format('grant %s on %I.log, %I.parts to %s', one.privilege_type, current_schema(), current_schema(),
			case one.grantee when 0 then 'public' else quote_ident(one.rolname) end);
	end loop;
end $$;

-- Makes the part of some days. Nodes write meanwhile.
create function add_part(first_day int, after_day int) returns void
	language plpgsql security definer set search_path from current set lock_timeout = '1s' as $$
declare
	part text := format('%I.%I', current_schema(), 'log_' || first_day);
	log  text := format('%I.log', current_schema());
begin
	execute format('create table %s (like %s_rest including defaults, primary key (patient, seq), check (part >= %s and part < %s))', part, log, first_day, after_day);
	execute format('create unique index on %s (patient, sender, id) where id <> %L', part, '');
	execute format('alter table %s attach partition %s for values from (%s) to (%s)', log, part, first_day, after_day);
	execute format('insert into %I.parts values (%s, %s)', current_schema(), first_day, after_day);
end $$;

-- Drops a part, unless something in it is still the newest of its key. Waits no
-- longer than a moment for those who read, for all who come meanwhile wait behind it.
create function drop_part(first_day int) returns boolean
	language plpgsql security definer set search_path from current set lock_timeout = '300ms' as $$
declare
	part text := format('%I.%I', current_schema(), 'log_' || first_day);
	log  text := format('%I.log', current_schema());
	kept boolean;
begin
	execute format('lock table %s in access exclusive mode', log);
	execute format('select exists (select from %I.states s join %I.parts p on s.part >= p.first and s.part < p.after where p.first = %s)', current_schema(), current_schema(), first_day) into kept;
	if kept then
		return false;
	end if;
	execute format('alter table %s detach partition %s', log, part);
	execute format('drop table %s', part);
	execute format('delete from %I.parts where first = %s', current_schema(), first_day);
	return true;
end $$;

update version set newest = 4;
