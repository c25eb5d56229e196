-- Every statement of the ledger, by name. Parameters are psycopg's.

-- name: open
-- Open what is new: a known identity is skipped here, and so is content that is on its way or done already. Rows that
-- the same bytes brought to the sink before they were rejected are there: they are not to come a second time.
insert into headgate.arrival
    (identity, pipeline, source, kind, name, path, size_bytes, mtime_ns, content_sha256,
     cluster, topic, topic_id, partition, first_offset, end_offset, ordered, content_key, spool,
     state, reason, detail, replay_of, noticed_at, rows_committed, finished_at)
values
    (%(identity)s, %(pipeline)s, %(source)s, %(kind)s, %(name)s, %(path)s, %(size)s, %(mtime_ns)s, %(sha256)s,
     %(cluster)s, %(topic)s, %(topic_id)s, %(partition)s, %(first)s, %(end)s, %(ordered)s, %(content_key)s, %(spool)s,
     %(state)s, %(reason)s, %(detail)s, %(replay_of)s, %(noticed_at)s,
     coalesce((select max(before.rows_committed) from headgate.arrival as before
               where before.state = 'rejected' and before.rows_committed > 0
                 and (before.arrival_id = %(continues)s or before.content_key = %(content_key)s)), 0),
     case when %(state)s = 'rejected' then now() end)
on conflict do nothing
returning arrival_id, state;

-- name: known
-- The arrival of an identity.
select arrival_id, state from headgate.arrival where identity = %(identity)s;

-- name: open_duplicate
-- Open as a duplicate of the arrival with the same content.
insert into headgate.arrival
    (identity, pipeline, source, kind, name, path, size_bytes, mtime_ns, content_sha256,
     cluster, topic, topic_id, partition, first_offset, end_offset, ordered, content_key, spool,
     state, duplicate_of, replay_of, noticed_at, finished_at, detail)
select %(identity)s, %(pipeline)s, %(source)s, %(kind)s, %(name)s, %(path)s, %(size)s, %(mtime_ns)s, %(sha256)s,
       %(cluster)s, %(topic)s, %(topic_id)s, %(partition)s, %(first)s, %(end)s, %(ordered)s, %(content_key)s, %(spool)s,
       'duplicate', original.arrival_id, %(replay_of)s, %(noticed_at)s, now(),
       format('the same bytes arrived before, as arrival %%s (%%s)', original.arrival_id, original.name)
from headgate.arrival as original
where original.content_key = %(content_key)s and original.state not in ('duplicate', 'rejected')
returning arrival_id, state;

-- name: seen
-- Of these files, those that were opened before.
select path, size_bytes, mtime_ns from headgate.arrival
where pipeline = %(pipeline)s and source = %(source)s and path = any(%(paths)s);

-- name: spooled
-- Of these places in the spool, those that an arrival knows.
select spool from headgate.arrival where spool = any(%(spools)s);

-- name: settled
-- The bytes of these arrivals came to rest.
update headgate.arrival as a
set settled_at = now(), kept_at = place.kept_at, spool = null
from unnest(%(ids)s::bigint[], %(kept_at)s::text[]) as place (arrival_id, kept_at)
where a.arrival_id = place.arrival_id and a.settled_at is null;

-- name: unsettled
-- Ended arrivals whose bytes have not come to rest, oldest first.
select arrival_id, pipeline, source, name, coalesce(path, '') as path, spool, state, reason, detail, finished_at
from headgate.arrival
where settled_at is null and state in ('done', 'rejected', 'duplicate')
  and (%(ids)s::bigint[] is null or arrival_id = any(%(ids)s))
order by arrival_id
limit %(limit)s;

-- name: reject_exhausted
-- Give up what has had all its attempts: its processes died, or the allowed attempts were lowered.
update headgate.arrival
set state = 'rejected', finished_at = now(),
    reason = case when state = 'claimed' then 'crash-loop' else 'attempts-used-up' end,
    detail = case when state = 'claimed'
        then format('%%s runs ended without a word while they worked on it; look at the logs of its last run, then replay it', attempts)
        else coalesce(detail, 'no attempts left') end
