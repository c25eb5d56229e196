r"""`make bench-recovery`: processes are killed under a steady stream of files; how soon is all as it was?

From each kill until a file that is dropped right after it is committed, and all that were dropped before it.
"""

import argparse
import os
import random
import signal
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import psutil
import psycopg
from bench import Bench, report
from bench_kafka import bodies
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from harness import open_folder, wait_until
from rich.console import Console

RATE = 20  # files a second
ROWS = 100  # in each file
KINDS = ("run", "worker", "listener", "prefect", "postgres", "broker", "up")
# By what their titles or command lines hold.
MARKS = {
    "run": "headgate run",
    "worker": "headgate work",
    "listener": "headgate listen",
    "prefect": "Prefect server",
    "postgres": "/postgres -D",
    "broker": "kafka.Kafka",
}
LONGEST = 180.0  # seconds that a recovery may take
CALM = (3.0, 6.0)  # seconds between a recovery and the next kill, at random
TOPIC = "recovery"


class Stream:
    """Drops files at a steady rate until it is stopped, whatever is killed meanwhile."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._staged = bench.folder / "staged"
        self._staged.mkdir(exist_ok=True)
        self._block = bench.flights(400 * ROWS)
        self._used = 0
        self.dropped = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def drop(self) -> int:
        """Drop one file; how many that were, with it."""
        with self._lock:
            if self._used + ROWS > self._block.height:
                self._block, self._used = self._bench.flights(400 * ROWS), 0
            name = f"stream-{self.dropped}.csv"
            self._block.slice(self._used, ROWS).write_csv(self._staged / name)
            self._used += ROWS
            self.dropped += 1
            (self._staged / name).rename(self._bench.inbox / "flights" / name)
            return self.dropped

    def _run(self) -> None:
        began, number = time.monotonic(), 0
        while not self._over.wait(max(0.0, began + number / RATE - time.monotonic())):
            self.drop()
            number += 1


class Ledger:
    """The ledger of an `up`, asked again when PostgreSQL is killed."""

    def __init__(self, bench: Bench) -> None:
        self._url = bench.database_url
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None

    def ask(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Ask; nothing comes while the database does not answer."""
        try:
            if self._connection is None:
                self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=2)
            return self._connection.execute(query.encode(), values or None).fetchall()
        except psycopg.OperationalError:
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            return []

    def has(self, count: int) -> bool:
        """Whether the first files, so many, are committed."""
        query = (
            "select count(*) from headgate.arrival where pipeline = 'flights' and state = 'done' "
            "and name like 'stream-%%' and substring(name from '[0-9]+')::int < %s"
        )
        return self.ask(query, count) == [(count,)]

    def has_message(self, number: int) -> bool:
        """Whether so many messages are committed."""
        query = "select coalesce(sum(rows_in), 0) from headgate.arrival where pipeline = 'messages' and state = 'done'"
        found = self.ask(query)
        return bool(found) and int(str(found[0][0])) >= number


def victim(bench: Bench, kind: str) -> psutil.Process:
    """Find the process to kill: of those that execute runs, the one that is at work."""
    if kind == "up":
        return psutil.Process(bench.process.pid)
    found = []
    for process in bench.processes():
        with suppress(psutil.Error):
            command = process.cmdline()
            if MARKS[kind] in " ".join(command) and (kind != "run" or command[:1] == ["headgate run"]):
                found.append(process)
    if kind != "run":
        return found[0]
    before = {process: sum(process.cpu_times()[:2]) for process in found}
    time.sleep(0.3)
    return max(found, key=lambda process: sum(process.cpu_times()[:2]) - before[process])


def kill(bench: Bench, kind: str) -> None:
    """Kill as a machine that loses power would: PostgreSQL with all its backends."""
    family = wait_until(lambda: _family(bench, kind), within=60)
    for each in family:
        with suppress(psutil.NoSuchProcess):
            os.kill(each.pid, signal.SIGKILL)
    if kind == "up":
        bench.process.wait(30)
        bench.start()


def _family(bench: Bench, kind: str) -> list[psutil.Process]:
    try:
        process = victim(bench, kind)
        return [process, *(process.children(recursive=True) if kind == "postgres" else ())]
    except (psutil.Error, IndexError, ValueError):
        return []


