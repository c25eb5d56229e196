-- The ledger's statements, by name. Parameters are psycopg's.

-- name: open
-- Open a new arrival. Inserts nothing if its identity is known, or if an arrival with the same content is unfinished or
-- done. If the same bytes were rejected after some of their rows were committed, the new arrival starts behind these
-- rows, so that the sink does not get them twice.
insert into headgate.arrival
    (identity, pipeline, source, kind, name, path, size_bytes, mtime_ns, content_sha256,
     cluster, topic, topic_id, partition, first_offset, end_offset, ordered, content_key, spool, home,
     state, reason, detail, replay_of, noticed_at, rows_committed, finished_at)
values
    (%(identity)s, %(pipeline)s, %(source)s, %(kind)s, %(name)s, %(path)s, %(size)s, %(mtime_ns)s, %(sha256)s,
     %(cluster)s, %(topic)s, %(topic_id)s, %(partition)s, %(first)s, %(end)s, %(ordered)s, %(content_key)s, %(spool)s, %(home)s,
     %(state)s, %(reason)s, %(detail)s, %(replay_of)s, %(noticed_at)s,
     coalesce((select max(before.rows_committed) from headgate.arrival as before
               where before.state = 'rejected' and before.rows_committed > 0
                 and (before.arrival_id = %(continues)s or before.content_key = %(content_key)s)), 0),
     case when %(state)s in ('rejected', 'skipped') then now() end)
on conflict do nothing
returning arrival_id, state;

-- name: known
-- The arrival with this identity, and whether its bytes are settled or were given up as lost.
select arrival_id, state, settled_at is not null and (state <> 'rejected' or kept_at is not null) as settled,
       settled_at is not null and state = 'rejected' and kept_at is null as lost
from headgate.arrival where identity = %(identity)s;

-- name: open_duplicate
-- Open it as a duplicate of the arrival with the same content.
insert into headgate.arrival
    (identity, pipeline, source, kind, name, path, size_bytes, mtime_ns, content_sha256,
     cluster, topic, topic_id, partition, first_offset, end_offset, ordered, content_key, spool, home,
     state, duplicate_of, replay_of, noticed_at, finished_at, detail)
select %(identity)s, %(pipeline)s, %(source)s, %(kind)s, %(name)s, %(path)s, %(size)s, %(mtime_ns)s, %(sha256)s,
       %(cluster)s, %(topic)s, %(topic_id)s, %(partition)s, %(first)s, %(end)s, %(ordered)s, %(content_key)s, %(spool)s, %(home)s,
       'duplicate', original.arrival_id, %(replay_of)s, %(noticed_at)s, now(),
       format('the same bytes arrived before, as arrival %%s (%%s)', original.arrival_id, original.name)
from headgate.arrival as original
where original.content_key = %(content_key)s and original.state not in ('duplicate', 'rejected')
returning arrival_id, state;

-- name: seen
-- Files at these paths that were opened before.
select path, size_bytes, mtime_ns from headgate.arrival
where pipeline = %(pipeline)s and source = %(source)s and sha256(path) = any(%(paths)s)
  and (home is null or home = %(home)s);

-- name: spooled
-- Which of these places in a home's spool belong to an arrival.
select spool from headgate.arrival where spool = any(%(spools)s) and home = %(home)s;

-- name: homeless
-- Files that no home owns yet (they were opened before homes existed), and where their bytes are.
select arrival_id, spool, path from headgate.arrival
where home = '00000000-0000-0000-0000-000000000000' order by arrival_id;

-- name: adopt
-- Assign these files to the home that has their bytes.
update headgate.arrival set home = %(home)s
where arrival_id = any(%(ids)s) and home = '00000000-0000-0000-0000-000000000000'
returning arrival_id;

-- name: found_again
-- The bytes of an arrival that was given up as lost were found: record where they are, and settle it again.
update headgate.arrival set spool = %(spool)s, home = %(home)s, settled_at = null
where arrival_id = %(arrival_id)s and state = 'rejected' and settled_at is not null and kept_at is null
returning arrival_id;

-- name: settled
-- Record that these arrivals are settled, and where their bytes are kept.
update headgate.arrival as a
set settled_at = now(), kept_at = place.kept_at, spool = null
from unnest(%(ids)s::bigint[], %(kept_at)s::text[]) as place (arrival_id, kept_at)
where a.arrival_id = place.arrival_id and a.settled_at is null and (a.home is null or a.home = %(home)s);

-- name: unsettled
-- Ended arrivals that are not settled yet, oldest first.
select arrival_id, pipeline, source, name, coalesce(path, '') as path, spool, state, reason, detail, finished_at
from headgate.arrival
where settled_at is null and state in ('done', 'rejected', 'duplicate', 'skipped') and (home is null or home = %(home)s)
  and (%(ids)s::bigint[] is null or arrival_id = any(%(ids)s))
order by arrival_id
limit %(limit)s;

-- name: reject_exhausted
-- Reject due arrivals with no attempts left: their processes died, or the limit was lowered. Each due arrival, whatever
-- its state, matches either this statement or `claim`. Locked rows are skipped: a commit is in progress.
update headgate.arrival as a
set state = 'rejected', finished_at = now(),
    reason = case when state = 'claimed' then 'crash-loop' else 'attempts-used-up' end,
    detail = case when state = 'claimed'
        then format('%%s runs ended without a word while they worked on it; look at the logs of its last run, then replay it', attempts)
        else coalesce(detail, 'no attempts left') end
from (select arrival_id from headgate.arrival
      where pipeline = %(pipeline)s and state in ('ready', 'retry', 'claimed') and due_at <= now()
        and attempts >= %(attempts)s and attempts > 0
        and (home is null or home = %(home)s::uuid)
      for update skip locked) as spent
where a.arrival_id = spent.arrival_id
returning a.arrival_id, a.name, a.reason, a.attempts;

