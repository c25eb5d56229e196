"""The Kafka listener against a real broker and a real ledger: each offset is in exactly one range."""

import gc
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime

import psycopg
import pytest
from broker import Broker
from confluent_kafka import Producer
from confluent_kafka.cimpl import NewPartitions
from harness import Services, wait_until
from headgate.kafka.clients import unwatched
from headgate.kafka.lookup import open_lookup
from headgate.kafka.member import open_member
from headgate.ledger import Arrivals, Claims, Cursors, Database, Sources
from headgate.ledger.summary import database_time
from headgate.listeners.topics.range_cutter import Cutting
from headgate.pipeline import Topic
from kafka_stand import (
    check_each_once,
    covered,
    delete_records,
    delete_topic,
    group_offset,
    listening,
    of_topics,
    publish,
    ranges,
    reach,
)
from segments import empty_log
from structlog.testing import capture_logs

Covered = Callable[[str, int], None]


@pytest.fixture
def cursors(database: Database, ledger: Arrivals) -> Cursors:
    """The cursors of the test's ledger."""
    return Cursors(database, ledger)


@pytest.fixture
def await_covered(database: Database) -> Covered:
    """Wait until so many offsets of a topic are in ranges, and see that each is in one."""

    def wait(topic: str, count: int) -> None:
        wait_until(lambda: covered(database, topic) >= count, within=90)
        check_each_once(database)
        assert covered(database, topic) == count

    return wait


def test_messages_of_all_partitions_become_ranges_and_the_group_knows(
    kafka: Broker, database: Database, ledger: Arrivals, cursors: Cursors, await_covered: Covered
) -> None:
    topic = kafka.topic(partitions=3)
    for partition in range(3):
        publish(kafka, topic, 5, partition=partition)
    with listening(reach(kafka, group=topic), cursors, [of_topics(Topic(topic))]):
        await_covered(topic, 15)
        publish(kafka, topic, 1)
        await_covered(topic, 16)
        wait_until(lambda: group_offset(kafka, topic, topic) == 6, within=20)
    assert ranges(database, topic) == [(0, 0, 5), (0, 5, 6), (1, 0, 5), (2, 0, 5)]
    assert {arrival.name for arrival in ledger.find()} >= {f"{topic}[1] 0-4"}
    assert {cursor.lag for cursor in cursors.find()} == {0}


def test_pipelines_that_share_a_topic_each_take_in_all_of_it(
    kafka: Broker, database: Database, cursors: Cursors, await_covered: Covered
) -> None:
    topic = kafka.topic()
    publish(kafka, topic, 5)
    both = [of_topics(Topic(topic)), of_topics(Topic(topic, start="latest"), name="late")]
    with listening(reach(kafka, group=topic), cursors, both):
        await_covered(topic, 5)
        publish(kafka, topic, 2)
        await_covered(topic, 9)
    found = {cursor.pipeline: cursor for cursor in cursors.find()}
    assert {name: cursor.next_offset for name, cursor in found.items()} == {"weather": 7, "late": 7}
    assert ranges(database, topic)[0] == (0, 5, 7), "the late one began at the end"


def test_a_backlog_is_cut_by_the_limits_of_a_range(
    kafka: Broker, database: Database, cursors: Cursors, claims: Claims, await_covered: Covered
) -> None:
    topic = kafka.topic()
    publish(kafka, topic, 25)
    pipeline = of_topics(Topic(topic, max_messages=10, ordered=True))
    with listening(reach(kafka, group=topic), cursors, [pipeline]):
        await_covered(topic, 25)
    assert ranges(database, topic) == [(0, 0, 10), (0, 10, 20), (0, 20, 25)]
    assert [each.name for each in claims.claim(pipeline, holder="run").arrivals] == [f"{topic}[0] 0-9"], "in order"


def test_while_something_waits_for_a_run_messages_gather_until_they_are_old_enough(
    kafka: Broker, database: Database, cursors: Cursors, claims: Claims, await_covered: Covered
) -> None:
    topic = kafka.topic()
    pipeline = of_topics(Topic(topic, max_age=3600))
    publish(kafka, topic, 1)
    with listening(reach(kafka, group=topic), cursors, [pipeline]):
        await_covered(topic, 1)
        publish(kafka, topic, 3)
        wait_until(lambda: cursors.find()[0].lag == 3, within=20)
        publish(kafka, topic, 3)
        assert covered(database, topic) == 1
        assert len(claims.claim(pipeline, holder="run").arrivals) == 1
        await_covered(topic, 7)
    assert ranges(database, topic) == [(0, 0, 1), (0, 1, 7)]