def recovery(bench: Bench, stream: Stream, ledger: Ledger, kind: str, publish: Callable[[], int]) -> float:
    """Kill once; how long until a file dropped right after it, and all before it, are committed."""
    began = time.monotonic()
    kill(bench, kind)
    if kind == "run":
        began = time.monotonic()  # it was watched for a moment, to see which one works
    count = stream.drop()
    message = publish() if kind == "broker" else 0
    wait_until(lambda: ledger.has(count) and ledger.has_message(message), within=LONGEST, every=0.02)
    return time.monotonic() - began


def main() -> None:
    """Kill each kind so many times, print a table, and write the figures if asked to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    parser.add_argument("--kills", type=int, default=10, help="of each kind")
    parser.add_argument("--kinds", default=",".join(KINDS), help="which, with commas between")
    parser.add_argument("--seed", type=int, default=1, help="of the pauses between the kills")
    given = parser.parse_args()
    kinds: Sequence[str] = given.kinds.split(",")
    pauses = random.Random(given.seed)  # noqa: S311 - it is to be repeatable
    figures: dict[str, float] = {}
    console = Console()
    with open_folder("headgate-bench-recovery-") as folder:
        options: Mapping[str, str] = {}
        bench = Bench(
            folder,
            "bench_recovery_pipelines:PIPELINES" if "broker" in kinds else "bench_pipelines:PIPELINES",
            env=options,
            options=("--kafka",) if "broker" in kinds else (),
        )
        try:
            ledger = Ledger(bench)
            publish = _publisher(bench) if "broker" in kinds else lambda: 0
            with Stream(bench) as stream:
                wait_until(lambda: ledger.has(5 * RATE), within=LONGEST)
                if "broker" in kinds:
                    first = publish()
                    wait_until(lambda: ledger.has_message(first), within=LONGEST)
                for kind in kinds:
                    taken = []
                    for _ in range(given.kills):
                        time.sleep(pauses.uniform(*CALM))
                        taken.append(recovery(bench, stream, ledger, kind, publish))
                        console.print(f"{kind} {taken[-1]:.2f}")
                    figures |= {
                        f"recovery_{kind}_p50_s": statistics.median(taken),
                        f"recovery_{kind}_max_s": max(taken),
                    }
            wait_until(lambda: ledger.has(stream.dropped), within=LONGEST)
            _check(ledger, stream.dropped)
        finally:
            bench.close()
    report(
        f"Recovery, {given.kills} kills each, {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores", figures, given.json
    )


def _check(ledger: Ledger, dropped: int) -> None:
    rows = ledger.ask("select count(*), count(distinct (_arrival_id, _row)) from flights")
    if rows != [(dropped * ROWS, dropped * ROWS)]:
        message = f"{rows} rows of {dropped * ROWS}: some were lost or doubled"
        raise AssertionError(message)


def _make_topic(admin: AdminClient) -> bool:
    try:
        admin.create_topics([NewTopic(TOPIC, 1, 1)])[TOPIC].result(5)
    except TimeoutError:  # it may be made all the same, after the answer was awaited
        return False
    except KafkaException as error:
        failed: KafkaError = error.args[0]
        return failed.code() == KafkaError.TOPIC_ALREADY_EXISTS
    return True


def _publisher(bench: Bench) -> Callable[[], int]:
    """Publish one message when called; how many there were, with it."""
    options: dict[str, str | int | float | bool] = {"bootstrap.servers": str(bench.kafka_bootstrap), "log_level": 0}
    # Made here: a producer that asks for its topic before the broker is up may wait for minutes.
    wait_until(lambda: _make_topic(AdminClient(options)), within=LONGEST)
    producer = Producer({**options, "linger.ms": 0})
    values = list(bodies(1000))
    published = 0

    def publish() -> int:
        nonlocal published
        producer.produce(TOPIC, values[published % len(values)])
        producer.poll(0)
        published += 1
        threading.Thread(target=producer.flush, args=(60,), daemon=True).start()  # the broker may be starting
        return published

    return publish


if __name__ == "__main__":
    main()
