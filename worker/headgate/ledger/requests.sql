-- Paused sources, and the requests of rules. Parameters are psycopg's.

-- name: pause_source
insert into headgate.paused_source (pipeline, source, by, reason) values (%(pipeline)s, %(source)s, %(by)s, %(reason)s)
on conflict do nothing
returning source;

-- name: resume_source
delete from headgate.paused_source where pipeline = %(pipeline)s and source = %(source)s returning source;

-- name: paused_sources
select pipeline, source, paused_at, by, reason from headgate.paused_source order by pipeline, source;

-- name: take_request
-- Take a request for a run, unless it was answered, or another run took it less than a lease ago.
insert into headgate.request (request_key, asked_by) values (%(key)s, %(by)s)
on conflict (request_key) do update set asked_by = excluded.asked_by, asked_at = now()
where request.ended_at is null and (request.asked_by = excluded.asked_by or request.asked_at < now() - %(lease)s)
returning request_key;

-- name: request_start
-- Record that a run asks for a start; inserts nothing if it has asked before, or if nothing waits for a start: then a
-- person may try the same run again. The transaction also makes the start.
insert into headgate.request (request_key, asked_by, ended_at)
select %(key)s, %(by)s, now()
where exists (select from headgate.arrival as a where a.pipeline = %(pipeline)s and a.state = 'parked')
on conflict do nothing;

-- name: request
select asked_by, answer from headgate.request where request_key = %(key)s;

-- name: give_request_back
delete from headgate.request where request_key = %(key)s and asked_by = %(by)s and ended_at is null;

-- name: end_request
update headgate.request set answer = %(answer)s, ended_at = now() where request_key = %(key)s;

-- name: forget_requests
delete from headgate.request where ended_at < now() - interval '30 days' or asked_at < now() - interval '90 days';

-- name: reasons_since
-- Why records and arrivals were set aside since a time: how many for each reason, and how many are still open.
select a.pipeline, d.reason, count(*) as count, count(*) filter (where d.state = 'open') as open
from headgate.dead_letter as d join headgate.arrival as a using (arrival_id)
where d.created_at >= %(since)s
group by a.pipeline, d.reason order by a.pipeline, count desc, d.reason;
