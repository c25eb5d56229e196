"""The road of messages to tables: listeners and runs in processes of their own, and a checker.

Two pipelines read the same topics, each into a table of its own, and are run by one reader each. The checker knows what
the broker has acknowledged, and sees tables, dead letters and ledger in plain SQL.
"""

from collections.abc import Iterable, Sequence
from multiprocessing.context import ForkServerProcess
from uuid import uuid4

import topics
import warm
from broker import Broker
from confluent_kafka import Consumer, TopicPartition
from harness import Stand, wait_until
from headgate.ledger import Database
from message_manifest import Letter, Place, difference, rows_of, unread

READERS = ("kafka-python", "confluent-kafka")
NOBODY = "http://127.0.0.1:9/api"  # a listener rings in vain: the tests start the runs

PIPELINES = """
from datetime import timedelta

import dataframely as dy
from headgate import Pipeline, Retry, Table
from headgate.pipeline.topic import Columns, Topic


class Item(dy.Schema):
    item = dy.Int64(nullable=False)
    part = dy.Int64(nullable=False)
    place = dy.Int64(nullable=False)


PIPELINES = tuple(
    Pipeline(
        name=name,
        sources=tuple(Topic(topic, columns=Columns(partition="part", offset="place"), **SETTINGS) for topic in TOPICS),
        schema=Item,
        sink=Table(name.replace("-", "_")),
        retry=Retry(attempts=10, first_delay=timedelta(seconds=0.2)),
        max_waiting=100_000,
    )
    for name in NAMES
)
"""