def test_while_a_range_waits_for_a_run_what_comes_behind_it_becomes_one_range(
    kafka: Broker, database: Database, cursors: Cursors, claims: Claims, await_covered: Covered
) -> None:
    """As after an outage of Kafka: runs are busy for long, and each small range would cost as much as a large one."""
    topic = kafka.topic(partitions=2)
    pipeline = of_topics(Topic(topic, max_age=6))
    publish(kafka, topic, 1)
    with listening(reach(kafka, group=topic), cursors, [pipeline]):
        await_covered(topic, 1)
        for _ in range(3):
            publish(kafka, topic, 2)
            wait_until(lambda: any(each.lag for each in cursors.find()), within=20)
        publish(kafka, topic, 4, partition=1)
        await_covered(topic, 5)
        assert len(claims.claim(pipeline, holder="run").arrivals) == 2
        await_covered(topic, 11)
    assert ranges(database, topic) == [(0, 0, 1), (0, 1, 7), (1, 0, 4)]


def test_a_pipeline_with_too_much_on_its_way_is_held_back_and_no_other(
    kafka: Broker, database: Database, cursors: Cursors, claims: Claims, await_covered: Covered
) -> None:
    full, free = kafka.topic(), kafka.topic()
    narrow = of_topics(Topic(full, max_messages=1), max_waiting=3, max_arrivals=2)
    pipelines = [narrow, of_topics(Topic(free), name="b")]
    with capture_logs() as logs, listening(reach(kafka, group=full), cursors, pipelines):
        publish(kafka, full, 10)
        await_covered(full, 3)
        wait_until(lambda: any(log["event"].startswith("topics held back") for log in logs), within=20)
        publish(kafka, free, 4)
        await_covered(free, 4)
        await_covered(full, 3)
        held = claims.claim(narrow, holder="run").arrivals
        with database.transaction() as connection:
            connection.execute(
                "update headgate.arrival set state = 'done' where arrival_id = any(%s)",
                ([each.arrival_id for each in held],),
            )
        await_covered(full, 5)
    assert [log["pipeline"] for log in logs if log["event"].startswith("topics held back:")] == ["weather"] * 2


def test_a_topic_that_does_not_exist_is_named_once_and_taken_in_when_it_is_made(
    kafka: Broker, cursors: Cursors, await_covered: Covered
) -> None:
    there, later = kafka.topic(), f"{kafka.topic()}-later"
    pipelines = [of_topics(Topic(there), Topic(later, start="latest"))]
    with capture_logs() as logs, listening(reach(kafka, group=there), cursors, pipelines):
        publish(kafka, there, 2)
        await_covered(there, 2)
        kafka.topic(name=later, partitions=2)
        wait_until(lambda: len(cursors.find(topic=later)) == 2, within=90)
        publish(kafka, later, 3, partition=1)
        await_covered(later, 3)
    (line,) = [log for log in logs if "do not exist" in log["event"]]
    assert line["topics"] == [later]
    assert there in line["there_are"] or line["more"] > 0


def test_an_added_partition_is_taken_in_from_its_first_message(
    kafka: Broker, cursors: Cursors, await_covered: Covered
) -> None:
    topic = kafka.topic()
    publish(kafka, topic, 3)
    with listening(reach(kafka, group=topic), cursors, [of_topics(Topic(topic, start="latest"))]):
        wait_until(lambda: [each.next_offset for each in cursors.find()] == [3], within=20)
        admin = kafka.admin()
        admin.create_partitions([NewPartitions(topic, 2)])[topic].result(30)
        publish(kafka, topic, 4, partition=1)
        await_covered(topic, 4)
    assert [(each.partition, each.next_offset) for each in cursors.find()] == [(0, 3), (1, 4)]


