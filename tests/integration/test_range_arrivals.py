"""Ranges on their way from the broker to the table, without Prefect: claims, rows, dead letters, deletions, replays."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest
from broker import Broker
from confluent_kafka import TopicPartition
from harness import Stand, wait_until
from headgate.app import App, open_app
from headgate.flows.ending import put_back
from headgate.flows.parse import parse_portion
from headgate.flows.persist import persist_chunk
from headgate.flows.workbench import Workbench, cleared_after
from headgate.kafka.publishing import Message, open_publisher
from headgate.ledger.dead_letters import DeadLetterRecord, Selection
from headgate.model import Envelope, NewArrival, RangePosition
from headgate.operations.dead_letter_copies import send_copies
from headgate.operations.replay import replay
from headgate.records.messages import envelope
from headgate.setting_groups import KafkaSettings, RecordsSettings
from headgate.settings import Settings
from headgate.sinks.postgres import PostgresSink
from pydantic import SecretStr
from topics import position, publish

PIPELINES = """
import dataframely as dy
from headgate import Pipeline, Table
from headgate.pipeline.topic import Columns, Plain, Topic


class Item(dy.Schema):
    id = dy.Int64(primary_key=True)
    name = dy.String(nullable=True)


class Note(dy.Schema):
    text = dy.String(nullable=False, max_length=20)
    key = dy.String(nullable=True)
    at = dy.Datetime(nullable=True, time_unit="ms", time_zone="UTC")
    part = dy.Int64(nullable=False)
    place = dy.Int64(nullable=False)
    kind = dy.String(nullable=True)