-- name: claim
-- Lease due arrivals to a run, leaving out starts that another live run of its home works on. The oldest due arrival
-- leads; the others must have the same start and the same number of attempts. Each earlier attempt cuts the batch to
-- an eighth, so that an arrival that kills its process is soon alone. A last attempt after failed ones is always made
-- alone: otherwise its neighbours would be given up with it. (`order by home` where home is null is for the index:
-- after `is null` alone, PostgreSQL does not know that the index is in order.)
with elsewhere as materialized (
    select t.start_id
    from headgate.ring as r join headgate.taken as t on t.holder = r.answered_by
    where r.pipeline = %(pipeline)s and r.home is not distinct from %(home)s::uuid
      and r.left_at is null and r.alive_until > now() and r.answered_by <> %(holder)s
), files as (
    select arrival_id, size_bytes, attempts, due_at, start_id
    from headgate.arrival
    where pipeline = %(pipeline)s and not ordered and home = %(home)s::uuid
      and (%(start)s::bigint is null or start_id = %(start)s)
      and start_id not in (select start_id from elsewhere)
      and state in ('ready', 'retry', 'claimed')
      and (due_at <= now() or (arrival_id = %(only)s and state = 'retry'))
      and attempts < %(attempts)s
      and (%(only)s::bigint is null or arrival_id = %(only)s)
    order by due_at, arrival_id
    limit %(arrivals)s
    for update skip locked
), unordered as (
    select arrival_id, size_bytes, attempts, due_at, start_id
    from headgate.arrival
    where pipeline = %(pipeline)s and not ordered and home is null
      and (%(start)s::bigint is null or start_id = %(start)s)
      and start_id not in (select start_id from elsewhere)
      and state in ('ready', 'retry', 'claimed')
      and (due_at <= now() or (arrival_id = %(only)s and state = 'retry'))
      and attempts < %(attempts)s
      and (%(only)s::bigint is null or arrival_id = %(only)s)
    order by home, due_at, arrival_id
    limit %(arrivals)s
    for update skip locked
), ordered as (
    select a.arrival_id, a.size_bytes, a.attempts, a.due_at, a.start_id
    from headgate.whose_turn(%(pipeline)s) as head join headgate.arrival as a on a.arrival_id = head.arrival_id
    where a.state in ('ready', 'retry', 'claimed')
      and (%(start)s::bigint is null or a.start_id = %(start)s)
      and a.start_id not in (select start_id from elsewhere)
      and (a.due_at <= now() or (a.arrival_id = %(only)s and a.state = 'retry'))
      and a.attempts < %(attempts)s
      and (%(only)s::bigint is null or a.arrival_id = %(only)s)
    order by a.due_at, a.arrival_id
    limit %(arrivals)s
    for update of a skip locked
), candidate as (
    select * from files union all select * from unordered union all select * from ordered
    order by due_at, arrival_id limit %(arrivals)s
), placed as (
    select arrival_id, attempts, start_id = first_value(start_id) over by_age as of_one_start,
           first_value(attempts) over by_age as lead_attempts,
           row_number() over by_age as place,
           sum(size_bytes) over by_age as bytes
    from candidate
    window by_age as (order by due_at, arrival_id)
), chosen as (
    select arrival_id from placed
    where place = 1
       or (of_one_start and attempts = lead_attempts and bytes <= %(bytes)s
           and place <= greatest(1, %(arrivals)s / power(8, lead_attempts))
           and (lead_attempts = 0 or lead_attempts + 1 < %(attempts)s))
), leased as (
    update headgate.arrival as a
    set state = 'claimed', lease_epoch = a.lease_epoch + 1, attempts = a.attempts + 1, claimed_by = %(holder)s,
        claimed_at = now(), due_at = now() + %(lease)s,
        rung_at = rung.rung_at, answered_at = rung.answered_at, parsed_at = null, enriched_at = null
    from chosen left join lateral (
        select r.rung_at, r.answered_at from headgate.ring as r
        where r.answered_by = %(holder)s and r.left_at is null order by r.answered_at desc limit 1) as rung on true
    where a.arrival_id = chosen.arrival_id
    returning a.*
)
select * from leased order by arrival_id;

-- name: peek
-- The arrivals that a claim could lease next, without leasing them. Includes parked arrivals and those not due yet,
-- because a person asks.
(select * from headgate.arrival
 where pipeline = %(pipeline)s and state in ('ready', 'retry') and not ordered and home = %(home)s::uuid
   and (%(only)s::bigint is null or arrival_id = %(only)s)
 order by due_at, arrival_id
 limit %(arrivals)s)
union all
(select * from headgate.arrival
 where pipeline = %(pipeline)s and state in ('ready', 'retry') and not ordered and home is null
   and (%(only)s::bigint is null or arrival_id = %(only)s)
 order by home, due_at, arrival_id
 limit %(arrivals)s)
union all
(select * from headgate.arrival
 where pipeline = %(pipeline)s and state = 'parked' and not ordered and (home is null or home = %(home)s::uuid)
   and (%(only)s::bigint is null or arrival_id = %(only)s)
 order by arrived_at, arrival_id
 limit %(arrivals)s)
union all
(select a.* from headgate.whose_turn(%(pipeline)s) as head join headgate.arrival as a on a.arrival_id = head.arrival_id
 where a.state in ('parked', 'ready', 'retry') and (%(only)s::bigint is null or a.arrival_id = %(only)s))
order by due_at, arrival_id
limit %(arrivals)s;

-- name: renew
-- Renew a run's leases. Skips arrivals that a commit in progress has locked: the commit renews them itself, and waiting
-- for it would delay the renewal of the others.
update headgate.arrival as a
set due_at = clock_timestamp() + %(lease)s
from (select arrival_id from headgate.arrival
      where claimed_by = %(holder)s and state = 'claimed' and due_at > clock_timestamp()
      for update skip locked) as held
where a.arrival_id = held.arrival_id;

-- name: fence
-- Lock arrivals before anything is written for them, and read their epochs.
select arrival_id, lease_epoch, state, rows_committed, due_at > clock_timestamp() as live
from headgate.arrival
where arrival_id = any(%(ids)s)
order by arrival_id
for update;

