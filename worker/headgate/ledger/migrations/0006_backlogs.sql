-- What a look at the ledger costs does not grow with what waits in it.

-- From the one that is due first on, for each pipeline: a claim or a count reads what it takes, and stops.
drop index headgate.arrival_due;
create index arrival_due on headgate.arrival (pipeline, ordered, due_at, arrival_id)
    where state in ('ready', 'retry', 'claimed');
create index arrival_exhausted on headgate.arrival (pipeline, attempts)
    where state in ('ready', 'retry', 'claimed') and attempts > 0;
create index arrival_claimed_by on headgate.arrival (claimed_by) where state = 'claimed';

-- Of each partition of a pipeline whose ranges go one by one, the first that has not ended, in the order they were cut in:
-- its turn it is, if it is not held. A topic that was made again goes on where the old one ended, so the topic's id has no
-- say. From partition to partition through the index, whatever waits in each.
create function headgate.whose_turn(of_pipeline text) returns table (arrival_id bigint) stable language sql as $$
    with recursive head as (
        (select a.source, a.partition, a.arrival_id from headgate.arrival as a
         where a.pipeline = of_pipeline and a.ordered and a.state not in ('done', 'rejected', 'duplicate')
         order by a.source, a.partition, a.arrival_id
         limit 1)
        union all
        select next.source, next.partition, next.arrival_id
        from head cross join lateral (
            select a.source, a.partition, a.arrival_id from headgate.arrival as a
            where a.pipeline = of_pipeline and a.ordered and a.state not in ('done', 'rejected', 'duplicate')
              and (a.source, a.partition) > (head.source, head.partition)
            order by a.source, a.partition, a.arrival_id
            limit 1) as next
    )
    select head.arrival_id from head
$$;
drop function headgate.has_turn(headgate.arrival);
