"""`make bench-kafka`: how fast published messages become rows, beside what the client and a bare loop can do."""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import psycopg
from bench import report
from broker import Broker
from confluent_kafka import Producer
from harness import open_folder, wait_until
from kafka import KafkaConsumer, TopicPartition
from psycopg import sql
from rich.console import Console
from service_host import Host

Connection = psycopg.Connection[tuple[object, ...]]

SAMPLES = Path(__file__).parents[2] / "automations" / "samples" / "weather"
PARTITIONS = 4
MANY = 24  # partitions, of a topic that is held up by an outage
A_SECOND = 5_000  # messages that come meanwhile
BLOCK = 100_000  # messages that the bare loop copies at a time: as many as a range of ours may hold


def bodies(count: int) -> Iterator[bytes]:
    """Give so many weather messages of about 200 bytes, no two equal."""
    lines = [json.loads(line) for file in sorted(SAMPLES.glob("*.jsonl")) for line in file.open("rb")]
    for line in lines:
        del line["wind_gust"], line["visib"]
    whole = [json.dumps(line, separators=(",", ":"))[:-1].encode() for line in lines if _whole(line)]
    for number in range(count):
        yield b'%s,"visib":%d.%03d}' % (whole[number % len(whole)], number % 10, number % 1000)


def _whole(line: dict[str, object]) -> bool:
    """Leave out what the bare loop would have to be taught ("NA"), and the one hour that the contract refuses."""
    return "NA" not in line.values() and float(str(line["wind_speed"])) < 250


def publish(bootstrap: str, topic: str, count: int, *, partitions: int = PARTITIONS) -> None:
    """Publish so many messages, in turn to each partition."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "queue.buffering.max.messages": 500_000})
    for number, body in enumerate(bodies(count)):
        while True:
            try:
                producer.produce(topic, body, partition=number % partitions)
                break
            except BufferError:
                producer.poll(0.1)
        if number % 1000 == 0:
            producer.poll(0)
    producer.flush(120)


def consume(bootstrap: str, topic: str, count: int) -> Iterator[list[bytes]]:
    """Read all of a topic by a plain kafka-python consumer."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    try:
        consumer.assign([TopicPartition(topic, partition) for partition in range(PARTITIONS)])
        read = 0
        while read < count:
            for records in consumer.poll(timeout_ms=1000, max_records=10_000).values():
                read += len(records)
                yield [record.value for record in records]
    finally:
        consumer.close()


def consume_only(bootstrap: str, topic: str, count: int) -> float:
    """Messages a second of a consumer that does nothing with them."""
    began = time.monotonic()
    for _ in consume(bootstrap, topic, count):
        pass
    return count / (time.monotonic() - began)


def floor(bootstrap: str, topic: str, count: int, connection: Connection) -> float:
    """Messages a second of a consumer, the JSON reader of polars and COPY: no check, no origin, no guarantee."""
    columns = list(json.loads(next(bodies(1))))
    began = time.monotonic()
    connection.execute(
        "create table floor (origin text, year smallint, month smallint, day smallint, hour smallint, temp float8, "
        "dewp float8, humid float8, wind_dir smallint, wind_speed float8, precip float8, pressure float8, "
        "visib float8, time_hour timestamptz)"
    )
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    statement = sql.SQL("copy floor ({}) from stdin (format csv, null 'NA')").format(names)
    held: list[bytes] = []
    for values in consume(bootstrap, topic, count):
        held += values
        if len(held) >= BLOCK:
            _copy(connection, statement, held)
            held = []
    _copy(connection, statement, held)
    rows = connection.execute("select count(*) from floor").fetchone()
    if rows != (count,):
        message = f"{rows} rows in the table of the bare loop, not {count}"
        raise AssertionError(message)
    return count / (time.monotonic() - began)


def _copy(connection: Connection, statement: sql.Composed, values: list[bytes]) -> None:
    if values:
        frame = pl.read_ndjson(b"\n".join(values), infer_schema_length=None)
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(frame.write_csv(include_header=False, null_value="NA").encode())