PIPELINES = (
    Pipeline(
        name="items",
        sources=(
            Topic("TOPIC", ordered=True, tombstones="delete", empty="skip", dead_letters="TOPIC-dead"),
            Topic("TOPIC-hidden"),
        ),
        schema=Item,
        sink=Table("items", mode="upsert"),
    ),
    Pipeline(
        name="notes",
        sources=(
            Topic(
                "TOPIC",
                value=Plain("text"),
                columns=Columns(key="key", timestamp="at", partition="part", offset="place", headers={"kind": "kind"}),
            ),
        ),
        schema=Note,
        sink=Table("notes"),
    ),
)
"""


@pytest.fixture
def topic(kafka: Broker) -> str:
    return kafka.topic()


@pytest.fixture
def app(stand: Stand, kafka: Broker, topic: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    stand.declare(PIPELINES.replace("TOPIC", topic))
    monkeypatch.syspath_prepend(stand.folder)
    settings = Settings(
        home=stand.home,
        inbox=stand.inbox,
        pipelines=stand.environment["HEADGATE_PIPELINES"],
        database_url=SecretStr(stand.database_url),
        kafka=KafkaSettings(bootstrap=kafka.bootstrap),
        records=RecordsSettings(chunk_rows=100),
    )
    with open_app(settings) as opened:
        opened.database.migrate()
        opened.homes.join()
        yield opened


def arrive(app: App, where: RangePosition, pipeline: str = "items") -> int:
    """Open the arrival of a range, as the listener does."""
    arrival = NewArrival(pipeline, f"kafka:{where.topic}", uuid4().bytes, "range", where, None, None)
    (opened,) = app.arrivals.open([arrival])
    return opened.arrival_id


def run(app: App, name: str = "items", *, chunks: int | None = None) -> None:
    """Do what a run does; end without a word after so many chunks."""
    pipeline = app.pipeline(name)
    claim = app.claims.claim(pipeline, holder="run")
    bench = Workbench(app, pipeline, claim, app.settings.places.work / uuid4().hex, PostgresSink(pipeline))
    with cleared_after(bench):
        for chunk in parse_portion(bench, 0, claim.arrivals)[:chunks]:
            persist_chunk(bench, chunk)
        if chunks is None:
            put_back(bench)
            app.settler.settle(list(bench.arrivals))


def read_all(app: App, where: RangePosition) -> pl.DataFrame:
    """All messages of a range."""
    return pl.concat([block for block in app.ranges.read(where, after=0) if isinstance(block, pl.DataFrame)])


def open_letters(app: App) -> list[DeadLetterRecord]:
    """The open dead letters, in the order of their rows."""
    return sorted(app.dead_letters.find(Selection()), key=lambda letter: letter.row_number or 0)


def test_the_last_message_of_a_key_wins_and_tombstones_delete(
    app: App, stand: Stand, kafka: Broker, topic: str
) -> None:
    """Within a chunk, and over the bounds of chunks and ranges."""
    keys: list[bytes | None] = [b"1", b"2", b"3", b"1", b"2", b"3", b"2", b"4", b"9"]
    values: list[bytes | None] = [
        b'{"id":1,"name":"a"}',
        b'{"id":2,"name":"a"}',
        b'{"id":3,"name":"a"}',
        None,  # 1 is deleted
        None,
        b'{"id":3,"name":"b"}',
        b'{"id":2,"name":"c"}',  # 2 is back
        b"",  # skipped
        None,  # was never there
    ]
    publish(kafka, topic, values, keys=keys)
    arrive(app, position(kafka, topic, 0, 9))
    run(app)
    assert stand.sql("select id, name, _row from items order by id") == [
        {"id": 2, "name": "c", "_row": 7},
        {"id": 3, "name": "b", "_row": 6},
    ]
    filler = [b'{"id":%d}' % (1000 + number) for number in range(150)]
    publish(kafka, topic, [None, *filler, None], keys=[b"3", *[b"f"] * 150, b"1149"])
    arrive(app, position(kafka, topic, 9, 161))
    run(app)
    assert [row["id"] for row in stand.sql("select id from items order by id")] == [2, *range(1000, 1149)]
    first, second = stand.arrivals()
    assert (first["rows_in"], first["rows_persisted"], first["rows_skipped"], first["rows_dead"]) == (9, 8, 1, 0)
    assert (second["rows_in"], second["rows_persisted"], second["state"]) == (152, 152, "done")


def test_a_tombstone_whose_key_is_none_is_a_dead_letter(app: App, stand: Stand, kafka: Broker, topic: str) -> None:
    publish(kafka, topic, [None, None, None], keys=[None, b"x", b"\xff"])
    arrive(app, position(kafka, topic, 0, 3))
    run(app)
    assert [(each.row_number, each.reason, each.faults[0]["rule"]) for each in open_letters(app)] == [
        (1, "malformed", "tombstone without a key"),
        (2, "schema", "id|dtype"),
        (3, "encoding", "encoding"),
    ]
    assert all(each.envelope is not None and each.envelope.tombstone for each in open_letters(app))
    assert stand.arrivals()[0]["rows_in"] == 3


def test_a_killed_run_is_resumed_behind_what_it_committed(app: App, stand: Stand, kafka: Broker, topic: str) -> None:
    """Each message is counted once and stands once, though the range is read in two attempts."""
    values: list[bytes | None] = [b'{"id":%d}' % number for number in range(250)]
    values[5] = values[105] = b""  # skipped
    values[7] = values[205] = b"no json"
    publish(kafka, topic, values)
    arrive(app, position(kafka, topic, 0, 250))
    run(app, chunks=1)
    assert 0 < stand.arrivals()[0]["rows_committed"] < 250
    stand.sql("update headgate.arrival set due_at = now()")
    run(app)
    (ended,) = stand.arrivals()
    assert (ended["state"], ended["rows_in"], ended["rows_skipped"], ended["rows_dead"]) == ("done", 250, 2, 2)
    expected = [number for number in range(250) if number not in {5, 105, 7, 205}]
    assert [row["id"] for row in stand.sql("select id from items order by id")] == expected
    assert [each.row_number for each in open_letters(app)] == [8, 206]


def test_what_came_with_a_message_stands_in_columns_and_goes_again_with_its_dead_letter(
    app: App, stand: Stand, kafka: Broker, topic: str
) -> None:
    """A message that is sent again has the key, headers, time and offset that it came with, as a row or set aside."""
    publish(
        kafka,
        topic,
        [b"short", b"much too long to be taken in", b"refused"],
        keys=[b"k0", b"k1", b"k2"],
        headers=[[("kind", b"a"), ("kind", b"b")], [("kind", b"c")], [("kind", b"d")]],
    )
    stand.sql(
        "create table notes (text text check (text <> 'refused'), key text, at timestamptz, part int, place int, "
        "kind text, _arrival_id bigint, _row bigint)"
    )
    arrive(app, position(kafka, topic, 0, 3), "notes")
    run(app, "notes")
    (row,) = stand.sql("select text, key, part, place, kind, at > now() - interval '1 minute' as fresh from notes")
    assert row == {"text": "short", "key": "k0", "part": 0, "place": 0, "kind": "b", "fresh": True}
    long, refused = open_letters(app)
    assert (long.original, long.stage, refused.stage) == (b"much too long to be taken in", "parse", "persist")
    stand.sql("alter table notes drop constraint notes_text_check")
    (sent,) = replay(app, Selection(arrival_id=long.arrival_id))
    assert (sent.records, sent.name) == (2, "range.replay.messages")
    assert replay(app, Selection(arrival_id=long.arrival_id)) == []
    run(app, "notes")
    (row,) = stand.sql("select key, part, place, kind, _row from notes where _arrival_id = %s", sent.arrival_id)
    assert row == {"key": "k2", "part": 0, "place": 2, "kind": "d", "_row": 2}
    (again,) = open_letters(app)
    assert (again.original, again.envelope, again.row_number) == (long.original, long.envelope, 1)


def test_what_the_database_refuses_is_set_aside_as_it_came(app: App, stand: Stand, kafka: Broker, topic: str) -> None:
    publish(
        kafka, topic, [b'{"id":%d}' % number for number in range(150)], keys=[b"k"] * 150, headers=[[("h", b"1")]] * 150
    )
    stand.sql(
        "create table items (id bigint primary key, name text, _arrival_id bigint, _row bigint, check (id <> 120))"
    )
    arrive(app, position(kafka, topic, 0, 150))
    run(app)
    (letter,) = open_letters(app)
    assert (letter.row_number, letter.stage, letter.original) == (121, "persist", b'{"id":120}')
    assert letter.envelope is not None
    assert (letter.envelope.offset, letter.envelope.key, letter.envelope.headers) == (120, b"k", (("h", b"1"),))
    assert stand.sql("select count(*) as rows from items") == [{"rows": 149}]


def test_a_bad_batch_is_one_dead_letter_and_the_rest_is_persisted(
    app: App, stand: Stand, kafka: Broker, topic: str
) -> None:
    """It can be sent again: its offsets are read anew, once the broker is mended."""
    for number in range(3):
        publish(kafka, topic, [b'{"id":%d,"name":"mark-%d"}' % (number, number)])
    segment = Path(kafka.data) / f"{topic}-0" / f"{0:020}.log"
    data = segment.read_bytes()
    segment.write_bytes(data.replace(b"mark-1", b"murk-1"))
    arrive(app, position(kafka, topic, 0, 3))
    run(app)
    assert [row["id"] for row in stand.sql("select id from items order by id")] == [0, 2]
    (letter,) = open_letters(app)
    assert (letter.reason, letter.row_number, letter.original) == ("corrupt", 2, b'{"first": 1, "end": 2}')
    segment.write_bytes(data)
    replay(app, Selection(arrival_id=letter.arrival_id))
    run(app)
    assert [row["id"] for row in stand.sql("select id from items order by id")] == [0, 1, 2]


def test_a_range_that_is_gone_is_rejected_and_may_be_sent_again(
    app: App, stand: Stand, kafka: Broker, topic: str
) -> None:
    publish(kafka, topic, [b'{"id":1}', b'{"id":2}'])
    where = position(kafka, topic, 0, 1)
    admin = kafka.admin()
    for future in admin.delete_records([TopicPartition(topic, 0, 1)]).values():
        future.result(30)
    arrive(app, where)
    run(app)
    assert [(row["state"], row["reason"]) for row in stand.arrivals()] == [("rejected", "lost")]
    (letter,) = open_letters(app)
    assert (letter.row_number, letter.range) == (None, where)
    replay(app, Selection(arrival_id=letter.arrival_id))
    run(app)
    assert [row["state"] for row in stand.arrivals()] == ["rejected", "rejected"]
    assert stand.arrivals()[1]["first_offset"] == 0


@pytest.mark.parametrize("reader", ["kafka-python", "confluent-kafka"])
def test_a_topic_that_may_not_be_read_holds_up_no_other(
    app: App, stand: Stand, kafka: Broker, topic: str, reader: str
) -> None:
    """Its ranges wait, and use up no attempt; the rest of the claim is persisted."""
    hidden = kafka.topic(name=f"{topic}-hidden", partitions=2)
    for name, partition in ((hidden, 0), (hidden, 1), (topic, 0)):
        publish(kafka, name, [b'{"id":%d}' % partition, b'{"id":%d}' % (partition + 10)], partition=partition)
        arrive(app, position(kafka, name, 0, 2, partition=partition))
    login = {
        "security": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "username": kafka.user,
        "password": kafka.password,
    }
    settings = KafkaSettings.model_validate({"bootstrap": kafka.login, "reader": reader, **login})
    with open_app(app.settings.model_copy(update={"kafka": settings})) as limited:
        kafka.forbid(hidden)
        run(limited)
        assert [(row["state"], row["attempts"]) for row in stand.arrivals()] == [
            ("retry", 0),
            ("retry", 0),
            ("done", 1),
        ]
        assert stand.sql("select count(*) as rows from items") == [{"rows": 2}]
        kafka.allow(hidden)

        def done() -> bool:
            stand.sql("update headgate.arrival set due_at = now() where state = 'retry'")
            run(limited)
            return {row["state"] for row in stand.arrivals()} == {"done"}

        wait_until(done, within=20)


def test_copies_that_wait_for_their_topic_hold_up_no_others(app: App, stand: Stand, kafka: Broker, topic: str) -> None:
    publish(kafka, topic, [b"no json", b"no json either"])
    arrive(app, position(kafka, topic, 0, 2))
    run(app)
    other = kafka.topic()
    stand.sql("update headgate.dead_letter set copy_to = %s where row_number = 2 returning 1", other)
    assert send_copies(app) == 1
    assert read_all(app, position(kafka, other, 0, 1))["value"].to_list() == [b"no json either"]
    assert app.dead_letters.copy_topics() == [f"{topic}-dead"]


def test_a_copy_that_kafka_refuses_holds_up_no_others_and_is_marked(app: App, kafka: Broker, topic: str) -> None:
    """It goes with those before and behind it in one batch; each of them is published once."""
    values = [b"no json", b"no json " * 30_000, b"no json either"]
    publish(kafka, topic, [*values])
    kafka.topic(name=f"{topic}-dead", max_message_bytes="100000")
    arrive(app, position(kafka, topic, 0, 3))
    run(app)
    assert [send_copies(app), send_copies(app)] == [2, 0]
    end = kafka.end(f"{topic}-dead")
    assert read_all(app, position(kafka, f"{topic}-dead", 0, end))["value"].to_list() == [values[0], values[2]]
    refused = [each.copy_refused for each in open_letters(app)]
    assert [bool(each) for each in refused] == [False, True, False]
    assert "Kafka refuses the copy of this dead letter: [Error 10]" in str(refused[1])


def test_a_copy_may_be_as_large_as_its_topic_allows(app: App, kafka: Broker) -> None:
    large = kafka.topic(max_message_bytes=str(8 * 1024**2))
    kafka.topic(name=f"{large}-dead", max_message_bytes=str(8 * 1024**2))
    facts = Envelope(0, 0, None, ())
    with open_publisher(app.settings.kafka) as publisher:
        assert publisher.publish([Message(f"{large}-dead", bytes(2 * 1024**2), facts, [])]) == [None]


def test_a_copy_of_a_dead_letter_goes_to_its_topic_with_the_cause(
    app: App, stand: Stand, kafka: Broker, topic: str
) -> None:
    """A topic that is not there yet loses nothing, and holds no run up: the copy comes once it is."""
    publish(kafka, topic, [b"no json", None], keys=[b"k\xff", None], headers=[[("h", b"1"), ("h", None)], []])
    arrive(app, position(kafka, topic, 0, 2))
    run(app)
    assert app.dead_letters.copy_topics() == [f"{topic}-dead"]
    assert send_copies(app) == 0
    assert stand.sql("select count(*) as owed from headgate.dead_letter where copied_at is null") == [{"owed": 2}]
    kafka.topic(name=f"{topic}-dead")
    assert send_copies(app) == 2
    assert send_copies(app) == 0
    copies = read_all(app, position(kafka, f"{topic}-dead", 0, 2))
    assert copies.select("key", "value").rows() == [(b"k\xff", b"no json"), (b"", None)]
    one, other = (envelope(copies, place) for place in range(2))
    assert one.headers[:2] == (("h", b"1"), ("h", b""))
    facts = dict(one.headers[2:])
    assert facts.pop("kafka_dlt-original-timestamp") is not None
    assert facts == {
        "kafka_dlt-original-topic": topic.encode(),
        "kafka_dlt-original-partition": bytes(4),
        "kafka_dlt-original-offset": bytes(8),
        "kafka_dlt-exception-fqcn": b"headgate.malformed",
        "kafka_dlt-exception-message": b"parse: json Expecting value at character 1",
    }
    assert dict(other.headers)["kafka_dlt-original-offset"] == (1).to_bytes(8, "big")