def test_a_topic_that_is_made_again_is_taken_in_and_what_was_unread_is_written_down_as_lost(
    kafka: Broker, database: Database, cursors: Cursors, await_covered: Covered
) -> None:
    topic, other = kafka.topic(), kafka.topic()
    pipeline = of_topics(Topic(topic, max_messages=3), Topic(other), max_waiting=2)
    publish(kafka, topic, 10)
    settings = reach(kafka, group=topic)
    with listening(settings, cursors, [pipeline]):
        await_covered(topic, 6)
        wait_until(lambda: cursors.find(topic=topic)[0].lag == 4, within=20)
    delete_topic(kafka, topic)
    kafka.topic(name=topic)
    publish(kafka, topic, 5)
    with capture_logs() as logs, listening(settings, cursors, [replace(pipeline, max_waiting=9)]):
        await_covered(topic, 11)
        publish(kafka, other, 1)
        await_covered(other, 1)
    old, new = cursors.find(topic=topic)
    assert (old.halted, old.next_offset, new.halted, new.next_offset) == ("recreated", 6, None, 5)
    assert lost(database) == [(old.topic_id, 6, 10)]
    assert [log["reason"] for log in logs if log["event"] == "partition halted"] == ["recreated"]


def test_a_topic_that_is_made_again_under_a_running_listener_is_never_mixed_up_with_the_old(
    kafka: Broker, database: Database, cursors: Cursors, await_covered: Covered
) -> None:
    topic, other = kafka.topic(), kafka.topic()
    with listening(reach(kafka, group=topic), cursors, [of_topics(Topic(topic), Topic(other))]):
        publish(kafka, topic, 3)
        await_covered(topic, 3)
        delete_topic(kafka, topic)
        kafka.topic(name=topic)
        publish(kafka, topic, 7)
        publish(kafka, other, 2)
        await_covered(topic, 10)
        await_covered(other, 2)
    old, new = cursors.find(topic=topic)
    assert (old.halted, old.next_offset, new.next_offset) == ("recreated", 3, 7)
    assert lost(database) == []


def test_a_topic_that_is_deleted_does_not_hold_up_the_others(
    kafka: Broker, cursors: Cursors, await_covered: Covered
) -> None:
    topic, other = kafka.topic(), kafka.topic()
    with listening(reach(kafka, group=topic), cursors, [of_topics(Topic(topic), Topic(other))]):
        publish(kafka, topic, 3)
        await_covered(topic, 3)
        delete_topic(kafka, topic)
        for count in range(1, 4):
            publish(kafka, other, 1)
            await_covered(other, count)
    (old,) = cursors.find(topic=topic)
    assert (old.halted, old.next_offset) == (None, 3), "who knows whether it comes back"


def lost(database: Database) -> list[tuple[str, int, int]]:
    with database.transaction() as connection:
        rows = connection.execute("select * from headgate.cursor_change where action = 'lost'").fetchall()
    return [(row["topic_id"], row["from_offset"], row["to_offset"]) for row in rows]


def test_what_was_deleted_before_it_was_taken_in_halts_its_partition_and_no_other(
    kafka: Broker, database: Database, cursors: Cursors, await_covered: Covered
) -> None:
    topic = kafka.topic(partitions=2)
    publish(kafka, topic, 2)
    settings, pipeline = reach(kafka, group=topic), of_topics(Topic(topic))
    with listening(settings, cursors, [pipeline]):
        await_covered(topic, 2)
    publish(kafka, topic, 8)
    delete_records(kafka, topic, 6)
    with capture_logs() as logs, listening(settings, cursors, [pipeline]):
        publish(kafka, topic, 4, partition=1)
        await_covered(topic, 6)
        wait_until(lambda: cursors.find(partition=0)[0].halted, within=20)
    (halted,) = cursors.find(partition=0)
    assert (halted.halted, halted.next_offset, halted.resume_at) == ("retention", 2, 6)
    assert "Offsets 2 to 5" in (halted.detail or "")
    assert lost(database) == [(halted.topic_id, 2, 6)]
    assert len([log for log in logs if log["event"] == "partition halted"]) == 1


@pytest.mark.kills_services
def test_a_log_that_was_truncated_halts_its_partition(
    kafka: Broker, database: Database, cursors: Cursors, await_covered: Covered
) -> None:
    topic = kafka.topic(partitions=2)
    publish(kafka, topic, 5)
    settings, pipeline = reach(kafka, group=topic), of_topics(Topic(topic))
    with listening(settings, cursors, [pipeline]):
        await_covered(topic, 5)
    kafka.stop()
    empty_log(kafka, topic)
    kafka.start()
    publish(kafka, topic, 2)
    with listening(settings, cursors, [pipeline]):
        publish(kafka, topic, 4, partition=1)
        await_covered(topic, 9)
        wait_until(lambda: cursors.find(partition=0)[0].halted, within=20)
    (halted,) = cursors.find(partition=0)
    assert (halted.halted, halted.next_offset, halted.resume_at) == ("truncated", 5, 2)
    assert lost(database) == [(halted.topic_id, 2, 5)]


