-- Alerts: their readings, their states, and their notices. Parameters are psycopg's.

-- name: alert_lock
-- One process decides at a time; false if another one does.
select pg_try_advisory_xact_lock(hashtextextended('headgate.alert', 0)) as ours;

-- name: alert_states
-- The states of these alerts; new ones are watched from now on.
with fresh as (
    insert into headgate.alert (pipeline, alert)
    select * from unnest(%(pipelines)s::text[], %(alerts)s::text[]) on conflict do nothing
    returning pipeline, alert, watched_since, broken_since
)
select * from fresh
union all
select a.pipeline, a.alert, a.watched_since, a.broken_since
from headgate.alert as a join unnest(%(pipelines)s::text[], %(alerts)s::text[]) as asked (pipeline, alert) using (pipeline, alert);

-- name: alert_broke
update headgate.alert set broken_since = now(), detail = %(detail)s where pipeline = %(pipeline)s and alert = %(alert)s;

-- name: alert_healed
update headgate.alert set broken_since = null, detail = null where pipeline = %(pipeline)s and alert = %(alert)s;

-- name: alert_watch_anew
-- Count from now on how long nothing comes. A broken alert stays so until something comes.
update headgate.alert set watched_since = now()
where pipeline = %(pipeline)s and alert = %(alert)s and broken_since is null;

-- name: alerts_shown
select pipeline, alert, watched_since, broken_since, detail from headgate.alert order by pipeline, alert;

-- name: alert_notice
insert into headgate.notice (pipeline, alert, block, subject, body)
values (%(pipeline)s, %(alert)s, %(block)s, %(subject)s, %(body)s);

-- name: notices_owed
-- How many notices are due now.
select count(*) as count from headgate.notice where sent_at is null and due_at <= now();

-- name: notice_take
-- Take the oldest unsent notice of each block, if it is due; for one lease nobody else sends it.
update headgate.notice as n set due_at = now() + %(lease)s, tries = n.tries + 1
from (select notice_id from headgate.notice
      where notice_id in (select min(notice_id) from headgate.notice where sent_at is null group by block)
        and due_at <= now()
      for update skip locked) as mine
where n.notice_id = mine.notice_id and n.sent_at is null
returning n.notice_id, n.block, n.subject, n.body, n.tries;

-- name: notice_sent
update headgate.notice set sent_at = now(), failure = null where notice_id = %(notice_id)s;

-- name: notice_failed
update headgate.notice set due_at = now() + %(delay)s, failure = %(failure)s where notice_id = %(notice_id)s and sent_at is null;

-- name: notices_failing
select notice_id, block, subject, tries, failure, occurred_at from headgate.notice
where sent_at is null and failure is not null order by notice_id limit 20;

-- name: notices_forget
delete from headgate.notice where sent_at < now() - interval '30 days';

-- name: read_source
-- When something other than a replay last arrived from a source, and whether the source is paused.
select (select arrived_at from headgate.arrival
        where pipeline = %(pipeline)s and source = %(source)s and replay_of is null
        order by arrived_at desc limit 1) as arrived_at,
       exists (select from headgate.paused_source where pipeline = %(pipeline)s and source = %(source)s) as paused;

-- name: read_share
-- How many rows arrived from these sources within a time, and how many became dead letters; replays left out.
select coalesce(sum(rows_in), 0)::bigint as rows, coalesce(sum(rows_dead), 0)::bigint as dead from headgate.arrival
where pipeline = %(pipeline)s and source = any(%(sources)s) and replay_of is null and arrived_at > now() - %(within)s;

-- name: read_waiting
-- Since when the longest-due arrival of a pipeline has waited for a run.
select min(head.due_at) as since
from (values (true), (false)) as kind (ordered)
cross join (select home_id from headgate.home union all select null) as place (home)
cross join lateral (
    select due_at from headgate.arrival as a
    where a.pipeline = %(pipeline)s and a.ordered = kind.ordered and a.home is not distinct from place.home
      and a.state in ('ready', 'retry', 'claimed') and a.state <> 'claimed' and a.due_at <= now()
    order by due_at limit 1) as head;

-- name: read_stuck
-- The arrival of a pipeline that a run has held the longest.
select arrival_id, name, claimed_by, claimed_at from headgate.arrival
where pipeline = %(pipeline)s and state = 'claimed' and due_at > now() order by claimed_at limit 1;

-- name: read_halted
select topic, partition, halted from headgate.cursor
where pipeline = %(pipeline)s and halted is not null and halted <> 'recreated' order by topic, partition;