-- name: advance
-- Record what was committed of each arrival; `ended` marks those whose last row is included. The others get a fresh
-- lease: the commit may have outlasted the old one, which nobody could renew while the row was locked.
update headgate.arrival as a
set rows_committed = part.rows_committed,
    rows_in = a.rows_in + part.rows_in,
    rows_persisted = a.rows_persisted + part.rows_persisted,
    rows_dead = a.rows_dead + part.rows_dead,
    rows_skipped = a.rows_skipped + part.rows_skipped,
    state = case when part.ended then 'done' else a.state end,
    finished_at = case when part.ended then clock_timestamp() end,
    due_at = case when part.ended then a.due_at else clock_timestamp() + %(lease)s end,
    parsed_at = clock_timestamp() - %(since_parsed)s::interval,
    enriched_at = clock_timestamp() - %(since_enriched)s::interval,
    reason = case when part.ended then null else a.reason end,
    detail = case when not part.ended then a.detail
                  when a.rows_skipped + part.rows_skipped > 0 then %(skipping)s::text end
from unnest(%(ids)s::bigint[], %(rows_committed)s::bigint[], %(rows_in)s::bigint[], %(rows_persisted)s::bigint[],
            %(rows_dead)s::bigint[], %(rows_skipped)s::bigint[], %(ended)s::boolean[])
    as part (arrival_id, rows_committed, rows_in, rows_persisted, rows_dead, rows_skipped, ended)
where a.arrival_id = part.arrival_id;

-- name: retry
-- Put a claimed arrival back for a later attempt.
update headgate.arrival
set state = 'retry', due_at = now() + %(delay)s, reason = %(reason)s, detail = %(detail)s
where arrival_id = %(arrival_id)s and lease_epoch = %(epoch)s and state = 'claimed'
returning arrival_id;

-- name: postpone
-- Put a claimed arrival back for a cause not its own, such as an unavailable source; the attempt does not count.
update headgate.arrival
set state = 'retry', due_at = now() + %(delay)s, reason = %(reason)s, detail = %(detail)s, attempts = attempts - 1
where arrival_id = %(arrival_id)s and lease_epoch = %(epoch)s and state = 'claimed'
returning arrival_id;

-- name: release
-- Hand back arrivals claimed under these epochs; the attempt does not count. Leaves arrivals whose lease ran out alone:
-- their attempt counts, because the run may have hung.
update headgate.arrival as a
set state = 'ready', due_at = now(), attempts = a.attempts - 1
from unnest(%(ids)s::bigint[], %(epochs)s::int[]) as mine (arrival_id, epoch)
where a.arrival_id = mine.arrival_id and a.lease_epoch = mine.epoch and a.state = 'claimed' and a.due_at > now();

-- name: reject
-- Give up a claimed arrival; its bytes are kept.
update headgate.arrival
set state = 'rejected', finished_at = now(), reason = %(reason)s, detail = %(detail)s
where arrival_id = %(arrival_id)s and lease_epoch = %(epoch)s and state = 'claimed'
returning arrival_id;

-- name: set_aside_arrival
-- Write the dead letter for a whole arrival; its bytes are the kept file.
insert into headgate.dead_letter (arrival_id, row_number, stage, reason, faults, attempt)
select arrival_id, null, %(stage)s, reason, jsonb_build_array(jsonb_build_object('rule', reason, 'column', null, 'value', detail)), attempts
from headgate.arrival where arrival_id = any(%(ids)s)
on conflict do nothing;

-- name: post
-- Put a fact into the outbox.
insert into headgate.outbox (kind, pipeline, facts) values (%(kind)s, %(pipeline)s, %(facts)s);

-- name: post_of
-- Put a fact about arrivals that a run holds or has just ended into the outbox, with their names and the run's id.
insert into headgate.outbox (kind, pipeline, facts)
select %(kind)s, %(pipeline)s, %(facts)s::jsonb || jsonb_build_object(
           'names', coalesce(jsonb_agg(left(name, 250) order by arrival_id), '[]'), 'run', split_part(min(claimed_by), '.', 1))
from headgate.arrival where arrival_id = any(%(ids)s);

-- name: post_arrived
-- Put the opening of these arrivals into the outbox.
insert into headgate.outbox (kind, pipeline, facts)
select case kind when 'file' then %(of_file)s else %(of_messages)s end, pipeline,
       jsonb_build_object('arrival', arrival_id, 'source', source, 'name', name, 'size', size_bytes, 'state', state)
       || case kind when 'file' then '{}' else jsonb_build_object(
              'topic', topic, 'partition', partition, 'first_offset', first_offset, 'end_offset', end_offset) end
from headgate.arrival where arrival_id = any(%(ids)s) order by arrival_id;

-- name: post_rejected
-- Put the rejection of these arrivals into the outbox.
insert into headgate.outbox (kind, pipeline, facts)
select %(kind)s, pipeline,
       jsonb_build_object('arrival', arrival_id, 'source', source, 'name', name, 'reason', reason, 'attempts', attempts,
                          'detail', left(detail, 500), 'run', split_part(claimed_by, '.', 1))
from headgate.arrival where arrival_id = any(%(ids)s) order by arrival_id;

-- name: hold
update headgate.arrival set state = 'held' where arrival_id = %(arrival_id)s and state in ('parked', 'ready', 'retry') returning arrival_id;

-- name: unhold
-- Let a held or parked arrival be claimed, with all its attempts restored: a person has looked at it.
update headgate.arrival set state = 'ready', due_at = now(), attempts = 0 where arrival_id = %(arrival_id)s and state in ('held', 'parked') returning arrival_id;

-- name: outstanding
-- For each pipeline in a home: its due files and due ranges (which any home may work on), both counted up to `most`;
-- how many runs are at work on it there; and its unanswered rings.
select
    asked.pipeline,
    case when trouble.until is null and held.until is null then files.claimable else 0 end as claimable,
    case when held.until is null then least(ranges.claimable + turns.claimable, asked.most) else 0 end as ranges,
    least(next_file.due_at, next_range.due_at, turns.next_due, trouble.until, held.until) - now() as next_due_in,
    rings.busy,
    rings.unanswered,
    rings.rung,
    now() - rings.oldest as oldest_ring_age
from unnest(%(pipelines)s::text[], %(most)s::bigint[]) as asked (pipeline, most)
cross join (
    select max(trouble_until) as until from headgate.home
    where home_id = %(home)s::uuid and trouble_until > now()) as trouble
cross join lateral (
    select max(again_at) as until from headgate.hold where pipeline = asked.pipeline and again_at > now()) as held