@pytest.mark.kills_services
def test_a_cursor_that_was_moved_after_the_ends_were_asked_for_is_not_taken_for_a_truncated_log(
    kafka: Broker, database: Database, cursors: Cursors
) -> None:
    topic = kafka.topic()
    publish(kafka, topic, 5)
    cutting = Cutting(pipelines=[of_topics(Topic(topic, start="latest"))], cursors=cursors, owner="me")
    with open_lookup(reach(kafka, group=topic)) as lookup:
        facts = lookup.topics([topic])
        cutting.refresh(lookup, lookup.cluster(), facts, {(topic, 0): 2}, 0.0)
    (cursor,) = cursors.find()
    assert (cursor.next_offset, cursor.halted) == (5, None)
    assert lost(database) == []


def test_a_log_that_lost_messages_and_has_grown_past_its_cursor_again_halts_its_partition(
    kafka: Broker, database: Database, cursors: Cursors, await_covered: Covered
) -> None:
    """Its end tells nothing; that the messages of an earlier leader end before the cursor does."""
    topic = kafka.topic(partitions=2)
    publish(kafka, topic, 5)
    publish(kafka, topic, 5, partition=1)
    settings, pipeline = reach(kafka, group=topic), of_topics(Topic(topic))
    with listening(settings, cursors, [pipeline]):
        await_covered(topic, 10)
    kafka.stop()
    empty_log(kafka, topic)
    kafka.start()
    for partition in range(2):
        publish(kafka, topic, 8, partition=partition)
    with listening(settings, cursors, [pipeline]):
        await_covered(topic, 18)
        wait_until(lambda: cursors.find(partition=0)[0].halted, within=20)
    (halted,) = cursors.find(partition=0)
    assert (halted.halted, halted.next_offset, halted.resume_at) == ("truncated", 5, 0)
    assert lost(database) == [(halted.topic_id, 0, 5)]
    assert [each.halted for each in cursors.find(partition=1)] == [None], "a leader that changed is no loss"


def test_of_a_transaction_nothing_is_cut_before_its_end(
    kafka: Broker, database: Database, cursors: Cursors, await_covered: Covered
) -> None:
    """The end is the last stable offset; the marker at the end of a transaction has an offset, too."""
    topic = kafka.topic()
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": topic})
    producer.init_transactions(30)
    with listening(reach(kafka, group=topic), cursors, [of_topics(Topic(topic, max_age=0))]):
        publish(kafka, topic, 2)
        await_covered(topic, 2)
        producer.begin_transaction()
        producer.produce(topic, b"{}", partition=0)
        producer.flush(30)
        publish(kafka, topic, 3)
        await_look(database, cursors)
        assert (covered(database, topic), cursors.find()[0].end_offset) == (2, 2)
        producer.abort_transaction(30)
        await_covered(topic, 7)
        producer.begin_transaction()
        producer.produce(topic, b"{}", partition=0)
        producer.commit_transaction(30)
        await_covered(topic, 9)
    assert {first for _, first, _ in ranges(database, topic)} >= {0, 2}


# kafka-python leaves a socket that could not be connected to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*unclosed <socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.kills_services
def test_a_broker_that_is_absent_at_the_start_and_goes_away_later_is_waited_for(
    kafka: Broker, cursors: Cursors, await_covered: Covered
) -> None:
    topic = kafka.topic()
    publish(kafka, topic, 2)
    kafka.stop()
    with capture_logs() as logs, listening(reach(kafka, group=topic), cursors, [of_topics(Topic(topic))]):
        wait_until(lambda: len(told(logs)) == 1, within=40)
        kafka.start()
        await_covered(topic, 2)
        wait_until(lambda: len(told(logs)) == 2)
        kafka.restart(hard=True)
        publish(kafka, topic, 3)
        await_covered(topic, 5)
    gc.collect()
    lines = told(logs)
    assert lines[0].startswith("No Kafka broker answers")
    assert lines[1] == "Kafka answers again"
    assert len(lines) in {2, 4}, "one line when it goes, one when it is back"


def await_look(database: Database, cursors: Cursors) -> None:
    """Wait until the listener has looked at the ends of partitions, and began to after this was called."""

    def looked(since: datetime) -> None:
        wait_until(lambda: (cursors.find()[0].seen_at or since) > since, within=20)

    looked(database_time(database))
    looked(database_time(database))


