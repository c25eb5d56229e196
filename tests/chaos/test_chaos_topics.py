"""Listeners of topics are killed, stopped and added while messages flow: each offset is in exactly one range."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from broker import Broker
from confluent_kafka import Producer
from harness import Stand, wait_until
from kafka_stand import check_each_once, group_offset

from worker.ledger import Database

SESSION = 2  # seconds
PARTITIONS = 4

PIPELINES = """
import dataframely as dy
from worker.pipeline import Pipeline, Table, Topic


class Row(dy.Schema):
    id = dy.Int64(primary_key=True)


PIPELINES = [
    Pipeline(
        name="weather",
        sources=[Topic("{topic}", max_messages=400, max_age=0.2)],
        schema=Row,
        sink=Table("weather", mode="upsert"),
        max_waiting=100_000,
    )
]
"""


class Flow:
    """A topic that messages flow into, and the listeners that plan it."""

    def __init__(self, stand: Stand, kafka: Broker) -> None:
        self.stand = stand
        self.kafka = kafka
        self.topic = kafka.topic(partitions=PARTITIONS)
        self.published = 0
        stand.declare(PIPELINES.format(topic=self.topic))
        stand.environment |= {
            "HEADGATE_KAFKA_BOOTSTRAP": kafka.bootstrap,
            "HEADGATE_KAFKA_GROUP": self.topic,
            "HEADGATE_KAFKA_SESSION_SECONDS": str(SESSION),
            "PREFECT_API_URL": "http://127.0.0.1:9/api",  # nobody is there: only planning is tested here
        }
        with Database(stand.database_url) as database:
            database.migrate()

    def listen(self, **env: str) -> int:
        """Start a listener; its process id."""
        return self.stand.start("listen", env=env).pid

    def publish(self, count: int, *, a_second: int = 1_000_000) -> None:
        """Publish messages over all partitions, acknowledged by the broker."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap, "acks": "all", "linger.ms": 5})
        begun = time.monotonic()
        for number in range(count):
            producer.produce(self.topic, b'{"id": %d}' % number, partition=number % PARTITIONS)
            ahead = number / a_second - (time.monotonic() - begun)
            producer.poll(max(0.0, ahead))
        assert producer.flush(60) == 0
        self.published += count

    @contextmanager
    def publishing(self, count: int, *, a_second: int) -> Iterator[None]:
        """Publish while something else happens."""
        thread = threading.Thread(target=self.publish, args=(count,), kwargs={"a_second": a_second})
        thread.start()
        try:
            yield
        finally:
            thread.join()

    def owners(self) -> dict[int, int]:
        """Of each partition, the process that looked at it last."""
        rows = self.stand.sql("select partition, owner from headgate.cursor where owner is not null")
        return {row["partition"]: int(row["owner"].rpartition(":")[2]) for row in rows}

    def await_owners(self, *pids: int, within: float = 40) -> None:
        """Wait until these processes have all partitions among them, and each of them has one."""
        wait_until(lambda: len(self.owners()) == PARTITIONS and set(self.owners().values()) == set(pids), within=within)

    def covered(self) -> int:
        """How many offsets are in ranges."""
        (row,) = self.stand.sql("select coalesce(sum(end_offset - first_offset), 0) as count from headgate.arrival")
        return int(row["count"])

    def check(self) -> None:
        """Each offset that was published is in exactly one range, and the group is told no more than that."""
        wait_until(lambda: self.covered() >= self.published, within=60)
        assert self.covered() == self.published
        with Database(self.stand.database_url) as database:
            check_each_once(database)
        for row in self.stand.sql("select partition, next_offset from headgate.cursor"):
            assert group_offset(self.kafka, self.topic, self.topic, partition=row["partition"]) <= row["next_offset"]

    def ended(self, pid: int) -> int:
        """Wait for a listener's end; how it ended."""
        return next(process for process in self.stand.processes if process.pid == pid).wait(60)


@pytest.fixture
def flow(stand: Stand, kafka: Broker) -> Flow:
    """A topic of its own."""
    return Flow(stand, kafka)


@pytest.mark.parametrize(
    "point", ["range.before-commit", "range.after-commit", "range.before-acknowledge", "range.after-acknowledge"]
)
def test_a_listener_that_is_killed_anywhere_neither_loses_nor_repeats_a_message(flow: Flow, point: str) -> None:
    with flow.publishing(3000, a_second=500):
        assert flow.ended(flow.listen(HEADGATE_CRASHPOINT=point)) == -signal.SIGKILL
        assert (flow.covered() > 0) == (point != "range.before-commit")
        flow.listen()
    flow.check()


def test_listeners_come_and_go_while_messages_flow(flow: Flow) -> None:
    """One, three, one: partitions change hands, and no offset is cut twice or left out."""
    first = flow.listen()
    flow.await_owners(first)
    with flow.publishing(50_000, a_second=4000):
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
    with flow.publishing(10_000, a_second=1000):
        os.kill(sleeper, signal.SIGSTOP)
        flow.await_owners(other, within=SESSION + 8)
        os.kill(sleeper, signal.SIGCONT)
        flow.await_owners(sleeper, other)
    flow.check()