cross join lateral (
    select count(*) as claimable
    from (select from headgate.arrival
          where pipeline = asked.pipeline and not ordered and home = %(home)s::uuid
            and state in ('ready', 'retry', 'claimed') and due_at <= now()
          order by due_at limit asked.most) as due) as files
left join lateral (
    select due_at from headgate.arrival
    where pipeline = asked.pipeline and not ordered and home = %(home)s::uuid
      and state in ('ready', 'retry', 'claimed') and due_at > now()
    order by due_at limit 1) as next_file on true
cross join lateral (
    select count(*) as claimable
    from (select from headgate.arrival
          where pipeline = asked.pipeline and not ordered and home is null
            and state in ('ready', 'retry', 'claimed') and due_at <= now()
          order by home, due_at limit asked.most) as due) as ranges
left join lateral (
    select due_at from headgate.arrival
    where pipeline = asked.pipeline and not ordered and home is null
      and state in ('ready', 'retry', 'claimed') and due_at > now()
    order by home, due_at limit 1) as next_range on true
cross join lateral (
    select count(*) filter (where a.due_at <= now()) as claimable, min(a.due_at) filter (where a.due_at > now()) as next_due
    from headgate.whose_turn(asked.pipeline) as head join headgate.arrival as a on a.arrival_id = head.arrival_id
    where a.state in ('ready', 'retry', 'claimed')) as turns
cross join lateral (
    select
        count(*) filter (where answered_at is not null and alive_until > now()) as busy,
        count(*) filter (where answered_at is null) as unanswered,
        max(rung) filter (where answered_at is null) as rung,
        min(rung_at) filter (where answered_at is null) as oldest
    from headgate.ring
    where pipeline = asked.pipeline and home is not distinct from %(home)s::uuid and left_at is null) as rings;

-- name: lead
-- Become or stay the leader for one lease, unless another holder is.
insert into headgate.leader (role, holder, alive_until) values (%(role)s, %(holder)s, now() + %(lease)s)
on conflict (role) do update set holder = excluded.holder, alive_until = excluded.alive_until
where leader.holder = excluded.holder or leader.alive_until < now()
returning role;

-- name: usual_answers
-- The 90th percentile of how long the 20 latest answered first rings waited; no row for fewer than 5.
select percentile_cont(0.9) within group (order by waited) as wait from (
    select answered_at - rung_at as waited from headgate.ring
    where answered_at is not null and rung = 0 and answered_at > rung_at
    order by answered_at desc limit 20) as latest
having count(*) >= 5;

-- name: latest_answer
-- The latest ring that was answered, except those that runs make for themselves.
select direct from headgate.ring where answered_at is not null and answered_at > rung_at order by answered_at desc limit 1;

-- name: ring
-- Record a ring before it is rung.
insert into headgate.ring (ring_id, pipeline, home, rung, direct)
values (%(ring_id)s, %(pipeline)s, %(home)s, %(rung)s, %(direct)s);

-- name: unring
-- Delete a ring that could not be rung.
delete from headgate.ring where ring_id = %(ring_id)s and answered_at is null;

-- name: give_up_rings
-- Close unanswered rings: a new ring takes their place, or nothing is left to claim.
update headgate.ring set left_at = now() where pipeline = %(pipeline)s and home is not distinct from %(home)s and answered_at is null and left_at is null;

-- name: wait_longer
-- Restart the wait of the open rings: runs are queued already.
update headgate.ring set rung_at = now() where pipeline = %(pipeline)s and home is not distinct from %(home)s and answered_at is null and left_at is null;

-- name: answer
-- A run has begun: for a ring, for a ring that was closed meanwhile, or without one (started by hand).
insert into headgate.ring (ring_id, pipeline, home, rung, answered_at, answered_by, alive_until)
values (%(ring_id)s, %(pipeline)s, %(home)s, 0, now(), %(holder)s, now() + %(lease)s)
on conflict (ring_id) do update
set answered_at = now(), answered_by = excluded.answered_by, alive_until = excluded.alive_until, left_at = null;

-- name: before
-- When the last arrival of the previous run of this pipeline in this home came; when it was rung, if none is recorded.
select coalesce(last_arrival_at, rung_at) as at from headgate.ring
where pipeline = %(pipeline)s and home is not distinct from %(home)s and answered_at is not null
  and answered_by <> %(holder)s
order by answered_at desc limit 1;

-- name: keep_alive
update headgate.ring set alive_until = now() + %(lease)s where answered_by = %(holder)s and left_at is null;

-- name: leave
-- The run is over: wake the announcer, because work may have come too late for this run.
with gone as (
    update headgate.ring set left_at = now(), last_arrival_at = %(last_arrival_at)s
    where answered_by = %(holder)s and left_at is null returning pipeline
), forgotten as (
    delete from headgate.holder where holder = %(holder)s
)
select pg_notify('headgate', pipeline) from gone;

-- name: holder_takes
-- Take the holder's lock in this session; false if an earlier session of the same holder still has it.
select pg_try_advisory_lock(hashtextextended(%(holder)s, 4)) as taken;

-- name: holder_is_there
-- Record that the holder has its lock, for the first time or again.
insert into headgate.holder (holder) values (%(holder)s)
on conflict (holder) do update set taken_at = clock_timestamp(), free_since = null;

-- name: holders_look
-- Note which locks are free. A holder whose lock has stayed free for the grace is dead. This transaction takes the free
-- locks, so nobody else can take them until it ends.
with looked as materialized (
    select holder, free_since, pg_try_advisory_xact_lock(hashtextextended(holder, 4)) as free from headgate.holder
), noted as (
    update headgate.holder as h set free_since = clock_timestamp()
    from looked where h.holder = looked.holder and looked.free and h.free_since is null
)
select holder, free_since, free and coalesce(free_since <= clock_timestamp() - %(grace)s::interval, false) as dead
from looked;

-- name: holders_lose
-- Make the claims of dead holders due now. Skips locked rows: a statement that briefly outlives its client commits
-- them, and the next look finds them.
update headgate.arrival as a
set due_at = now()
from (select arrival_id from headgate.arrival
      where claimed_by = any(%(holders)s) and state = 'claimed' and due_at > now()
      for update skip locked) as held
where a.arrival_id = held.arrival_id;

