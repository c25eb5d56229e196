"""`headgate topics` as operators meet it: what is shown, what is refused, what is written down."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from broker import Broker
from harness import Stand, wait_until
from headgate.app import App, open_app
from headgate.errors import Misuse, NotFound
from headgate.ledger import Arrivals, Cursors, Database
from headgate.operations import cursor_moves as topics
from headgate.operations.cursor_moves import Move
from headgate.pipeline import Topic
from headgate.settings import Settings
from kafka_stand import covered, delete_records, listening, of_topics, publish, reach

PIPELINES = """
import dataframely as dy
from headgate import Pipeline, Table, Topic

class Row(dy.Schema):
    id = dy.Int64(primary_key=True)

TABLE = Table("weather", mode="append")
PIPELINES = [Pipeline(name="weather", sources=[Topic("{topic}")], schema=Row, sink=TABLE, max_waiting=1)]
"""


@pytest.fixture
def topic(stand: Stand, kafka: Broker) -> str:
    """A topic of two partitions: of the first, five messages were taken in and three are lost; the second is empty."""
    made = kafka.topic(partitions=2)
    stand.declare(PIPELINES.format(topic=made))
    stand.environment["HEADGATE_KAFKA_BOOTSTRAP"] = kafka.bootstrap
    with Database(stand.database_url) as database:
        database.migrate()
        cursors = Cursors(database, Arrivals(database))
        with listening(reach(kafka, group=made), cursors, [of_topics(Topic(made))]):
            publish(kafka, made, 5)
            wait_until(lambda: covered(database, made) == 5)
            publish(kafka, made, 5)
            wait_until(lambda: cursors.find(partition=0)[0].next_offset == 10)
        # As if the last five had not been cut: they waited for room.
        stand.sql("delete from headgate.arrival where first_offset = 5")
        stand.sql("update headgate.cursor set next_offset = 5 where partition = 0")
        delete_records(kafka, made, 8)
        with listening(reach(kafka, group=made), cursors, [of_topics(Topic(made))]):
            wait_until(lambda: cursors.find(partition=0)[0].halted)
    return made


def said(stand: Stand, *command: str) -> dict[str, object]:
    """What a command prints as JSON."""
    told = json.loads(stand.run("topics", *command, "--json").stdout)
    assert isinstance(told, dict)
    return told


def refused(stand: Stand, *command: str) -> str:
    done = stand.run("topics", *command, check=False)
    assert done.returncode == 2, done.stdout
    assert done.stderr.count("\n") == 1
    return done.stderr


def changes(stand: Stand) -> list[tuple[str, int, int, str]]:
    rows = stand.sql("select * from headgate.cursor_change order by cursor_change_id")
    return [(row["action"], row["from_offset"], row["to_offset"], row["reason"]) for row in rows]


def test_a_halted_partition_is_shown_and_resumed_with_the_first_message_there_is(stand: Stand, topic: str) -> None:
    shown = stand.run("topics").stdout
    assert "retention" in shown
    assert "headgate topics resume weather" in " ".join(shown.split())
    listed = json.loads(stand.run("topics", "--json").stdout)
    assert [(each["partition"], each["next_offset"], each["lag"]) for each in listed] == [(0, 5, 5), (1, 0, 0)]
    status = json.loads(stand.run("status", "--json").stdout)
    assert status["held_back"]["weather"].startswith("1 unfinished arrival (max_waiting=1); 1 halted partition")

    before = changes(stand)
    command = ("resume", "weather", topic, "0", "--reason", "nobody needs them")
    told = said(stand, *command, "--dry-run")
    assert (told["done"], told["from_offset"], told["to_offset"], told["skipped"]) == (False, 5, 8, 3)
    assert changes(stand) == before
    assert said(stand, *command)["done"]
    assert changes(stand)[-1] == ("resume", 5, 8, "nobody needs them")
    (row,) = stand.sql("select * from headgate.cursor where partition = 0")
    assert (row["next_offset"], row["halted"]) == (8, None)
    (by,) = stand.sql("select by from headgate.cursor_change where action = 'resume'")
    assert "@" in by["by"]
    assert "is not halted" in refused(stand, *command)


@pytest.fixture
def app(stand: Stand, topic: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:  # noqa: ARG001 - it has to be there
    """What the command works with, without a process each time."""
    monkeypatch.syspath_prepend(str(stand.folder))
    for name, value in stand.env().items():
        if name.startswith("HEADGATE_"):
            monkeypatch.setenv(name, value)
    with open_app(Settings.load()) as opened:
        yield opened


def test_a_partition_is_set_to_another_offset_and_never_by_accident_to_one_before(app: App, topic: str) -> None:
    def reset(to: str) -> Move:
        return topics.reset(app, topics.current(app, "weather", topic, 0), to)

    assert topics.apply(app, reset("latest"), reason="a test", again=False).next_offset == 10
    with pytest.raises(Misuse, match=r"offsets 8 to 9 were taken in before, and each .* added once more .* --again"):
        topics.apply(app, reset("earliest"), reason="a test", again=False)
    assert (reset("9").again, reset("9").skipped) == (1, 0)
    moved = topics.apply(app, reset("9"), reason="a test", again=True)
    assert (moved.next_offset, moved.generation) == (9, 1)
    with pytest.raises(Misuse, match="has offsets 8 to 10"):
        reset("7")
    with pytest.raises(Misuse, match="write earliest, latest"):
        reset("noon")
    now = datetime.now(UTC)
    assert [reset((now + timedelta(days=day)).isoformat()).to for day in (-1, 1)] == [8, 10]
    with pytest.raises(NotFound, match="has no cursor"):
        topics.current(app, "weather", topic, 7)


def test_what_is_behind_the_new_end_of_a_truncated_partition_was_never_taken_in(app: App, topic: str) -> None:
    """So going on there, before the cursor, needs no leave to take messages in once more."""
    place = topics.current(app, "weather", topic, 1).place
    with app.database.transaction() as connection:
        connection.execute("update headgate.cursor set next_offset = 5 where partition = 1")
    app.cursors.halt(place, "truncated", "It ends at 0.", resume_at=0)
    move = topics.resume(app, topics.current(app, "weather", topic, 1))
    assert (move.to, move.again, move.skipped) == (0, 0, 0)
    moved = topics.apply(app, move, reason="a test", again=False)
    assert (moved.next_offset, moved.generation, moved.halted) == (0, 1, None)
