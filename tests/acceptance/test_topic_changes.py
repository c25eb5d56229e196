"""Topics are made again, get partitions, lose messages: what there was to be had is in the table, the rest is recorded.

What was published is held against the table row by row, for both readers.
"""

import pytest
from confluent_kafka.cimpl import NewPartitions
from harness import wait_until
from kafka_stand import delete_records, delete_topic
from message_manifest import Letter, items, rows_of, unread
from message_road import MessageRoad
from segments import empty_log


def halted(messages: MessageRoad, reason: str) -> bool:
    """Whether a partition of every pipeline is halted for this reason."""
    found = messages.stand.sql("select distinct pipeline from headgate.cursor where halted = %s", reason)
    return len(found) == len(messages.pipelines)


def lost(messages: MessageRoad) -> set[tuple[str, int, int, int]]:
    """What is recorded as lost: pipeline, partition, and the offsets, the last one exclusive."""
    rows = messages.stand.sql("select * from headgate.cursor_change where action = 'lost'")
    return {(row["pipeline"], row["partition"], row["from_offset"], row["to_offset"]) for row in rows}


def test_of_a_topic_that_is_made_again_the_old_messages_and_the_new_are_rows_once(messages: MessageRoad) -> None:
    """At the same offsets stand others then; what was cut and not yet read is a dead letter, and no other's row."""
    topic = messages.kafka.topic()
    messages.declare(topic)
    messages.listen()
    messages.publish(topic, items(20))
    messages.finish()
    cut = messages.publish(topic, items(10, first=20))
    messages.await_cut()
    delete_topic(messages.kafka, topic)
    messages.kafka.topic(name=topic)
    messages.publish(topic, items(40, first=1000))
    messages.finish()
    messages.check(Letter("lost", cut[0], unread(cut[0], 30)))


def test_the_messages_of_added_partitions_are_rows(messages: MessageRoad) -> None:
    topic = messages.kafka.topic()
    messages.declare(topic, start="latest")
    messages.listen()
    messages.await_cut()
    messages.publish(topic, items(20))
    admin = messages.kafka.admin()
    admin.create_partitions([NewPartitions(topic, 3)])[topic].result(30)
    for partition in range(3):
        messages.publish(topic, items(30, first=100), partition=partition)
    messages.finish()
    messages.check()


def test_what_retention_took_is_recorded_and_once_a_person_says_so_the_rest_is_rows(messages: MessageRoad) -> None:
    """Until then the partition is halted, and the other one goes on."""
    topic = messages.kafka.topic(partitions=2)
    messages.declare(topic)
    listener = messages.listen()
    messages.publish(topic, items(20))
    messages.finish()
    listener.terminate()
    listener.join(30)
    late = messages.publish(topic, items(30, first=20))
    delete_records(messages.kafka, topic, 35)
    messages.publish(topic, items(10), partition=1)
    messages.listen()
    wait_until(lambda: halted(messages, "retention"))
    assert lost(messages) == {(name, 0, 20, 35) for name in messages.pipelines}
    wait_until(lambda: len([row for row in messages.stand.arrivals() if row["partition"] == 1]) == 2)
    messages.work_off()
    messages.check(lost=late)
    one, other = messages.pipelines
    messages.command("topics", "resume", one, topic, "0", "--reason", "known")
    messages.command("topics", "reset", other, topic, "0", "--to", "earliest", "--reason", "known")
    messages.finish()
    messages.check(lost=late[:15])


@pytest.mark.kills_services
def test_what_a_partition_lost_is_recorded_though_it_has_grown_again_and_what_it_has_now_is_rows(
    messages: MessageRoad,
) -> None:
    """At the same offsets stand others: those that were taken in before stay in the table beside them."""
    topic = messages.kafka.topic()
    messages.declare(topic)
    listener = messages.listen()
    messages.publish(topic, items(20))
    messages.finish()
    before = list(messages.published.items())
    listener.terminate()
    listener.join(30)
    messages.kafka.stop()
    empty_log(messages.kafka, topic)
    messages.kafka.start()
    messages.publish(topic, items(50, first=100))
    messages.listen()
    wait_until(lambda: halted(messages, "truncated"))
    assert lost(messages) == {(name, 0, 0, 20) for name in messages.pipelines}
    for name in messages.pipelines:
        messages.command("topics", "resume", name, topic, "0", "--reason", "known")
    messages.finish()
    for name in messages.pipelines:
        assert messages.rows(name) == rows_of([*before, *messages.published.items()])