class Installation:
    """A home in which `headgate up` is started anew for each measurement, beside a broker that stays."""

    def __init__(self, folder: Path, bootstrap: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.bootstrap = bootstrap

    @contextmanager
    def up(self, pipelines: str, reader: str) -> Iterator[Connection]:
        """Run it with pipelines, `<name>:<topic>:<runs>`, and one of the readers; what it yields is its database."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("HEADGATE_", "PREFECT_"))}
        env |= {
            "HEADGATE_HOME": str(self.home),
            "HEADGATE_INBOX": str(self.folder / "inbox"),
            "HEADGATE_PIPELINES": "bench_kafka_pipelines:PIPELINES",
            "HEADGATE_KAFKA_BOOTSTRAP": self.bootstrap,
            "HEADGATE_KAFKA_READER": reader,
            "HEADGATE_KAFKA_GROUP": pipelines,
            "BENCH_KAFKA": pipelines,
            "PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{Path(__file__).parents[2]}",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "headgate", "up"], env=env, cwd=self.folder, stdout=subprocess.DEVNULL
        )
        endpoints = self.home / "endpoints.json"
        try:
            wait_until(endpoints.exists, within=180)
            url = json.loads(endpoints.read_text(encoding="utf-8"))["database_url"]
            with psycopg.connect(url, autocommit=True) as connection:
                there = "select to_regclass('headgate.arrival') is not null"
                wait_until(lambda: connection.execute(there).fetchone() == (True,), within=180)
                yield connection
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(120)


def road(home: Installation, topic: str, count: int, reader: str, runs: int) -> float:
    """Messages a second from the first range opened to the last one committed, by the database's clock."""
    name = f"{reader}-{runs}"
    with home.up(f"{name}:{topic}:{runs}", reader) as connection:
        query = (
            "select coalesce(sum(rows_persisted), 0), extract(epoch from max(finished_at) - min(arrived_at)) "
            "from headgate.arrival where pipeline = %s"
        )

        def figures() -> tuple[int, float]:
            row = connection.execute(query, (name,)).fetchone() or (0, 0)
            return int(str(row[0])), float(str(row[1] or 0))

        wait_until(lambda: figures()[0] >= count, within=600, every=0.5)
        seconds = figures()[1]
        table = sql.Identifier(name.replace("-", "_"))
        asked = sql.SQL("select count(*), count(distinct (_arrival_id, _row)) from {}").format(table)
        if connection.execute(asked).fetchone() != (count, count):
            message = f"{name}: the table has not each message once"
            raise AssertionError(message)
        connection.execute(sql.SQL("drop table {}").format(table))
    return count / seconds


def outage(home: Installation, broker: Broker, count: int) -> dict[str, float]:
    """Messages a second from the end of an outage until what it held up is committed, while more come all the time."""
    topic = broker.topic(partitions=MANY)
    publish(broker.bootstrap, topic, count, partitions=MANY)
    over = threading.Event()
    published = [count]

    def go_on() -> None:
        producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 50})
        began = time.monotonic()
        for number, body in enumerate(bodies(10**9)):
            if over.is_set():
                break
            producer.produce(topic, body, partition=number % MANY)
            published[0] += 1
            if number % 500 == 0:
                producer.poll(0)
                time.sleep(max(0.0, number / A_SECOND - (time.monotonic() - began)))
        producer.flush(60)

    with home.up(f"outage:{topic}:1", "kafka-python") as connection:
        query = (
            "select coalesce(sum(rows_persisted), 0), extract(epoch from clock_timestamp() - min(arrived_at)), "
            "count(*) from headgate.arrival where pipeline = 'outage'"
        )

        def figures() -> tuple[int, float, int]:
            row = connection.execute(query).fetchone() or (0, 0, 0)
            return int(str(row[0])), float(str(row[1] or 0)), int(str(row[2]))

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            wait_until(lambda: figures()[0] >= max(count, published[0] - 2 * A_SECOND), within=1800, every=0.5)
            rows, seconds, ranges = figures()
        finally:
            over.set()
            thread.join(120)
    return {"kafka_outage_messages_per_s": rows / seconds, "kafka_outage_messages_per_range": rows / ranges}


