"""`make bench-backlog`: what a million arrivals that wait cost those who look at the ledger, and a quiet pipeline."""

import os
import statistics
import time
from collections.abc import Callable
from datetime import timedelta

from bench import Bench, drops, measured
from bench_backlog_pipelines import FULL
from headgate.events.ladder import most_claimable
from headgate.ledger import Claims, Database, Rings
from headgate.ledger.summary import summaries

READY = 1_000_000
LOOKS = 20

# Ranges that no broker has: nobody may begin them, so each pipeline has all the runs it may have, by its rings.
FILL = """
insert into headgate.arrival (identity, pipeline, source, kind, name, size_bytes, cluster, topic, topic_id, partition,
                              first_offset, end_offset, state, due_at)
select sha256(('bench ' || i)::bytea), (%(pipelines)s::text[])[1 + i %% 20], 'topic:full', 'range',
       'full ' || i, 1000, 'cluster', 'full', 'topic', i %% 8, i, i + 1, 'ready', now() - interval '1 s' * (i / 1000.0)
from generate_series(1, %(ready)s) as i
"""
ANSWERED = """
insert into headgate.ring (ring_id, pipeline, home, rung, answered_at, answered_by, alive_until)
select gen_random_uuid(), unnest(%(pipelines)s::text[]), (select home_id from headgate.home), 0, now(), 'bench',
       now() + interval '1 day'
"""


def fill(bench: Bench) -> dict[str, float]:
    """Fill the ledger."""
    asked = {"pipelines": [pipeline.name for pipeline in FULL], "ready": READY}
    began = time.monotonic()
    bench.connection.execute(ANSWERED, asked)
    bench.connection.execute("alter table headgate.arrival disable trigger arrival_transition")
    bench.connection.execute(FILL, asked)
    bench.connection.execute("alter table headgate.arrival enable trigger arrival_transition")
    bench.connection.execute("vacuum analyze headgate.arrival")
    return {"fill_s": time.monotonic() - began}


def looks(bench: Bench) -> dict[str, float]:
    """Look as the announcer, a run and `headgate status` do."""
    with Database(bench.database_url) as database:
        rings, claims = Rings(database, lease=timedelta(minutes=5)), Claims(database, lease=timedelta(minutes=5))
        most = most_claimable(FULL)
        row = bench.connection.execute("select home_id from headgate.home").fetchone()
        home = row[0] if row else None
        figures = {
            "outstanding_ms": 1000 * _median(lambda: rings.outstanding(most, home)),
            "claim_ms": 1000 * _median(lambda: claims.claim(FULL[0], holder="bench")),
            "peek_ms": 1000 * _median(lambda: claims.peek(FULL[1], holder="bench")),
            "status_s": _median(lambda: summaries(database), times=3),
        }
    figures["load"] = os.getloadavg()[0]
    return figures


def _median(work: Callable[[], object], times: int = LOOKS) -> float:
    work()  # the connection is made, and the server has read what it needs
    taken = []
    for _ in range(times):
        began = time.monotonic()
        work()
        taken.append(time.monotonic() - began)
    return statistics.median(taken)


def quiet(bench: Bench) -> dict[str, float]:
    """Drop into a pipeline that has nothing to do, beside those that have too much."""
    return {"drop_p50_s": drops(bench, 12)["drop_p50_s"]}


if __name__ == "__main__":
    measured("Backlog", lambda _: (fill, looks, quiet), pipelines="bench_backlog_pipelines:PIPELINES")