def told(logs: Sequence[Mapping[str, object]]) -> list[str]:
    events = (str(log["event"]) for log in logs)
    return [event for event in events if "answer" in event or "not currently accepting" in event]


def test_while_the_database_is_away_nothing_is_cut_and_the_place_in_the_group_is_kept(
    kafka: Broker, services: Services, database_url: str, cursors: Cursors, await_covered: Covered
) -> None:
    topic = kafka.topic()
    name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
    settings = reach(kafka, group=topic).model_copy(update={"session_seconds": 6.0})  # less may pass on a busy machine
    with capture_logs() as logs, listening(settings, cursors, [of_topics(Topic(topic))]):
        publish(kafka, topic, 2)
        await_covered(topic, 2)
        before = members(kafka, topic)
        services.administer(
            f'alter database "{name}" with allow_connections false',
            f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'",
        )
        publish(kafka, topic, 3)
        wait_until(lambda: len(told(logs)) == 1, within=40)
        services.administer(f'alter database "{name}" with allow_connections true')
        await_covered(topic, 5)
        assert members(kafka, topic) == before, "a rebalance would have made a new member"
    assert told(logs)[1] == "the database answers again"


def test_a_partition_that_nobody_leads_does_not_hold_up_the_others(kafka: Broker) -> None:
    """A partition that does not exist is one that kafka-python knows of no leader for: it leaves it out, and trips."""
    one, other = kafka.topic(partitions=2), kafka.topic()
    for topic in (one, other):
        publish(kafka, topic, 3)
    asked = [(one, 0), (one, 1), (one, 7), (other, 0)]
    with open_lookup(reach(kafka, group=one)) as lookup:
        lookup.topics([one, other])
        assert lookup.ends(asked) == {(one, 0): 3, (one, 1): 0, (other, 0): 3}
        assert lookup.begins(asked) == {(one, 0): 0, (one, 1): 0, (other, 0): 0}


def members(kafka: Broker, group: str) -> list[str]:
    admin = kafka.admin()
    described = admin.describe_consumer_groups([group])[group].result(30)
    return [member.member_id for member in described.members]


def test_who_joins_again_does_not_wait_for_the_session_of_its_former_member(kafka: Broker) -> None:
    topic = kafka.topic()
    settings = reach(kafka, group=topic).model_copy(update={"session_seconds": 60.0})
    with ExitStack() as stack:
        former = stack.enter_context(open_member(settings, [topic], name="one", watch=unwatched))
        wait_until(former.poll)
        again = stack.enter_context(open_member(settings, [topic], name="one", watch=unwatched))
        wait_until(again.poll, within=30)  # nobody polls the former one, so that it would not make room
        assert len(members(kafka, topic)) == 1


def test_a_session_that_the_broker_will_not_have_is_told_with_what_to_set(kafka: Broker, cursors: Cursors) -> None:
    topic = kafka.topic()
    settings = reach(kafka, group=topic).model_copy(update={"session_seconds": 3600.0})
    with capture_logs() as logs, listening(settings, cursors, [of_topics(Topic(topic))]):
        wait_until(lambda: any("session" in str(line["event"]) for line in logs), within=60)
    [said] = {str(line["event"]) for line in logs if line["log_level"] == "warning"}
    assert said == (
        f"Kafka at {settings.bootstrap} refuses a session of 3600 s: set HEADGATE_KAFKA_SESSION_SECONDS to what its "
        "group.min.session.timeout.ms and group.max.session.timeout.ms allow (6 to 1800 by default)."
    )


def test_a_paused_topic_waits_and_its_neighbour_does_not(
    kafka: Broker, database: Database, cursors: Cursors, await_covered: Covered
) -> None:
    stopped, other = kafka.topic(), kafka.topic()
    sources = Sources(database)
    pipeline = of_topics(Topic(stopped), Topic(other))
    with database.transaction() as connection:
        sources.pause(connection, pipeline.name, [Topic(stopped).name], by="a test", reason="so")
    with listening(reach(kafka, group=stopped), cursors, [pipeline], sources.paused):
        publish(kafka, stopped, 3)
        publish(kafka, other, 4)
        await_covered(other, 4)
        assert covered(database, stopped) == 0
        with database.transaction() as connection:
            sources.resume(connection, pipeline.name, [Topic(stopped).name], by="a test", reason="so")
        await_covered(stopped, 3)