-- name: holders_leave
-- Delete dead holders with no claims left, close the rings that they had answered, and wake the announcer.
with gone as (
    delete from headgate.holder as h
    where h.holder = any(%(holders)s)
      and not exists (select from headgate.arrival as a
                      where a.claimed_by = h.holder and a.state = 'claimed' and a.due_at > now())
    returning holder
), left_rings as (
    update headgate.ring as r set left_at = now() from gone where r.answered_by = gone.holder and r.left_at is null
    returning r.pipeline
), told as (
    select pg_notify('headgate', pipeline) from left_rings
)
select holder, (select count(*) from told) as told from gone;

-- name: notify
select pg_notify('headgate', %(pipeline)s);

-- name: outbox_next
select outbox_id, event_id, kind, pipeline, facts, occurred_at from headgate.outbox order by outbox_id limit %(limit)s;

-- name: outbox_sent
delete from headgate.outbox where outbox_id = any(%(ids)s);

-- name: arrivals
-- Arrivals for display, newest first.
select arrival_id, pipeline, source, name, state, size_bytes, reason, detail, attempts, rows_in, rows_persisted,
       rows_dead, rows_skipped, duplicate_of, replay_of, claimed_by, coalesce(kept_at, spool) as kept_at, arrived_at, claimed_at,
       finished_at, due_at
from headgate.arrival
where (%(arrival_id)s::bigint is null or arrival_id = %(arrival_id)s)
  and (%(pipeline)s::text is null or pipeline = %(pipeline)s)
  and (%(state)s::text is null or state = %(state)s)
  and (%(name)s::text is null or name like %(name)s)
  and (%(since)s::interval is null or arrived_at >= now() - %(since)s::interval)
order by arrival_id desc
limit %(limit)s;

-- name: arrivals_count
select count(*) as count from headgate.arrival
where (%(pipeline)s::text is null or pipeline = %(pipeline)s)
  and (%(state)s::text is null or state = %(state)s)
  and (%(name)s::text is null or name like %(name)s)
  and (%(since)s::interval is null or arrived_at >= now() - %(since)s::interval);

-- name: transitions
select at, from_state, to_state, epoch, by, reason, detail
from headgate.transition where arrival_id = %(arrival_id)s order by transition_id;

-- name: hops
-- When an arrival passed each step. Leaves out steps that its run took before the arrival was opened.
select case kind when 'file' then to_timestamp(mtime_ns / 1e9) end as modified_at, noticed_at, arrived_at,
       case when rung_at >= arrived_at then rung_at end as rung_at,
       case when answered_at >= arrived_at then answered_at end as answered_at,
       claimed_at, parsed_at, enriched_at, case state when 'done' then finished_at end as committed_at
from headgate.arrival where arrival_id = %(arrival_id)s;

-- name: dead_letter_counts
select stage, reason, count(*) as count from headgate.dead_letter
where arrival_id = %(arrival_id)s and row_number is not null group by stage, reason order by count desc;

-- name: dead_letters
-- Dead letters, newest first.
select d.dead_letter_id, d.arrival_id, a.pipeline, a.source, a.name, d.row_number, d.stage, d.reason, d.faults, d.original,
       d.format, d.preamble, d.envelope, d.attempt, d.state, d.replayed_as, d.created_at, a.kept_at,
       d.copy_to, d.copied_at, d.copy_refused, a.content_key,
       coalesce(a.path, '') as path,
       a.cluster, a.topic, a.topic_id, a.partition, a.first_offset, a.end_offset, a.size_bytes
from headgate.dead_letter as d join headgate.arrival as a using (arrival_id)
where (%(ids)s::bigint[] is null or d.dead_letter_id = any(%(ids)s))
  and (%(pipeline)s::text is null or a.pipeline = %(pipeline)s)
  and (%(arrival_id)s::bigint is null or d.arrival_id = %(arrival_id)s)
  and (%(reason)s::text is null or d.reason = %(reason)s)
  and (%(state)s::text is null or d.state = %(state)s)
  and (%(since)s::timestamptz is null or d.created_at >= %(since)s)
  and (%(rounds)s::int is null or headgate.rounds(d.arrival_id) < %(rounds)s)
order by d.dead_letter_id desc
limit %(limit)s;

-- name: dead_letters_count
select count(*) as count from headgate.dead_letter as d join headgate.arrival as a using (arrival_id)
where (%(ids)s::bigint[] is null or d.dead_letter_id = any(%(ids)s))
  and (%(pipeline)s::text is null or a.pipeline = %(pipeline)s)
  and (%(arrival_id)s::bigint is null or d.arrival_id = %(arrival_id)s)
  and (%(reason)s::text is null or d.reason = %(reason)s)
  and (%(state)s::text is null or d.state = %(state)s)
  and (%(since)s::timestamptz is null or d.created_at >= %(since)s)
  and (%(rounds)s::int is null or headgate.rounds(d.arrival_id) < %(rounds)s);

-- name: dead_letter_ids
select d.dead_letter_id from headgate.dead_letter as d join headgate.arrival as a using (arrival_id)
where (%(ids)s::bigint[] is null or d.dead_letter_id = any(%(ids)s))
  and (%(pipeline)s::text is null or a.pipeline = %(pipeline)s)
  and (%(arrival_id)s::bigint is null or d.arrival_id = %(arrival_id)s)
  and (%(reason)s::text is null or d.reason = %(reason)s)
  and (%(state)s::text is null or d.state = %(state)s)
  and (%(since)s::timestamptz is null or d.created_at >= %(since)s)
  and (%(rounds)s::int is null or headgate.rounds(d.arrival_id) < %(rounds)s);

-- name: dead_letters_beyond
-- How many open dead letters are left out because they were replayed too often.
select count(*) as count from headgate.dead_letter as d join headgate.arrival as a using (arrival_id)
where d.state = 'open' and a.replay_of is not null
  and (%(pipeline)s::text is null or a.pipeline = %(pipeline)s)
  and (%(reason)s::text is null or d.reason = %(reason)s)
  and (%(since)s::timestamptz is null or d.created_at >= %(since)s)
  and headgate.rounds(d.arrival_id) >= %(rounds)s;

-- name: copy_topics
select distinct copy_to from headgate.dead_letter
where copy_to is not null and copied_at is null and copy_refused is null and envelope is not null
  and coalesce(copy_due_at <= now(), true)
