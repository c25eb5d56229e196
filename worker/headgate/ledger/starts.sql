-- Statements about starts, by name, as in queries.sql.

-- name: parked_pipelines
-- Which of these pipelines have parked arrivals.
select pipeline from unnest(%(pipelines)s::text[]) as asked (pipeline)
where exists (select from headgate.arrival as a where a.pipeline = asked.pipeline and a.state = 'parked');

-- name: pace_lock
-- Lock a pipeline's starts: one transaction decides about them at a time.
insert into headgate.pace (pipeline) values (%(pipeline)s)
on conflict (pipeline) do update set pipeline = excluded.pipeline
returning asked_at;

-- name: waiting
-- The number and size of a pipeline's parked arrivals, counted up to `most` (null: all), and when the oldest and the
-- newest came.
select clock_timestamp() as now, parked.count, parked.size, oldest.arrived_at as oldest, newest.arrived_at as newest
from (select count(*) as count, coalesce(sum(size_bytes), 0)::bigint as size
      from (select size_bytes from headgate.arrival
            where pipeline = %(pipeline)s and state = 'parked'
            order by arrived_at, arrival_id limit %(most)s) as first) as parked
cross join lateral (
    select arrived_at from headgate.arrival where pipeline = %(pipeline)s and state = 'parked'
    order by arrived_at, arrival_id limit 1) as oldest
cross join lateral (
    select arrived_at from headgate.arrival where pipeline = %(pipeline)s and state = 'parked'
    order by arrived_at desc, arrival_id desc limit 1) as newest;

-- name: recent_starts
-- A pipeline's starts within the last period, oldest first.
select started_at as at, cost from headgate.start
where pipeline = %(pipeline)s and started_at > clock_timestamp() - %(period)s::interval
order by started_at;

-- name: persisted_since_start
-- When the pipelines in `after` persisted rows, for the first time since this pipeline's last start that all of them did
-- so within `within` seconds (null: any time) of each other; empty if they have not. Each turn looks up what each of
-- them persisted first from some time on. What lies too far before the latest of these cannot be part of it, so the next
-- turn looks from `within` before that. This passes over all that one pipeline persisted while another was silent.
with recursive look as (
    select coalesce(max(due_at) + interval '1 microsecond', '-infinity') as since, false as found,
           null::timestamptz[] as times
    from headgate.start where pipeline = %(pipeline)s
    union all
    select from_there, coalesce(earliest >= from_there, true), firsts.times
    from look cross join lateral (
        select min(persisted.at) as earliest, bool_and(persisted.at is not null) as complete,
               max(persisted.at) - %(within)s::float8 * interval '1 second' as from_there,
               array_agg(persisted.at order by other.place) as times
        from unnest(%(after)s::text[]) with ordinality as other (name, place)
        left join lateral (
            select a.finished_at as at from headgate.arrival as a
            where a.pipeline = other.name and a.state = 'done' and a.rows_persisted > 0 and a.finished_at >= look.since
            order by a.finished_at limit 1) as persisted on true) as firsts
    where not look.found and firsts.complete
)
select each.at, each.pipeline
from look cross join lateral unnest(look.times, %(after)s::text[]) as each (at, pipeline)
where look.found order by each.at;

-- name: start
insert into headgate.start (pipeline, due_at, cost, arrivals) values (%(pipeline)s, %(due_at)s, %(cost)s, 0)
returning start_id;

-- name: let_go
-- Let the oldest parked arrivals be claimed, up to `take` (null: all).
with chosen as (
    select arrival_id from headgate.arrival
    where pipeline = %(pipeline)s and state = 'parked'
    order by arrived_at, arrival_id limit %(take)s
    for update
)
update headgate.arrival as a set state = 'ready', due_at = now(), start_id = %(of_start)s, detail = null
from chosen where a.arrival_id = chosen.arrival_id;

-- name: started
update headgate.start set arrivals = %(arrivals)s where start_id = %(start_id)s;

-- name: pace_asked
update headgate.pace set asked_at = clock_timestamp()
where pipeline = %(pipeline)s and asked_at is null
  and exists (select from headgate.arrival as a where a.pipeline = %(pipeline)s and a.state = 'parked');

-- name: pace_served
update headgate.pace set asked_at = null where pipeline = %(pipeline)s;

-- name: let_one_go
-- Let one parked arrival be claimed because a person asked for it.
update headgate.arrival set state = 'ready', due_at = now(), detail = null
where arrival_id = %(arrival_id)s and pipeline = %(pipeline)s and state = 'parked';

-- name: take_start
insert into headgate.taken (start_id, holder) values (%(start_id)s, %(holder)s) on conflict do nothing;

-- name: forget_starts
-- Delete old starts. A pipeline's last one stays: `persisted_since_start` counts from there.
delete from headgate.start as s
where s.started_at < now() - %(retention)s
  and s.start_id < (select max(later.start_id) from headgate.start as later where later.pipeline = s.pipeline);
