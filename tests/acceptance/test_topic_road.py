"""What is published becomes rows: the whole road, with a listener, an automation and a run that reads its range."""

from collections.abc import Sequence

import pytest
from broker import Broker
from harness import Stand, wait_until
from psycopg.rows import DictRow
from topics import publish

PIPELINES = """
import dataframely as dy
from headgate import Pipeline, Table
from headgate.pipeline.topic import Columns, Topic


class Item(dy.Schema):
    item = dy.Int64(nullable=False)
    label = dy.String(nullable=True)
    key = dy.String(nullable=True)
    at = dy.Int64(nullable=False)


PIPELINES = (
    Pipeline(
        name="{name}",
        sources=(Topic("{topic}", columns=Columns(key="key", offset="at")),),
        schema=Item,
        sink=Table("items"),
    ),
)
"""


# Of a topic and a folder, with fewer attempts than an outage would use up.
BOTH = """
import dataframely as dy
from headgate import Folder, Pipeline, Retry, Table, Topic


class Item(dy.Schema):
    item = dy.Int64(nullable=False)


PIPELINES = (
    Pipeline(
        name="{name}",
        sources=(Topic("{topic}"), Folder("{topic}")),
        schema=Item,
        sink=Table("items"),
        retry=Retry(attempts=1),
    ),
)
"""


@pytest.fixture
def made(prefect_stand: Stand, kafka: Broker) -> tuple[Stand, str]:
    """A stand that knows the broker, and a topic."""
    topic = kafka.topic(partitions=2)
    prefect_stand.environment |= {
        "HEADGATE_EVENTS_ANSWER_SECONDS": "300",  # what comes, comes by the automation
        "HEADGATE_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "HEADGATE_KAFKA_GROUP": topic,
    }
    return prefect_stand, topic


@pytest.fixture
def installed(made: tuple[Stand, str]) -> tuple[Stand, str]:
    """A pipeline of one topic, applied; a listener and a worker are at work."""
    stand, topic = made
    stand.declare(PIPELINES.replace("{topic}", topic).replace("{name}", f"items-{topic}"))
    stand.run("apply")
    stand.start("listen")
    stand.start("work")
    return made


def ended(stand: Stand, messages: int) -> Sequence[DictRow]:
    """Wait until all arrivals have ended and account for so many messages."""

    def found() -> Sequence[DictRow]:
        mine = stand.arrivals()
        whole = sum(row["rows_in"] for row in mine) >= messages and all(row["settled_at"] for row in mine)
        return mine if whole else ()

    return wait_until(found, within=90)


def test_messages_become_rows_and_a_poison_message_a_dead_letter(installed: tuple[Stand, str], kafka: Broker) -> None:
    """Original bytes, key, headers, topic, partition, offset and timestamp are all in the dead letter."""
    stand, topic = installed
    good = [b'{"item":%d,"label":"number %d"}' % (n, n) for n in range(3000)]
    publish(kafka, topic, good, keys=[b"k%d" % n for n in range(3000)])
    poison = b'{"item": \xff\x00'
    publish(kafka, topic, [poison], partition=1, keys=[b"\xfe"], headers=[[("h", b"1"), ("h", None), ("x", b"\x00")]])
    publish(kafka, topic, [b'{"item":1}', None], partition=1)
    arrivals = ended(stand, 3003)
    assert {row["state"] for row in arrivals} == {"done"}, arrivals
    assert sum(row["rows_skipped"] for row in arrivals) == 1  # the tombstone
    rows = stand.sql("select item, label, key, at from items where key is not null order by item")
    assert rows == [{"item": n, "label": f"number {n}", "key": f"k{n}", "at": n} for n in range(3000)]
    assert stand.sql("select item, key, at from items where key is null") == [{"item": 1, "key": None, "at": 1}]
    (letter,) = stand.sql(
        "select d.*, a.topic from headgate.dead_letter as d join headgate.arrival as a using (arrival_id)"
    )
    assert (letter["original"], letter["format"], letter["topic"]) == (poison, "messages", topic)
    stamp = letter["envelope"].pop("timestamp_ms")
    assert 1_600_000_000_000 < stamp < 4_000_000_000_000
    assert letter["envelope"] == {
        "partition": 1,
        "offset": 0,
        "key": "/g==",
        "headers": [["h", "MQ=="], ["h", None], ["x", "AA=="]],
        "tombstone": False,
    }


@pytest.mark.kills_services
def test_an_outage_of_the_broker_uses_up_no_attempts_and_holds_up_no_files(
    made: tuple[Stand, str], kafka: Broker
) -> None:
    """Claimed together, a file goes on without the ranges; those wait for the broker as long as it takes."""
    stand, topic = made
    stand.declare(BOTH.replace("{topic}", topic).replace("{name}", f"both-{topic}"))
    stand.run("apply")
    stand.start("listen")
    publish(kafka, topic, [b'{"item":%d}' % n for n in range(100)])
    wait_until(lambda: sum(row["end_offset"] - row["first_offset"] for row in stand.arrivals()) == 100)
    kafka.stop()
    try:
        ranges = len(stand.arrivals())
        (stand.inbox / topic / "file.csv").write_text("item\n100\n101\n")
        wait_until(lambda: len(stand.arrivals()) == ranges + 1)
        stand.start("work")
        wait_until(lambda: stand.arrivals()[-1]["state"] == "done", within=90)
        # The file may be done before the first range has given the broker up.
        wait_until(lambda: any("KafkaUnavailable" in (row["detail"] or "") for row in stand.arrivals()), within=90)
        assert {row["state"] for row in stand.arrivals()[:-1]} <= {"retry", "claimed"}
    finally:
        kafka.start()
    ended(stand, 102)
    assert {(row["state"], row["attempts"]) for row in stand.arrivals()} == {("done", 1)}
    assert stand.sql("select item from items order by item") == [{"item": n} for n in range(102)]