order by copy_to;

-- name: take_copies
-- Take the oldest dead letters whose copy is not on its topic yet; for one lease nobody else takes them.
with mine as (
    select dead_letter_id from headgate.dead_letter
    where copy_to = any(%(topics)s) and copied_at is null and copy_refused is null and envelope is not null
      and coalesce(copy_due_at <= now(), true)
    order by dead_letter_id
    limit %(limit)s
    for update skip locked
)
update headgate.dead_letter as d set copy_due_at = now() + %(lease)s
from mine, headgate.arrival as a
where d.dead_letter_id = mine.dead_letter_id and a.arrival_id = d.arrival_id
returning d.dead_letter_id, d.copy_to, d.reason, d.stage, d.faults, d.original, d.envelope,
          a.topic, a.source;

-- name: copies_ended
-- Record for each copy that it is on its topic (null), or why Kafka will never take it.
update headgate.dead_letter as d
set copied_at = case when each.refused is null then now() end, copy_refused = each.refused, copy_due_at = null
from unnest(%(ids)s::bigint[], %(refused)s::text[]) as each (dead_letter_id, refused)
where d.dead_letter_id = each.dead_letter_id;

-- name: give_copies_back
update headgate.dead_letter set copy_due_at = null where dead_letter_id = any(%(ids)s);

-- name: lock_dead_letters
-- Which of these dead letters are open; locked, so that nobody else closes them before this transaction ends.
select dead_letter_id from headgate.dead_letter
where dead_letter_id = any(%(ids)s) and state = 'open'
order by dead_letter_id
for update;

-- name: close_dead_letters
update headgate.dead_letter set state = %(state)s, replayed_as = %(replayed_as)s, closed_at = now()
where dead_letter_id = any(%(ids)s) and state = 'open'
returning dead_letter_id;

-- name: summary
-- What became of each pipeline's arrivals. `seconds` sums the time from claim to finish, once per claim.
with work as (
    select pipeline, extract(epoch from sum(took))::float8 as seconds
    from (select pipeline, max(finished_at) - claimed_at as took from headgate.arrival
          where state = 'done' and claimed_at is not null and arrived_at >= coalesce(%(since)s, '-infinity'::timestamptz)
          group by pipeline, claimed_by, claimed_at) as claim
    group by pipeline
)
select a.pipeline,
       count(*) as arrived,
       count(*) filter (where state in ('ready', 'retry')) as waiting,
       count(*) filter (where state = 'claimed') as claimed,
       count(*) filter (where state = 'parked') as parked,
       count(*) filter (where state = 'held') as held,
       count(*) filter (where state = 'done') as done,
       count(*) filter (where state = 'rejected') as rejected,
       count(*) filter (where state = 'duplicate') as duplicates,
       count(*) filter (where state = 'skipped') as skipped,
       coalesce(sum(rows_persisted), 0)::bigint as rows_persisted,
       coalesce(sum(rows_dead), 0)::bigint as dead_letters,
       coalesce(sum(end_offset - first_offset), 0)::bigint as messages,
       max(work.seconds) as seconds,
       extract(epoch from now() - min(arrived_at) filter (where state in ('ready', 'retry', 'claimed')))::float8 as oldest_seconds
from headgate.arrival as a left join work on work.pipeline = a.pipeline
where arrived_at >= coalesce(%(since)s, '-infinity'::timestamptz)
group by a.pipeline order by a.pipeline;

-- name: rings_summary
select count(*) filter (where rung > 0 and not direct) as again, count(*) filter (where direct) as direct
from headgate.ring;

-- name: forget
-- Retention: delete old arrivals that are done, duplicate or skipped, with their transitions. Keeps arrivals with dead
-- letters, and those of sources that leave files in place: a forgotten file there would be taken in again.
delete from headgate.arrival as a
where a.state in ('done', 'duplicate', 'skipped') and a.settled_at is not null and a.finished_at < now() - %(retention)s
  and not exists (select from headgate.dead_letter as d where d.arrival_id = a.arrival_id)
  and not exists (select from unnest(%(pipelines)s::text[], %(sources)s::text[]) as stay (pipeline, source)
                  where stay.pipeline = a.pipeline and stay.source = a.source)
returning a.arrival_id;

-- name: close_dead_rings
-- A run that has not renewed its lease for two leases is dead, or hangs and is fenced.
update headgate.ring set left_at = alive_until
where answered_at is not null and left_at is null and alive_until < now() - %(lease)s;

-- name: over
-- Which of these runs are over; those that answered no ring are left out.
select answered_by as holder, bool_and(left_at is not null) as over
from headgate.ring where answered_by = any(%(holders)s) group by answered_by;

-- name: forget_rings
delete from headgate.ring where left_at < now() - interval '1 day' or (answered_at is null and rung_at < now() - interval '1 day');

-- name: cursor_lock
-- Keep other listeners from beginning the same source at the same time.
select pg_advisory_xact_lock(hashtextextended(format('%%s %%s %%s', %(pipeline)s::text, %(source)s::text, %(cluster)s::text), 0));

-- name: cursor_first
-- Whether nobody has begun this source yet. A separate statement after `cursor_lock`, because one that waits for the
-- lock itself has a snapshot from before the wait.
select not exists (select from headgate.cursor
                   where pipeline = %(pipeline)s and source = %(source)s and cluster = %(cluster)s) as first;

-- name: cursor_begin
insert into headgate.cursor (pipeline, source, cluster, topic, topic_id, partition, next_offset)
values (%(pipeline)s, %(source)s, %(cluster)s, %(topic)s, %(topic_id)s, %(partition)s, %(offset)s)
on conflict do nothing
returning partition;

-- name: cursor_recreated
-- Halt the cursors of a deleted topic: its name now belongs to another topic.
update headgate.cursor
set halted = 'recreated', halted_at = now(), detail = %(detail)s
where pipeline = %(pipeline)s and source = %(source)s and cluster = %(cluster)s and topic_id <> %(topic_id)s
  and halted is distinct from 'recreated'
returning *;