where pipeline = %(pipeline)s and state in ('retry', 'claimed') and due_at <= now() and attempts >= %(attempts)s
returning arrival_id, name, reason, attempts;

-- name: claim
-- Lease what is due to a run. The oldest decides: only arrivals with as many attempts come along, and the more there
-- were, the fewer (an eighth each time), so that one that kills its process ends alone; the last attempt after a failed
-- one is made alone in any case, or its neighbours would be given up with it.
with candidate as (
    select arrival_id, size_bytes, attempts, due_at
    from headgate.arrival
    where pipeline = %(pipeline)s
      and state in ('ready', 'retry', 'claimed')
      and (due_at <= now() or (arrival_id = %(only)s and state = 'retry'))
      and attempts < %(attempts)s
      and headgate.has_turn(arrival)
      and (%(only)s::bigint is null or arrival_id = %(only)s)
    order by due_at, arrival_id
    limit %(arrivals)s
    for update skip locked
), placed as (
    select arrival_id, attempts,
           first_value(attempts) over by_age as lead_attempts,
           row_number() over by_age as place,
           sum(size_bytes) over by_age as bytes
    from candidate
    window by_age as (order by due_at, arrival_id)
), chosen as (
    select arrival_id from placed
    where place = 1
       or (attempts = lead_attempts and bytes <= %(bytes)s
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
-- What a claim would lease, without leasing it.
select * from headgate.arrival
where pipeline = %(pipeline)s and state in ('ready', 'retry')
  and (%(only)s::bigint is null or arrival_id = %(only)s)
  and headgate.has_turn(arrival)
order by due_at, arrival_id
limit %(arrivals)s;

-- name: renew
-- Hold the claims of a run for another lease; those it lost are not counted.
update headgate.arrival
set due_at = now() + %(lease)s
where claimed_by = %(holder)s and state = 'claimed' and due_at > now();

-- name: fence
-- Lock arrivals before anything is written for them, and see under which epoch they stand.
select arrival_id, lease_epoch, state, rows_committed, due_at > clock_timestamp() as live
from headgate.arrival
where arrival_id = any(%(ids)s)
order by arrival_id
for update;

-- name: advance
-- Record what was committed of arrivals; `ended` are those whose last row is among it.
update headgate.arrival as a
set rows_committed = part.rows_committed,
    rows_in = a.rows_in + part.rows_in,
    rows_persisted = a.rows_persisted + part.rows_persisted,
    rows_dead = a.rows_dead + part.rows_dead,
    rows_skipped = a.rows_skipped + part.rows_skipped,
    state = case when part.ended then 'done' else a.state end,
    finished_at = case when part.ended then clock_timestamp() end,
    parsed_at = clock_timestamp() - %(since_parsed)s::interval,
    enriched_at = clock_timestamp() - %(since_enriched)s::interval,
    reason = case when part.ended then null else a.reason end,
    detail = case when part.ended then null else a.detail end
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
-- Put a claimed arrival back because what it is read from is away; the attempt does not count.
update headgate.arrival
set state = 'retry', due_at = now() + %(delay)s, reason = %(reason)s, detail = %(detail)s, attempts = attempts - 1
where arrival_id = %(arrival_id)s and lease_epoch = %(epoch)s and state = 'claimed'
returning arrival_id;

-- name: release
-- Hand claimed arrivals back untouched; the attempt does not count.
update headgate.arrival
set state = 'ready', due_at = now(), attempts = attempts - 1
where claimed_by = %(holder)s and state = 'claimed';

-- name: reject
-- Give an arrival up, its bytes kept.
update headgate.arrival
set state = 'rejected', finished_at = now(), reason = %(reason)s, detail = %(detail)s
where arrival_id = %(arrival_id)s and lease_epoch = %(epoch)s and state = 'claimed'
returning arrival_id;

-- name: set_aside_arrival
-- The dead letter of a whole arrival; its bytes are the kept file.
insert into headgate.dead_letter (arrival_id, row_number, stage, reason, faults, attempt)
select arrival_id, null, %(stage)s, reason, jsonb_build_array(jsonb_build_object('rule', reason, 'column', null, 'value', detail)), attempts
from headgate.arrival where arrival_id = any(%(ids)s)
on conflict do nothing;

-- name: post
-- Put a fact into the outbox.
insert into headgate.outbox (kind, pipeline, facts) values (%(kind)s, %(pipeline)s, %(facts)s);

-- name: post_arrived
-- Put into the outbox that these arrivals were opened.
insert into headgate.outbox (kind, pipeline, facts)
select case kind when 'file' then 'file.arrived' else 'messages.arrived' end, pipeline,
       jsonb_build_object('arrival', arrival_id, 'source', source, 'name', name, 'size', size_bytes, 'state', state)
       || case kind when 'file' then '{}' else jsonb_build_object(
              'topic', topic, 'partition', partition, 'first_offset', first_offset, 'end_offset', end_offset) end
from headgate.arrival where arrival_id = any(%(ids)s) order by arrival_id;

-- name: post_rejected
-- Put into the outbox that these arrivals were given up.
insert into headgate.outbox (kind, pipeline, facts)
select 'arrivals.rejected', pipeline,
       jsonb_build_object('arrival', arrival_id, 'source', source, 'name', name, 'reason', reason, 'attempts', attempts)
from headgate.arrival where arrival_id = any(%(ids)s) order by arrival_id;

-- name: hold
update headgate.arrival set state = 'held' where arrival_id = %(arrival_id)s and state in ('ready', 'retry') returning arrival_id;

-- name: unhold
update headgate.arrival set state = 'ready', due_at = now() where arrival_id = %(arrival_id)s and state = 'held' returning arrival_id;

-- name: outstanding
-- What each pipeline has to do, who works on it, and which rings nobody answered.
select
    coalesce(work.claimable, 0) as claimable,
    work.next_due - now() as next_due_in,
    coalesce(rings.busy, 0) as busy,
    coalesce(rings.unanswered, 0) as unanswered,
    rings.rung,
    now() - rings.oldest as oldest_ring_age
from (select
        count(*) filter (where due_at <= now() and headgate.has_turn(arrival)) as claimable,
        min(due_at) filter (where due_at > now()) as next_due
      from headgate.arrival
      where pipeline = %(pipeline)s and state in ('ready', 'retry', 'claimed')) as work,
     (select
        count(*) filter (where answered_at is not null and alive_until > now()) as busy,
        count(*) filter (where answered_at is null) as unanswered,
        max(rung) filter (where answered_at is null) as rung,
        min(rung_at) filter (where answered_at is null) as oldest
      from headgate.ring
      where pipeline = %(pipeline)s and left_at is null) as rings;

-- name: ring
-- Record a ring before it is rung.
insert into headgate.ring (ring_id, pipeline, rung, direct) values (%(ring_id)s, %(pipeline)s, %(rung)s, %(direct)s);

-- name: unring
-- A ring that could not be rung never was.
delete from headgate.ring where ring_id = %(ring_id)s and answered_at is null;

-- name: give_up_rings
-- Rings that nobody will answer any more: a new one takes their place.
update headgate.ring set left_at = now() where pipeline = %(pipeline)s and answered_at is null and left_at is null;

-- name: wait_longer
-- Runs are queued already: count the wait of the open rings anew.
update headgate.ring set rung_at = now() where pipeline = %(pipeline)s and answered_at is null and left_at is null;

-- name: answer
-- A run has come: for a ring, for a ring given up meanwhile, or by itself (started by hand).
insert into headgate.ring (ring_id, pipeline, rung, answered_at, answered_by, alive_until)
values (%(ring_id)s, %(pipeline)s, 0, now(), %(holder)s, now() + %(lease)s)
on conflict (ring_id) do update
set answered_at = now(), answered_by = excluded.answered_by, alive_until = excluded.alive_until, left_at = null;

-- name: keep_alive
update headgate.ring set alive_until = now() + %(lease)s where answered_by = %(holder)s and left_at is null;

-- name: leave
-- The run is over: wake the announcer, for there may be work that came too late for it.
with gone as (
    update headgate.ring set left_at = now() where answered_by = %(holder)s and left_at is null returning pipeline
)
select pg_notify('headgate', pipeline) from gone;

-- name: notify
select pg_notify('headgate', %(pipeline)s);

-- name: outbox_next
select outbox_id, event_id, kind, pipeline, facts, occurred_at from headgate.outbox order by outbox_id limit %(limit)s;

-- name: outbox_sent
delete from headgate.outbox where outbox_id = any(%(ids)s);

-- name: arrivals
-- Arrivals as people are shown them, newest first.
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

-- name: transitions
select at, from_state, to_state, epoch, by, reason, detail
from headgate.transition where arrival_id = %(arrival_id)s order by transition_id;

-- name: hops
-- When an arrival passed each point of its way. What a run that was at work already did before is no hop of it.
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
       coalesce(a.path, '') as path,
       a.cluster, a.topic, a.topic_id, a.partition, a.first_offset, a.end_offset, a.size_bytes
from headgate.dead_letter as d join headgate.arrival as a using (arrival_id)
where (%(ids)s::bigint[] is null or d.dead_letter_id = any(%(ids)s))
  and (%(pipeline)s::text is null or a.pipeline = %(pipeline)s)
  and (%(arrival_id)s::bigint is null or d.arrival_id = %(arrival_id)s)
  and (%(reason)s::text is null or d.reason = %(reason)s)
  and (%(state)s::text is null or d.state = %(state)s)
order by d.dead_letter_id desc
limit %(limit)s;

-- name: copy_topics
select distinct copy_to from headgate.dead_letter
where copy_to is not null and copied_at is null and envelope is not null
order by copy_to;

-- name: uncopied_dead_letters
-- Dead letters whose copy is not on its topic yet, oldest first; nobody else takes them until the transaction is over.
select d.dead_letter_id, d.copy_to, d.reason, d.stage, d.faults, d.original, d.envelope,
       coalesce(a.topic, substr(a.source, 7)) as topic
from headgate.dead_letter as d join headgate.arrival as a using (arrival_id)
where d.copy_to = any(%(topics)s) and d.copied_at is null and d.envelope is not null
order by d.dead_letter_id
limit %(limit)s
for update of d skip locked;

-- name: copied_dead_letters
update headgate.dead_letter set copied_at = now() where dead_letter_id = any(%(ids)s);

-- name: close_dead_letters
update headgate.dead_letter set state = %(state)s, replayed_as = %(replayed_as)s, closed_at = now()
where dead_letter_id = any(%(ids)s) and state = 'open'
returning dead_letter_id;

-- name: summary
-- What `headgate status` shows of each pipeline.
select pipeline,
       count(*) as arrived,
       count(*) filter (where state in ('ready', 'retry')) as waiting,
       count(*) filter (where state = 'claimed') as claimed,
       count(*) filter (where state = 'held') as held,
       count(*) filter (where state = 'done') as done,
       count(*) filter (where state = 'rejected') as rejected,
       count(*) filter (where state = 'duplicate') as duplicates,
       coalesce(sum(rows_persisted), 0)::bigint as rows_persisted,
       coalesce(sum(rows_dead), 0)::bigint as dead_letters,
       coalesce(sum(end_offset - first_offset), 0)::bigint as messages,
       extract(epoch from max(finished_at) filter (where state = 'done') - min(arrived_at) filter (where state = 'done'))::float8 as seconds,
       extract(epoch from now() - min(arrived_at) filter (where state in ('ready', 'retry', 'claimed')))::float8 as oldest_seconds
from headgate.arrival
where arrived_at >= coalesce(%(since)s, '-infinity'::timestamptz)
group by pipeline order by pipeline;

-- name: rings_summary
select count(*) filter (where rung > 0 and not direct) as again, count(*) filter (where direct) as direct
from headgate.ring;

-- name: forget
-- Retention: what is done or a duplicate and old leaves the ledger with its audit. Dead letters hold their arrival back;
-- so do sources that leave their files where they are: once forgotten, a file there would be taken in again.
delete from headgate.arrival as a
where a.state in ('done', 'duplicate') and a.settled_at is not null and a.finished_at < now() - %(retention)s
  and not exists (select from headgate.dead_letter as d where d.arrival_id = a.arrival_id)
  and not exists (select from unnest(%(pipelines)s::text[], %(sources)s::text[]) as stay (pipeline, source)
                  where stay.pipeline = a.pipeline and stay.source = a.source)
returning a.arrival_id;

-- name: forget_rings
delete from headgate.ring where left_at < now() - interval '1 day' or (answered_at is null and rung_at < now() - interval '1 day');

-- name: cursor_first
-- Keep others from beginning the same source at the same time, and see whether anybody began it before.
select pg_advisory_xact_lock(hashtextextended(format('%%s %%s %%s', %(pipeline)s::text, %(source)s::text, %(cluster)s::text), 0)),
       not exists (select from headgate.cursor
                   where pipeline = %(pipeline)s and source = %(source)s and cluster = %(cluster)s) as first;

-- name: cursor_begin
insert into headgate.cursor (pipeline, source, cluster, topic, topic_id, partition, next_offset)
values (%(pipeline)s, %(source)s, %(cluster)s, %(topic)s, %(topic_id)s, %(partition)s, %(offset)s)
on conflict do nothing
returning partition;

-- name: cursor_recreated
-- Halt what belongs to a topic that is no more: its name means another one now.
update headgate.cursor
set halted = 'recreated', halted_at = now(), detail = %(detail)s
where pipeline = %(pipeline)s and source = %(source)s and cluster = %(cluster)s and topic_id <> %(topic_id)s
  and halted is distinct from 'recreated'
returning *;

-- name: cursor_note
-- Write down where partitions end and who looked; what the ledger says of them comes back.
update headgate.cursor as c
set end_offset = seen.end_offset, owner = %(owner)s, seen_at = now()
from unnest(%(pipelines)s::text[], %(sources)s::text[], %(topic_ids)s::text[], %(partitions)s::int[], %(ends)s::bigint[])
    as seen (pipeline, source, topic_id, partition, end_offset)
where c.cluster = %(cluster)s and c.pipeline = seen.pipeline and c.source = seen.source
  and c.topic_id = seen.topic_id and c.partition = seen.partition
returning c.*;

-- name: cursor_neglected
-- Partitions that no listener has looked at for so long.
select topic, partition from headgate.cursor
where pipeline = any(%(pipelines)s) and cluster = %(cluster)s and topic_id = any(%(topic_ids)s) and halted is null
  and coalesce(seen_at, begun_at) < now() - %(longer)s
order by topic, partition;

-- name: cursor_advance
-- The compare-and-set: whoever expects another offset than the one that stands there moves nothing.
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
-- By a person: to another offset, and no longer halted. Moved back, its ranges are new arrivals.
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
-- Cursors as people are shown them.
select * from headgate.cursor
where (%(pipeline)s::text is null or pipeline = %(pipeline)s)
  and (%(topic)s::text is null or topic = %(topic)s)
  and (%(partition)s::int is null or partition = %(partition)s)
order by pipeline, topic, begun_at, topic_id, partition;

-- name: unfinished
-- What a pipeline has on its way, and in which of its sources something waits that nobody has claimed.
select count(*) as unfinished,
       coalesce(array_agg(distinct source) filter (where state = 'ready'), '{}') as waiting
from headgate.arrival
where pipeline = %(pipeline)s and state in ('ready', 'retry', 'claimed');