def single(home: Installation, topic: str, messages: int) -> dict[str, float]:
    """From publishing to the row, at one message a second."""
    taken = []
    with home.up(f"single:{topic}:1", "kafka-python") as connection:
        producer = Producer({"bootstrap.servers": home.bootstrap, "linger.ms": 0})
        query = "select coalesce(sum(rows_persisted), 0) from headgate.arrival where pipeline = 'single'"

        def done() -> int:
            row = connection.execute(query).fetchone()
            return int(str(row[0])) if row else 0

        for number, body in enumerate(bodies(messages + 3)):
            began = time.monotonic()
            producer.produce(topic, body, partition=number % PARTITIONS)
            producer.flush(10)
            while done() <= number:
                time.sleep(0.005)
            taken.append(time.monotonic() - began)
            time.sleep(max(0, 1 - taken[-1]))
    warm = taken[3:]  # the first ones wait for the start
    return {"kafka_single_p50_s": statistics.median(warm), "kafka_single_max_s": max(warm)}


@contextmanager
def running_broker(home: Path) -> Iterator[Broker]:
    """A broker of its own."""
    host = Host(home)
    try:
        yield Broker(host.kafka(), host)
    finally:
        host.close()


def main() -> None:
    """Measure all, print a table, and write the figures if asked to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--outage", action="store_true", help="measure what follows an outage, and no more")
    parser.add_argument("--held-up", type=int, default=600 * A_SECOND, help="messages, of such an outage")
    given = parser.parse_args()
    count: int = given.messages
    target: Path | None = given.json
    figures: dict[str, float] = {}
    console = Console()

    def note(**found: float) -> None:
        console.print(", ".join(f"{name} {value:,.2f}" for name, value in found.items()))
        figures.update(found)

    with open_folder("headgate-bench-kafka-") as folder, running_broker(folder / "kafka") as broker:
        topic, slow = broker.topic(partitions=PARTITIONS), broker.topic(partitions=PARTITIONS)
        publish(broker.bootstrap, topic, count)
        home = Installation(folder, broker.bootstrap)
        if given.outage:
            note(kafka_messages_per_s=road(home, topic, count, "kafka-python", 1))
            note(**outage(home, broker, given.held_up))
            note(kafka_outage_ratio=figures["kafka_outage_messages_per_s"] / figures["kafka_messages_per_s"])
            report(f"After an outage of {given.held_up:,} messages, {os.cpu_count()} cores", figures, target)
            return
        note(kafka_consume_only_per_s=consume_only(broker.bootstrap, topic, count))
        with home.up(f"idle:{slow}:1", "kafka-python") as connection:
            note(kafka_floor_per_s=floor(broker.bootstrap, topic, count, connection))
        note(kafka_messages_per_s=road(home, topic, count, "kafka-python", 1))
        note(kafka_two_runs_messages_per_s=road(home, topic, count, "kafka-python", 2))
        note(kafka_fast_messages_per_s=road(home, topic, count, "confluent-kafka", 1))
        note(kafka_fast_two_runs_messages_per_s=road(home, topic, count, "confluent-kafka", 2))
        note(**single(home, slow, 20))
        note(
            kafka_ratio=figures["kafka_messages_per_s"] / figures["kafka_floor_per_s"],
            kafka_fast_ratio=figures["kafka_fast_messages_per_s"] / figures["kafka_floor_per_s"],
        )
    title = f"{count:,} messages in {PARTITIONS} partitions, {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores"
    report(title, figures, target)


if __name__ == "__main__":
    main()