class MessageRoad:
    """A stand with pipelines of topics, what was published there, and who dies on the way."""

    def __init__(self, stand: Stand, kafka: Broker) -> None:
        self.stand = stand
        self.kafka = kafka
        self.topics: tuple[str, ...] = ()
        self.pipelines: tuple[str, ...] = ()
        self.published: dict[Place, bytes] = {}
        self._processes: list[ForkServerProcess] = []

    def declare(self, *names: str, pipelines: Sequence[str] = READERS, **settings: float | str) -> None:
        """Declare pipelines of these topics; settings of each as `max_messages=400`."""
        self.topics, self.pipelines = names, tuple(pipelines)
        given = f"TOPICS, NAMES, SETTINGS = {names!r}, {self.pipelines!r}, {settings!r}"
        self.stand.declare(f"{given}\n{PIPELINES}")
        self.stand.environment |= {
            "HEADGATE_KAFKA_BOOTSTRAP": self.kafka.bootstrap,
            "HEADGATE_KAFKA_GROUP": f"g-{uuid4().hex[:12]}",
            "HEADGATE_KAFKA_SESSION_SECONDS": "2",
        }
        with Database(self.stand.database_url) as database:
            database.migrate()

    def start(self, *command: str, **env: str) -> ForkServerProcess:
        """Start a process of ours, as `warm.start` knows them."""
        process = warm.start(command, env=self.stand.env(env), folder=self.stand.folder)
        self._processes.append(process)
        return process

    def listen(self, **env: str) -> ForkServerProcess:
        """Start a listener."""
        return self.start("listen", PREFECT_API_URL=NOBODY, **env)

    def run(self, pipeline: str, reader: str | None = None, **env: str) -> ForkServerProcess:
        """Start a run; it reads by the reader that its pipeline is named after, unless another one is given."""
        return self.start("ingest", pipeline, HEADGATE_KAFKA_READER=reader or pipeline, **env)

    def command(self, *command: str) -> None:
        """Run a command of ours to its end."""
        process = self.start(*command)
        process.join(60)
        assert process.exitcode == 0, self.log_of(command[0])

    def publish(
        self,
        topic: str,
        values: Sequence[bytes],
        *,
        partition: int = 0,
        keys: Sequence[bytes] | None = None,
        codec: str = "none",
    ) -> list[Place]:
        """Publish messages in their order, each once, in as few batches as there can be; where they stand."""
        offsets = topics.publish(
            self.kafka,
            topic,
            values,
            partition=partition,
            keys=keys,
            compression_type=codec,
            linger_ms=200,
            message_max_bytes=100 * 1024**2,
            enable_idempotence=True,
        )
        topic_id = topics.topic_id(self.kafka, topic)
        places = [Place(topic_id, partition, offset) for offset in offsets]
        self.published |= dict(zip(places, values, strict=True))
        return places

    def ends(self) -> dict[tuple[str, int], int]:
        """Where each partition of the topics ends, by the topic's id."""
        consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": "ends"})
        try:
            known = consumer.list_topics(timeout=30).topics
            return {
                (topics.topic_id(self.kafka, topic), number): consumer.get_watermark_offsets(
                    TopicPartition(topic, number), timeout=30
                )[1]
                for topic in self.topics
                for number in known[topic].partitions
            }
        finally:
            consumer.close()

    def await_cut(self, *, within: float = 90) -> None:
        """Wait until all that there is of the topics is in ranges of every pipeline."""
        ends = self.ends()

        def cut() -> bool:
            rows = self.stand.sql("select pipeline, topic_id as id, partition, next_offset from headgate.cursor")
            found = {(row["pipeline"], row["id"], row["partition"]): row["next_offset"] for row in rows}
            return all(found.get((name, *part)) == end for name in self.pipelines for part, end in ends.items())

        wait_until(cut, within=within)

    def due(self) -> list[str]:
        """The pipelines that have something for a run to do."""
        rows = self.stand.sql(
            "select distinct pipeline from headgate.arrival where due_at <= now() and state in "
            "('ready', 'retry', 'claimed')"
        )
        return [row["pipeline"] for row in rows]

    def finish(self) -> None:
        """Have everything cut, and run until each range has come to its end."""
        self.await_cut()
        self.work_off()

    def work_off(self, *, within: float = 150) -> None:
        """Run until each range that there is has come to its end."""

        def ended() -> bool:
            for process in [self.run(name, self.reader_of(name)) for name in self.due()]:
                process.join(120)
            return all(row["state"] in {"done", "rejected"} for row in self.stand.arrivals())

        wait_until(ended, within=within, every=0.2)

    def reader_of(self, pipeline: str) -> str:
        """Which reader a pipeline is run by."""
        return pipeline if pipeline in READERS else READERS[0]

    def check(self, *letters: Letter, lost: Iterable[Place] = ()) -> None:
        """Each message that was published is one row or in one dead letter, as it was published; there is nothing else.

        Args:
            letters: the dead letters that there should be.
            lost: places of messages that could not be taken in.

        """
        gone = {*lost, *(place for letter in letters for place in letter.covers())}
        rows = rows_of((place, value) for place, value in self.published.items() if place not in gone)
        for name in self.pipelines:
            assert self.rows(name) == rows, f"{name}: {difference(self.rows(name), rows)}"
            assert self.letters(name) == sorted(letters), f"{name}: {difference(self.letters(name), letters)}"

    def rows(self, pipeline: str) -> list[tuple[object, ...]]:
        """The rows of a pipeline's table: where each message stood, and its number."""
        found = self.stand.sql(
            "select topic_id, part, place, item from {} join headgate.arrival on arrival_id = _arrival_id "
            "order by 1, 2, 3, 4".format(pipeline.replace("-", "_"))
        )
        return [tuple(row.values()) for row in found]

    def letters(self, pipeline: str) -> list[Letter]:
        """The dead letters of a pipeline, by reason and place."""
        rows = self.stand.sql(
            "select d.reason, topic_id as id, partition, first_offset + coalesce(row_number, 1) - 1 as place, "
            "end_offset, original from headgate.dead_letter as d join headgate.arrival using (arrival_id) "
            "where pipeline = %s",
            pipeline,
        )
        letters = []
        for row in rows:
            place = Place(row["id"], row["partition"], row["place"])
            whole = unread(place, row["end_offset"])  # of an arrival that was given up, no bytes are kept
            letters.append(Letter(row["reason"], place, whole if row["original"] is None else row["original"]))
        return sorted(letters)

    def log_of(self, command: str) -> str:
        """What all processes of a command have written."""
        return self.stand.log_of(command)

    def close(self) -> None:
        """End what still runs."""
        for process in self._processes:
            process.kill()
            process.join(10)