-- name: cursor_note
-- Record where partitions end, if that is known, and which listener looked; return their cursors.
update headgate.cursor as c
set end_offset = coalesce(seen.end_offset, c.end_offset), owner = %(owner)s, seen_at = now()
from unnest(%(pipelines)s::text[], %(sources)s::text[], %(topic_ids)s::text[], %(partitions)s::int[], %(ends)s::bigint[])
    as seen (pipeline, source, topic_id, partition, end_offset)
where c.cluster = %(cluster)s and c.pipeline = seen.pipeline and c.source = seen.source
  and c.topic_id = seen.topic_id and c.partition = seen.partition
returning c.*;

-- name: cursor_neglected
-- Partitions of declared sources that no listener has looked at for this long.
select distinct c.topic, c.partition
from headgate.cursor as c
join unnest(%(pipelines)s::text[], %(sources)s::text[], %(topic_ids)s::text[]) as declared (pipeline, source, topic_id)
  using (pipeline, source, topic_id)
where c.cluster = %(cluster)s and c.halted is null and coalesce(c.seen_at, c.begun_at) < now() - %(longer)s
order by 1, 2;

-- name: cursor_advance
-- Compare-and-set: moves nothing unless the cursor still has the expected offset and generation.
update headgate.cursor
set next_offset = %(end)s, leader_epoch = %(leader_epoch)s, moved_at = now(),
    end_offset = greatest(end_offset, %(end)s)
where pipeline = %(pipeline)s and source = %(source)s and cluster = %(cluster)s and topic_id = %(topic_id)s
  and partition = %(partition)s and next_offset = %(first)s and generation = %(generation)s and halted is null
returning partition;

-- name: cursor_halt
update headgate.cursor
set halted = %(reason)s, detail = %(detail)s, resume_at = %(resume_at)s, halted_at = now()
where pipeline = %(pipeline)s and source = %(source)s and cluster = %(cluster)s and topic_id = %(topic_id)s
  and partition = %(partition)s and halted is null
returning *;

-- name: cursor_move
-- Move a cursor to the offset a person chose, and resume it. Moving back raises the generation, so that the ranges cut
-- again are new arrivals.
update headgate.cursor
set next_offset = %(to)s, halted = null, detail = null, halted_at = null, resume_at = null, leader_epoch = null,
    moved_at = now(), generation = generation + case when %(to)s < next_offset then 1 else 0 end
where pipeline = %(pipeline)s and source = %(source)s and cluster = %(cluster)s and topic_id = %(topic_id)s
  and partition = %(partition)s and next_offset = %(expected)s
returning *;

-- name: cursor_changed
insert into headgate.cursor_change (pipeline, source, topic, topic_id, partition, action, from_offset, to_offset, by, reason)
values (%(pipeline)s, %(source)s, %(topic)s, %(topic_id)s, %(partition)s, %(action)s, %(from)s, %(to)s, %(by)s, %(reason)s);

-- name: cursors
-- Cursors for display.
select * from headgate.cursor
where (%(pipeline)s::text is null or pipeline = %(pipeline)s)
  and (%(topic)s::text is null or topic = %(topic)s)
  and (%(partition)s::int is null or partition = %(partition)s)
order by pipeline, topic, begun_at, topic_id, partition;

-- name: unfinished
-- A pipeline's unfinished arrivals, counted up to `most`, and the sources and partitions in which some of those counted
-- are unclaimed. (Parked arrivals have an index of their own, and each `order by` is that of its index: one look at all
-- four states would read everything that ended, too.)
select count(*) as unfinished,
       coalesce(jsonb_agg(distinct jsonb_build_array(source, partition)) filter (where state in ('parked', 'ready')), '[]') as waiting
from ((select source, partition, state from headgate.arrival
       where pipeline = %(pipeline)s and state in ('ready', 'retry', 'claimed')
       order by ordered, home, due_at, arrival_id limit %(most)s)
      union all
      (select source, partition, state from headgate.arrival
       where pipeline = %(pipeline)s and state = 'parked'
       order by arrived_at, arrival_id limit %(most)s)
      limit %(most)s) as known;

-- name: hold_put
-- Hold a pipeline for a permanent cause: each further try waits twice as long, up to `longest`.
insert into headgate.hold as h (pipeline, cause, again_at) values (%(pipeline)s, %(cause)s, now() + %(first)s)
on conflict (pipeline) do update
set cause = excluded.cause, tries = h.tries + 1,
    again_at = now() + least(%(first)s * power(2, least(h.tries, 20))::float8, %(longest)s)
returning tries;

-- name: hold_lift
-- The cause is fixed: release the pipeline, and make the arrivals that waited for this cause due now.
with gone as (delete from headgate.hold where pipeline = %(pipeline)s returning pipeline, cause)
update headgate.arrival as a set due_at = now()
from gone where a.pipeline = gone.pipeline and a.state = 'retry' and a.due_at > now()
  and right(a.detail, length(gone.cause)) = gone.cause;

-- name: holds
select pipeline, cause, tries, since, again_at from headgate.hold order by pipeline;

-- name: process_beat
-- Record a heartbeat, and delete processes that have been silent for a day.
with old as (delete from headgate.process where alive_until < now() - interval '1 day')
insert into headgate.process
    (process_id, kind, host, pid, home, version, pipelines, digest, names, trouble, clock, alive_until)
values
    (%(process_id)s, %(kind)s, %(host)s, %(pid)s, %(home)s, %(version)s, %(pipelines)s, %(digest)s, %(names)s,
     %(trouble)s, %(clock)s, now() + %(lease)s)
on conflict (process_id) do update
set trouble = excluded.trouble, clock = excluded.clock, beat_at = now(), alive_until = excluded.alive_until;

-- name: process_leave
delete from headgate.process where process_id = any(%(ids)s);

-- name: processes
-- Processes at work now or within the last day, and how far ahead of the database's clock theirs was.
select process_id, kind, host, pid, home, version, pipelines, digest, names, trouble, started_at, beat_at,
       alive_until > now() as alive, extract(epoch from now() - beat_at)::float8 as silent_seconds,
       extract(epoch from clock - beat_at)::float8 as skew_seconds
from headgate.process order by kind, host, started_at;

