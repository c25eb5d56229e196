"""The broker dies, or hangs, while ranges are read and a listener asks: each message is one row all the same.

What the broker acknowledged is held against the table row by row, for both readers.
"""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.context import ForkServerProcess

import pytest
from harness import wait_until
from message_manifest import items
from message_road import READERS, MessageRoad

pytestmark = pytest.mark.kills_services

LARGE = 40_000  # messages of a kilobyte: more than a client fetches ahead
PAD = b" " * 1000


def publish_much(messages: MessageRoad) -> str:
    """Publish what takes a run some seconds to read; its topic."""
    topic = messages.kafka.topic()
    messages.declare(topic)
    messages.publish(topic, [b'{"item":%d%s}' % (number, PAD) for number in range(LARGE)])
    return topic


def blocks_read(messages: MessageRoad) -> int:
    """How many blocks of messages runs have read and keep in their folders."""
    return len(list((messages.stand.home / "work").glob("**/*.messages")))


def more_read(messages: MessageRoad, before: int) -> bool:
    """Whether more than so many blocks are read."""
    return blocks_read(messages) > before


def stopped_in_the_middle(messages: MessageRoad) -> list[ForkServerProcess]:
    """Start a run by each reader, and stop it when it has read a block of its range."""
    runs = []
    for reader in READERS:
        before = blocks_read(messages)
        runs.append(messages.run(reader))
        wait_until(partial(more_read, messages, before), every=0.005)
        os.kill(runs[-1].pid or 0, signal.SIGSTOP)
    return runs


def go_on(runs: list[ForkServerProcess]) -> None:
    """Let runs go on that were stopped."""
    for run in runs:
        os.kill(run.pid or 0, signal.SIGCONT)


def told(messages: MessageRoad) -> list[str]:
    """What the listener said of brokers."""
    said = [json.loads(line)["event"] for line in messages.log_of("listen").splitlines() if line.startswith("{")]
    return [line for line in said if "Kafka" in line]


@contextmanager
def hanging(messages: MessageRoad) -> Iterator[None]:
    """Stop the broker as a machine that swaps or a network that swallows everything would: nothing is refused."""
    pid = messages.kafka.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_broker_that_is_killed_in_the_middle_of_a_range_costs_no_message(messages: MessageRoad) -> None:
    topic = publish_much(messages)
    messages.listen()
    messages.await_cut()
    runs = stopped_in_the_middle(messages)
    messages.kafka.kill()
    go_on(runs)
    wait_until(messages.kafka.ready)
    messages.publish(topic, items(500, first=LARGE))
    for run in runs:
        run.join(120)
    messages.finish()
    messages.check()


def test_a_broker_that_hangs_in_the_middle_of_a_range_costs_no_message_and_one_line(messages: MessageRoad) -> None:
    """The listener says it once, and goes on by itself, the same process, when the broker does."""
    topic = publish_much(messages)
    listener = messages.listen()
    messages.await_cut()
    runs = stopped_in_the_middle(messages)
    with hanging(messages):
        go_on(runs)
        wait_until(lambda: told(messages), within=90)
    messages.publish(topic, items(500, first=LARGE))
    for run in runs:
        run.join(120)
    messages.finish()
    messages.check()
    assert listener.is_alive()
    away, back = told(messages)
    assert away.startswith("Kafka at ")
    assert "does not answer" in away
    assert back == "Kafka answers again"
