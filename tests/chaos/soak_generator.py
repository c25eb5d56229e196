"""The generator: drops files and publishes messages, each written down on disk before. It knows nothing of Headgate."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from confluent_kafka import KafkaError, Message, Producer
from soak_data import FORMATS, LABELS, Expected, Values, make_file, make_message, packed, spoil_message

PARTITIONS = 4
TOPICS = ("messages-append", "messages-upsert")
FOLDERS = ("files-append", "files-upsert")
KEYS = 3000  # that rows of upserts share among them
FILE_EVERY, BATCH_EVERY = 1.6, 0.8  # seconds between two, on average


@dataclass(frozen=True, slots=True)
class Step:
    """Something to be dropped or published."""

    at: float  # seconds after the start
    where: str  # one of FOLDERS or TOPICS
    number: int


def plan(seed: int, seconds: float, rate: float = 1.0) -> list[Step]:
    """Say when something is dropped and published: the same for the same seed."""
    steps = []
    for kinds, every in ((FOLDERS, FILE_EVERY), (TOPICS, BATCH_EVERY)):
        random, at = Random(f"{seed} {kinds[0]}"), 0.0  # noqa: S311 - it is to be repeatable
        while (at := at + random.expovariate(rate / every)) < seconds:
            steps.append((at, random.choices(kinds, (2, 1))[0]))
    return [Step(at, where, number) for number, (at, where) in enumerate(sorted(steps), 1)]


class Generator:
    """Follows a plan, one step after the other. What it makes depends on the seed alone, not on what happens.

    Args:
        folder: of the manifest, and where files are written before they are moved into the inbox.
        inbox: of all watched folders.
        seed: of the data.

    """

    def __init__(self, *, folder: Path, inbox: Path, seed: int) -> None:
        self.manifest = folder / "manifest.jsonl"
        self.acknowledged = folder / "acknowledged.jsonl"
        self._staged = folder / "staged"
        self._staged.mkdir()
        self._inbox = inbox
        self._seed = seed
        self._sent: list[
            tuple[str, bytes]
        ] = []  # files of the append folder that may come a second time: suffix, bytes
        self._producer: Producer | None = None
        self.rows = 0
        self.messages = 0
        self.pending = 0  # messages that are not acknowledged yet

    def connect(self, bootstrap: str) -> None:
        """Connect to the broker. Each message is acknowledged in the end, once, however often the broker dies."""
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "acks": "all",
                "enable.idempotence": True,
                "message.timeout.ms": 0,
                "linger.ms": 20,
                "reconnect.backoff.max.ms": 1000,
                "logger": _quiet(),
            }
        )

    def run(self, steps: list[Step], begun: float, over: threading.Event) -> None:
        """Follow the plan until its end, or until told that it is over."""
        for step in steps:
            while (ahead := begun + step.at - time.monotonic()) > 0 and not over.is_set():
                self._poll(min(ahead, 0.2))
            if over.is_set():
                return
            random = Random(f"{self._seed} {step.number}")  # noqa: S311 - it is to be repeatable
            if step.where in TOPICS:
                self._publish(step, random)
            else:
                self._drop(step, random)

    def finish(self, within: float) -> int:
        """Wait for the acknowledgements; how many messages have none."""
        return 0 if self._producer is None else self._producer.flush(within)

    def _poll(self, seconds: float) -> None:
        if self._producer is not None:
            self._producer.poll(seconds)

    def _drop(self, step: Step, random: Random) -> None:
        chance, kind = random.random(), "file"
        if step.where == "files-append" and chance < 0.06 and self._sent:
            suffix, data = random.choice(self._sent)
            kind, expected = "again", Expected()
        elif chance < 0.08:
            suffix, data = "csv", b"origin,number,amount\nx,%d,1\n" % step.number
            kind, expected = "rejected", Expected()
        else:
            suffix = random.choice(FORMATS)
            rows = list(self._rows(step, random))
            data, expected = make_file(suffix, rows, random, random.choice((0, 7, 50, 500)))
        name = f"{step.where}-{step.number:06}.{suffix}"
        sha256 = hashlib.sha256(data).hexdigest()
        self._write_down(kind, where=step.where, name=name, sha256=sha256, **expected.to_json())
        if kind == "file" and step.where == "files-append" and len(data) < 100_000:
            self._sent = [*self._sent[-20:], (suffix, data)]
        (self._staged / name).write_bytes(data)
        target = self._inbox / step.where
        target.mkdir(parents=True, exist_ok=True)
        (self._staged / name).rename(target / name)
        self.rows += len(expected)

    def _rows(self, step: Step, random: Random) -> Iterator[Values]:
        keyed = step.where == "files-upsert"
        least, most = random.choices(((20, 400), (1000, 6000), (20_000, 60_000)), (70, 26, 0 if keyed else 4))[0]
        for number in range(1, random.randint(least, most) + 1):
            key = random.randrange(KEYS) if keyed else number
            yield f"{step.where}-{step.number}", key, step.number, LABELS[number % len(LABELS)]

    def _publish(self, step: Step, random: Random) -> None:
        expected, partitions = Expected(), array("q")
        sending: list[tuple[int, bytes | None, bytes | None]] = []
        keyed = step.where == "messages-upsert"
        for number in range(random.randint(50, 1500)):
            key = random.randrange(KEYS) if keyed else step.number * 10_000 + number
            partition = key % PARTITIONS if keyed else random.randrange(PARTITIONS)
            values = f"{step.where}-{step.number}", key, number, LABELS[number % len(LABELS)]
            chance, value = random.random(), None
            if chance < 0.02:
                expected.tombstone(key)
            elif chance < 0.03:
                value = spoil_message(values, random)
                expected.refused(key, value)
            else:
                value = make_message(values)
                expected.good(values)
            partitions.append(partition)
            sending.append((partition, b"%d" % key if keyed else None, value))
        self._write_down(
            "batch", where=step.where, number=step.number, partitions=packed(partitions), **expected.to_json()
        )
        self.messages += len(sending)
        if self._producer is not None:
            self._send(self._producer, step, sending)

    def _send(self, producer: Producer, step: Step, sending: list[tuple[int, bytes | None, bytes | None]]) -> None:
        batch = _Batch(step.number, array("q", [-1]) * len(sending), len(sending))
        self.pending += len(sending)
        for place, (partition, name, value) in enumerate(sending):
            told = partial(self._told, batch, place)
            while True:
                try:
                    producer.produce(step.where, value, name, partition, on_delivery=told)
                    break
                except BufferError:  # the broker has been gone for long
                    producer.poll(0.2)
        producer.poll(0)

    def _told(self, batch: _Batch, place: int, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            return
        batch.offsets[place] = message.offset() or 0
        batch.waiting -= 1
        self.pending -= 1
        if not batch.waiting:
            with self.acknowledged.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"batch": batch.number, "offsets": packed(batch.offsets)}) + "\n")

    def _write_down(self, kind: str, **entry: object) -> None:
        with self.manifest.open("a", encoding="utf-8") as manifest:
            manifest.write(json.dumps({"kind": kind, **entry}) + "\n")
            manifest.flush()
            os.fsync(manifest.fileno())


@dataclass(slots=True)
class _Batch:
    """Messages that were sent together."""

    number: int
    offsets: array[int]
    waiting: int  # how many are not acknowledged


def _quiet() -> logging.Logger:
    """Give a logger that says nothing: the broker is killed on purpose."""
    logger = logging.getLogger("soak.producer")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    return logger
