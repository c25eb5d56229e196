"""Runs that read ranges are killed: each message is in the table once, or once among the dead letters, all the same.

What was published is held against the table row by row; the listener's part of the road has tests of its own.
"""

import signal
from uuid import uuid4

import pytest
from broker import Broker
from harness import wait_until
from headgate.ledger import Arrivals, Database
from headgate.model import NewArrival
from road import SHORT, Road
from topics import position, publish

pytest_plugins = ["chaos_fixtures"]

MESSAGES = 2500
BAD_EVERY = 500
POINTS = (
    "range.mid-read",
    "parse.after-portion",
    "persist.in-transaction",
    "persist.before-commit",
    "persist.after-commit",
)
PIPELINES = """
import dataclasses
from datetime import timedelta

import dataframely as dy
from headgate import Pipeline, Retry, Table
from headgate.pipeline.topic import Columns, Topic


class Item(dy.Schema):
    item = dy.Int64(nullable=False)
    place = dy.Int64(nullable=False)


def pipeline(name):
    return Pipeline(
        name=name,
        sources=(Topic("TOPIC", columns=Columns(offset="place")),),
        schema=Item,
        sink=Table(name.replace("-", "_")),
        retry=Retry(attempts=10, first_delay=timedelta(seconds=0.2)),
    )


PIPELINES = tuple(pipeline(name) for name in NAMES)
"""


@pytest.mark.parametrize("reader", ["kafka-python", "confluent-kafka"])
def test_a_run_killed_while_it_reads_or_commits_a_range_loses_and_repeats_no_message(
    road: Road, kafka: Broker, reader: str
) -> None:
    """In several chunks, of which some are committed when the run dies."""
    topic = kafka.topic()
    names = {f"r-{point.replace('.', '-')}": point for point in POINTS}
    road.stand.declare(PIPELINES.replace("TOPIC", topic).replace("NAMES", repr(tuple(names))))
    road.stand.environment |= {
        "HEADGATE_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "HEADGATE_KAFKA_READER": reader,
        "HEADGATE_RECORDS_CHUNK_ROWS": "400",
    }
    values = [b"poison %d" % n if n % BAD_EVERY == 7 else b'{"item":%d}' % (n * n) for n in range(MESSAGES)]
    publish(kafka, topic, values, compression_type="lz4")
    with Database(road.stand.database_url) as database:
        database.migrate()
        for name in names:
            for first, end in ((0, 1000), (1000, MESSAGES)):
                where = position(kafka, topic, first, end)
                Arrivals(database).open(
                    [NewArrival(name, f"kafka:{topic}", uuid4().bytes, f"{first}-{end}", where, None, None)]
                )
    for name, point in names.items():
        assert road.run(name, env={**SHORT, "HEADGATE_CRASHPOINT": point}) == -signal.SIGKILL, point
    wait_until(lambda: all(road.leases_over(name) for name in names))
    assert road.run(*names) == 0
    good = [(n * n, n) for n in range(MESSAGES) if n % BAD_EVERY != 7]
    bad = [(n, values[n]) for n in range(MESSAGES) if n % BAD_EVERY == 7]
    for name in names:
        rows = road.stand.sql(f"select item, place from {name.replace('-', '_')} order by place")
        assert [(row["item"], row["place"]) for row in rows] == good, name
        letters = road.stand.sql(
            "select (envelope->>'offset')::int as place, original from headgate.dead_letter join headgate.arrival "
            "using (arrival_id) where pipeline = %s order by 1",
            name,
        )
        assert [(row["place"], row["original"]) for row in letters] == bad, name
        arrivals = [row for row in road.stand.arrivals() if row["pipeline"] == name]
        assert {row["state"] for row in arrivals} == {"done"}
        assert sum(row["rows_in"] for row in arrivals) == MESSAGES
        assert sum(row["rows_persisted"] for row in arrivals) == len(good)
