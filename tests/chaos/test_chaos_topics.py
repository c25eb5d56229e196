"""Listeners and runs are killed, stopped and added while messages flow: each message is one row all the same.

What the broker acknowledged is held against the table row by row.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from confluent_kafka import KafkaError, Message, Producer
from harness import wait_until
from headgate.ledger import Database
from kafka_stand import check_each_once, group_offset
from message_manifest import Place
from message_road import READERS, MessageRoad
from topics import topic_id

SESSION = 2  # seconds
PARTITIONS = 4
NAME = "weather"
LEASE = "HEADGATE_LEDGER_LEASE_SECONDS"


class Flow:
    """A topic that messages flow into, the listeners that plan it, and the runs that bring it to the table."""

    def __init__(self, messages: MessageRoad) -> None:
        self.road = messages
        self.topic = messages.kafka.topic(partitions=PARTITIONS)
        self.topic_id = topic_id(messages.kafka, self.topic)
        messages.declare(self.topic, pipelines=[NAME], max_messages=400, max_age=0.2)

    def listen(self, **env: str) -> int:
        """Start a listener; its process id."""
        return self.road.listen(**env).pid or 0

    def publish(self, count: int, *, a_second: int) -> None:
        """Publish messages over all partitions, so many a second; what the broker acknowledges is kept in mind."""
        settings = {"bootstrap.servers": self.road.kafka.bootstrap, "enable.idempotence": True, "linger.ms": 5}
        producer = Producer(settings)

        def acknowledged(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            place = Place(self.topic_id, message.partition() or 0, message.offset() or 0)
            self.road.published[place] = message.value() or b""

        begun = time.monotonic()
        for number in range(count):
            value = b'{"item":%d}' % number
            producer.produce(self.topic, value, partition=number % PARTITIONS, on_delivery=acknowledged)
            ahead = number / a_second - (time.monotonic() - begun)
            producer.poll(max(0.0, ahead))
        assert producer.flush(60) == 0

    @contextmanager
    def publishing(self, count: int, *, a_second: int) -> Iterator[None]:
        """Publish while something else happens."""
        with ThreadPoolExecutor(1) as pool:
            publishing = pool.submit(self.publish, count, a_second=a_second)
            yield
            publishing.result()
        assert len(self.road.published) == count

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keep two runs at work, one by each reader, while something else happens."""
        over = threading.Event()

        def work(reader: str) -> None:
            while not over.is_set():
                process = self.road.run(NAME, reader)
                process.join(120)
                assert process.exitcode == 0

        with ThreadPoolExecutor(len(READERS)) as pool:
            working = [pool.submit(work, reader) for reader in READERS]
            try:
                yield
            finally:
                over.set()
            for each in working:
                each.result()

    def owners(self) -> dict[int, int]:
        """Of each partition, the process that looked at it last."""
        rows = self.road.stand.sql("select partition, owner from headgate.cursor where owner is not null")
        return {row["partition"]: int(row["owner"].rpartition(":")[2]) for row in rows}

    def await_owners(self, *pids: int, within: float = 40) -> None:
        """Wait until these processes have all partitions among them, and each of them has one."""
        wait_until(lambda: len(self.owners()) == PARTITIONS and set(self.owners().values()) == set(pids), within=within)

    def covered(self) -> int:
        """How many offsets are in ranges."""
        (row,) = self.road.stand.sql(
            "select coalesce(sum(end_offset - first_offset), 0) as count from headgate.arrival"
        )
        return int(row["count"])

    def check(self) -> None:
        """Each message is one row, each offset in exactly one range, and the group is told no more than that."""
        self.road.finish()
        self.road.check()
        assert self.covered() == len(self.road.published)
        with Database(self.road.stand.database_url) as database:
            check_each_once(database)
        group = self.road.stand.environment["HEADGATE_KAFKA_GROUP"]
        for row in self.road.stand.sql("select partition, next_offset from headgate.cursor"):
            told = group_offset(self.road.kafka, group, self.topic, partition=row["partition"])
            assert told <= row["next_offset"]


@pytest.fixture
def flow(messages: MessageRoad) -> Flow:
    """A topic of its own."""
    return Flow(messages)


@pytest.mark.parametrize(
    ("listener_dies", "run_dies", "reader"),
    [
        ("range.before-commit", "range.mid-read", "kafka-python"),
        ("range.after-commit", "persist.in-transaction", "confluent-kafka"),
        ("range.before-acknowledge", "persist.after-commit", "kafka-python"),
        ("range.after-acknowledge", "range.mid-read", "confluent-kafka"),
    ],
)
def test_a_listener_and_a_run_that_are_killed_anywhere_neither_lose_nor_repeat_a_message(
    flow: Flow, listener_dies: str, run_dies: str, reader: str
) -> None:
    with flow.publishing(3000, a_second=1000):
        listener = flow.road.listen(HEADGATE_CRASHPOINT=listener_dies)
        listener.join(60)
        assert listener.exitcode == -signal.SIGKILL
        assert (flow.covered() > 0) == (listener_dies != "range.before-commit")
        flow.listen()
        wait_until(lambda: flow.covered() > 0)
        run = flow.road.run(NAME, reader, HEADGATE_CRASHPOINT=run_dies, **{LEASE: "2"})
        run.join(60)
        assert run.exitcode == -signal.SIGKILL
    flow.check()


def test_listeners_come_and_go_while_messages_flow(flow: Flow) -> None:
    """One, three, one: partitions change hands, and no message is taken in twice or left out."""
    first = flow.listen()
    flow.await_owners(first)
    with flow.running(), flow.publishing(50_000, a_second=4000):
        others = [flow.listen(), flow.listen()]
        flow.await_owners(first, *others)
        os.kill(others[0], signal.SIGTERM)
        flow.await_owners(first, others[1])
        os.kill(others[1], signal.SIGKILL)
        flow.await_owners(first, within=SESSION + 8)
    flow.check()


def test_a_listener_that_was_stopped_for_a_while_finds_its_partitions_taken_over(flow: Flow) -> None:
    sleeper, other = flow.listen(), flow.listen()
    flow.await_owners(sleeper, other)
    with flow.running(), flow.publishing(10_000, a_second=1000):
        os.kill(sleeper, signal.SIGSTOP)
        flow.await_owners(other, within=SESSION + 8)
        os.kill(sleeper, signal.SIGCONT)
        flow.await_owners(sleeper, other)
    flow.check()