-- name: screen
-- What `headgate status` shows for each pipeline. "Today" is the database's day.
select coalesce(a.pipeline, d.pipeline) as pipeline,
       coalesce(a.arrived, 0) as arrived, coalesce(a.waiting, 0) as waiting, coalesce(a.running, 0) as running,
       coalesce(a.parked, 0) as parked, coalesce(a.held, 0) as held, coalesce(a.done, 0) as done, coalesce(a.skipped, 0) as skipped, coalesce(a.rejected, 0) as rejected,
       coalesce(a.rejected_since, 0) as rejected_since_yesterday,
       coalesce(a.duplicates, 0) as duplicates, coalesce(a.rows_persisted, 0)::bigint as rows_persisted,
       coalesce(a.rows_today, 0)::bigint as rows_today,
       coalesce(d.open, 0) as dead_letters, coalesce(d.since, 0) as dead_letters_since_yesterday,
       a.oldest_seconds
from (select pipeline,
             count(*) as arrived,
             count(*) filter (where state in ('ready', 'retry')) as waiting,
             count(*) filter (where state = 'claimed') as running,
             count(*) filter (where state = 'parked') as parked,
             count(*) filter (where state = 'held') as held,
             count(*) filter (where state = 'done') as done,
             count(*) filter (where state = 'skipped') as skipped,
             count(*) filter (where state = 'rejected') as rejected,
             count(*) filter (where state = 'rejected' and finished_at > now() - interval '1 day') as rejected_since,
             count(*) filter (where state = 'duplicate') as duplicates,
             sum(rows_persisted) as rows_persisted,
             sum(rows_persisted) filter (where finished_at >= date_trunc('day', now())) as rows_today,
             extract(epoch from now() - min(arrived_at) filter (where state in ('ready', 'retry', 'claimed')))::float8
                 as oldest_seconds
      from headgate.arrival group by pipeline) as a
full join (select a.pipeline, count(*) as open, count(*) filter (where d.created_at > now() - interval '1 day') as since
           from headgate.dead_letter as d join headgate.arrival as a using (arrival_id)
           where d.state = 'open' and d.row_number is not null group by a.pipeline) as d on d.pipeline = a.pipeline
order by 1;

-- name: hours
-- What ended in each hour of the last day, by pipeline; hours in which nothing ended are left out.
select pipeline, extract(epoch from now() - finished_at)::bigint / 3600 as hours_ago,
       coalesce(sum(rows_persisted), 0)::bigint as rows_persisted,
       coalesce(sum(rows_dead), 0)::bigint as dead_letters,
       count(*) filter (where state = 'rejected') as rejected
from headgate.arrival
where finished_at > now() - interval '1 day' and finished_at <= now() and state in ('done', 'rejected')
group by 1, 2 order by 1, 2 desc;

-- name: rings_open
-- Unanswered open rings by pipeline: how many, and the age of the oldest.
select pipeline, count(*) as unanswered, extract(epoch from now() - min(made_at))::float8 as oldest_seconds
from headgate.ring where answered_at is null and left_at is null group by pipeline order by pipeline;

-- name: knows_pipeline
select exists (select from headgate.arrival where pipeline = %(pipeline)s) as known;

-- name: homes
-- All homes, oldest first. `deaf_since` is when the oldest overdue ring of the last 15 minutes was made, if no ring has
-- been answered since.
select h.home_id, h.name, h.host, h.path, h.made_at, h.alive_until, h.alive_until > now() as alive,
       case when h.trouble_until > now() then h.trouble end as trouble,
       (select min(r.made_at) from headgate.ring as r
        where r.home = h.home_id and r.answered_at is null and r.made_at > now() - interval '15 minutes'
          and r.made_at < now() - %(answer_within)s
          and r.made_at > coalesce((select max(b.answered_at) from headgate.ring as b
                                    where b.home = h.home_id and b.answered_at is not null), '-infinity')) as deaf_since
from headgate.home as h order by h.made_at, h.name;

-- name: homes_waiting
-- What each home has left to work on or to settle.
select home as home_id, count(*) as waiting, min(arrived_at) as oldest
from headgate.arrival
where home is not null and (state in ('parked', 'ready', 'retry', 'claimed', 'held')
       or settled_at is null and state in ('done', 'rejected', 'duplicate', 'skipped'))
group by home;

-- name: home_beat
select home_id, name, beat from headgate.home where home_id = %(home)s;

-- name: home_to_join
-- The home with this id, and homes last seen in this folder, locked until the transaction ends.
select *, alive_until > now() as alive from headgate.home
where home_id = %(home)s or (host = %(host)s and path = %(path)s)
order by home_id = %(home)s desc
for update;

-- name: home_lock
-- Create one home at a time.
select pg_advisory_xact_lock(hashtextextended('headgate.home', 0));

-- name: home_names
-- The names that are taken. A separate statement after `home_lock`, because one that waits for the lock itself has a
-- snapshot from before the wait.
select name from headgate.home;

-- name: home_make
insert into headgate.home (home_id, name, host, path, folder, beat, alive_until)
values (%(home)s, %(name)s, %(host)s, %(path)s, %(folder)s, %(beat)s, now() + %(lease)s);

-- name: home_raise
-- Record the beat that was just raised in the folder; the row is locked.
update headgate.home
set beat = %(beat)s, host = %(host)s, path = %(path)s, folder = %(folder)s, alive_until = now() + %(lease)s,
    trouble = null, trouble_until = null
where home_id = %(home)s;

-- name: home_leave
update headgate.home set alive_until = now() where home_id = %(home)s;

-- name: home_trouble
-- A run found that it cannot use its home: ring nobody for its files for a while.
update headgate.home set trouble = %(trouble)s, trouble_until = now() + %(wait)s
where home_id = (select home from headgate.ring where ring_id = %(ring_id)s);

-- name: home_given_up
-- A person says that a home's files are gone: reject its unfinished arrivals as lost.
update headgate.arrival
set state = 'rejected', reason = 'lost', finished_at = now(), settled_at = now(), spool = null,
    detail = 'its home was given up; drop the file again'
where home = %(home)s and state in ('parked', 'ready', 'retry', 'claimed', 'held')
returning arrival_id;

-- name: home_settled
update headgate.arrival set settled_at = now(), spool = null
where home = %(home)s and settled_at is null and state in ('done', 'rejected', 'duplicate', 'skipped');

-- name: home_forget
delete from headgate.home where home_id = %(home)s;
