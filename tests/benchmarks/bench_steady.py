r"""`make bench-steady`: steady streams of files and of messages: how late rows are, and how many runs it takes."""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil
from bench import Bench, burst, drops, report
from bench_kafka import bodies, running_broker
from bench_streams import name_of
from confluent_kafka import Producer
from harness import open_folder, wait_until
from rich.console import Console

FILES = (1, 5, 20, 100, 300)  # a second
MESSAGES = (1, 100, 10_000, 50_000)  # a second
ROWS = 100  # in each file
PARTITIONS = 4
SAMPLES_A_SECOND = 100  # messages whose way is timed
BEHIND = 180.0  # seconds that the last may take after the stream has ended
PAUSE = 8.0  # seconds between two streams: the run of the last one leaves


def pace(count: int, rate: float, act: Callable[[int], None]) -> None:
    """Do something so many times at a steady rate; what is late is made up for at once."""
    began = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        act(number)


@contextmanager
def processor(bench: Bench) -> Iterator[Callable[[], float]]:
    """Count the processor time of all processes of an `up`; what it yields gives it so far, in percent of a core."""
    before, began = _used(bench), time.monotonic()
    yield lambda: 100 * (_used(bench) - before) / (time.monotonic() - began)


def _used(bench: Bench) -> float:
    """Processor seconds of all processes, those that have ended and were waited for included."""
    total = 0.0
    for process in bench.processes():
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.Error:
            continue  # it ended meanwhile: its parent has it
    return total


def figures(prefix: str, late: Sequence[float], runs: int, percent: float) -> dict[str, float]:
    """The figures of one rate."""
    ordered = sorted(late)

    def quantile(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return {
        f"{prefix}_p50_s": statistics.median(ordered),
        f"{prefix}_p95_s": quantile(0.95),
        f"{prefix}_p99_s": quantile(0.99),
        f"{prefix}_runs": runs,
        f"{prefix}_cpu_percent": percent,
    }


def files_at(bench: Bench, rate: int, seconds: float) -> dict[str, float]:
    """Move files in at a steady rate: from each rename to `finished_at`."""
    count = round(rate * seconds)
    name = f"steady{rate}"
    files = bench.write(count, ROWS, name)
    before = bench.done("flights")
    dropped: dict[str, float] = {}

    def drop(number: int) -> None:
        file = files[number]
        dropped[file.name] = time.time()
        file.rename(bench.inbox / "flights" / file.name)

    with processor(bench) as percent:
        pace(count, rate, drop)
        used = percent()
    wait_until(lambda: bench.done("flights") >= before + count, within=BEHIND, every=0.1)
    query = (
        "select name, extract(epoch from finished_at)::float8, claimed_by from headgate.arrival "
        "where pipeline = 'flights' and name like %s"
    )
    rows = bench.connection.execute(query, (f"{name}-%",)).fetchall()
    if len(rows) != count:
        message = f"{len(rows)} arrivals of {count} files"
        raise AssertionError(message)
    late = [float(str(ended)) - dropped[str(name)] for name, ended, _ in rows]
    return figures(f"rate{rate}", late, len({run for *_, run in rows}), used)


def messages_at(bench: Bench, bootstrap: str, rate: int, seconds: float) -> dict[str, float]:
    """Publish messages at a steady rate: from each of a sample to `finished_at` of the range that holds it."""
    count = round(rate * seconds)
    pipeline = name_of(rate)
    values = list(bodies(min(count, 10_000)))
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 2, "queue.buffering.max.messages": 1_000_000})
    every = max(1, rate // SAMPLES_A_SECOND)
    published: list[tuple[int, int, float]] = []  # partition, offset, time

    def publish(step: int) -> None:
        for number in range(step * every, min((step + 1) * every, count)):
            partition, offset = number % PARTITIONS, number // PARTITIONS
            if number == step * every:
                published.append((partition, offset, time.time()))
            producer.produce(pipeline, values[number % len(values)], partition=partition)
        producer.poll(0)

    with processor(bench) as percent:
        pace(-(-count // every), rate / every, publish)
        used = percent()
    producer.flush(60)
    query = "select coalesce(sum(rows_in), 0) from headgate.arrival where pipeline = %s and state = 'done'"

    def done() -> int:
        row = bench.connection.execute(query, (pipeline,)).fetchone()
        return int(str(row[0])) if row else 0

    wait_until(lambda: done() >= count, within=BEHIND, every=0.1)
    ranges = bench.connection.execute(
        "select partition, first_offset, end_offset, extract(epoch from finished_at)::float8, claimed_by "
        "from headgate.arrival where pipeline = %s order by partition, first_offset",
        (pipeline,),
    ).fetchall()
    ends: dict[int, list[tuple[int, float]]] = {number: [] for number in range(PARTITIONS)}
    for partition, _, end, ended, _ in ranges:
        ends[int(str(partition))].append((int(str(end)), float(str(ended))))
    late = []
    for partition, offset, at in published:
        late.append(next(ended for end, ended in ends[partition] if offset < end) - at)
    return figures(f"topic{rate}", late, len({run for *_, run in ranges}), used)


def main() -> None:
    """Measure each rate in turn on one `headgate up`, print a table, and write the figures if asked to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=30, help="how long each rate is kept up")
    parser.add_argument("--files", default=",".join(map(str, FILES)), help="files a second, with commas between")
    parser.add_argument("--messages", default=",".join(map(str, MESSAGES)), help="messages a second")
    parser.add_argument("--drops", type=int, default=12, help="single drops")
    given = parser.parse_args()
    files = [int(rate) for rate in given.files.split(",") if rate]
    messages = [int(rate) for rate in given.messages.split(",") if rate]
    found: dict[str, float] = {}
    console = Console()

    def note(more: Mapping[str, float]) -> None:
        console.print(", ".join(f"{name} {value:.3f}" for name, value in more.items()))
        found.update(more)
        time.sleep(PAUSE)

    with open_folder("headgate-bench-steady-") as folder:
        if messages:
            with running_broker(folder / "kafka") as broker:
                rates = ",".join(map(str, messages))
                for rate in messages:
                    broker.topic(name=name_of(rate), partitions=PARTITIONS)
                env = {"HEADGATE_KAFKA_BOOTSTRAP": broker.bootstrap, "BENCH_RATES": rates}
                with _up(folder, env) as bench:
                    _files(bench, files, given.seconds, given.drops, note)
                    time.sleep(PAUSE)
                    for rate in messages:
                        note(messages_at(bench, broker.bootstrap, rate, given.seconds))
        else:
            with _up(folder, {}) as bench:
                _files(bench, files, given.seconds, given.drops, note)
    title = f"Steady streams of {given.seconds:g} s, {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores"
    report(title, found, given.json)


def _files(
    bench: Bench, rates: Sequence[int], seconds: float, count: int, note: Callable[[Mapping[str, float]], None]
) -> None:
    if count:
        note(drops(bench, count))
        note(burst(bench, 1000))
    else:
        note(burst(bench, 5))  # what is done for the first time is done now
    for rate in rates:
        note(files_at(bench, rate, seconds))


@contextmanager
def _up(folder: Path, env: Mapping[str, str]) -> Iterator[Bench]:
    bench = Bench(folder, "bench_steady_pipelines:PIPELINES", env=env)
    try:
        yield bench
    finally:
        bench.close()


if __name__ == "__main__":
    main()
