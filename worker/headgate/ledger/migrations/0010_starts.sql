-- When a pipeline runs: arrivals wait, parked, for a start of their pipeline; what does not meet a condition is skipped.

alter table headgate.arrival
    drop constraint arrival_state_check,
    add constraint arrival_state_check check (
        state in ('parked', 'ready', 'claimed', 'retry', 'held', 'done', 'rejected', 'duplicate', 'skipped')),
    add column start_id bigint not null default 0;  -- the start that it belongs to; 0: none

create index arrival_parked on headgate.arrival (pipeline, arrived_at, arrival_id) include (size_bytes)
    where state = 'parked';
-- What pipelines that come after this one look for.
create index arrival_persisted on headgate.arrival (pipeline, finished_at)
    where state = 'done' and rows_persisted > 0;

-- Each start of a pipeline that does not run on every arrival.
create table headgate.start (
    start_id   bigint generated always as identity primary key,
    pipeline   text        not null,
    due_at     timestamptz not null,  -- when it was due, by what had happened
    started_at timestamptz not null default clock_timestamp(),
    cost       integer     not null,  -- so many starts, as a rate counts them
    arrivals   integer     not null   -- that it let go
);
create index start_of_pipeline on headgate.start (pipeline, started_at);

-- Which runs have claimed of a start: while one of a home lives, no other run of that home gets anything of it.
create table headgate.taken (
    start_id bigint not null references headgate.start on delete cascade,
    holder   text   not null,
    primary key (start_id, holder)
);

-- One row for a pipeline that parks: locked by whoever decides about its starts.
create table headgate.pace (
    pipeline text primary key,
    asked_at timestamptz              -- when a person or a rule asked for a start that was not made yet
);

-- Skipped ones have ended too.
create or replace function headgate.check_transition() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and old.state in ('done', 'rejected', 'duplicate', 'skipped') and new.state <> old.state then
        raise exception 'arrival % is %, no way leads from there to %', old.arrival_id, old.state, new.state
            using errcode = 'check_violation';
    end if;
    if tg_op = 'INSERT' or new.state <> old.state or new.lease_epoch <> old.lease_epoch then
        insert into headgate.transition (arrival_id, from_state, to_state, epoch, by, reason, detail)
        values (new.arrival_id, case when tg_op = 'UPDATE' then old.state end, new.state, new.lease_epoch,
                new.claimed_by, new.reason, new.detail);
    end if;
    return null;
end
$$;

drop index headgate.arrival_unsettled;
create index arrival_unsettled on headgate.arrival (arrival_id)
    where settled_at is null and state in ('done', 'rejected', 'duplicate', 'skipped');

drop index headgate.arrival_ordered;
create index arrival_ordered on headgate.arrival (pipeline, source, partition, arrival_id)
    where ordered and state not in ('done', 'rejected', 'duplicate', 'skipped');

create or replace function headgate.whose_turn(of_pipeline text) returns table (arrival_id bigint) stable language sql as $$
    with recursive head as (
        (select a.source, a.partition, a.arrival_id from headgate.arrival as a
         where a.pipeline = of_pipeline and a.ordered and a.state not in ('done', 'rejected', 'duplicate', 'skipped')
         order by a.source, a.partition, a.arrival_id
         limit 1)
        union all
        select next.source, next.partition, next.arrival_id
        from head cross join lateral (
            select a.source, a.partition, a.arrival_id from headgate.arrival as a
            where a.pipeline = of_pipeline and a.ordered and a.state not in ('done', 'rejected', 'duplicate', 'skipped')
              and (a.source, a.partition) > (head.source, head.partition)
            order by a.source, a.partition, a.arrival_id
            limit 1) as next
    )
    select head.arrival_id from head
$$;
