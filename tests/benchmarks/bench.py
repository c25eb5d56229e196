r"""`make bench`: how fast a drop becomes rows, bursts, one big file against \copy, and what it all costs at rest."""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx
import polars as pl
import psutil
import psycopg
from harness import open_folder, wait_until
from headgate.embedded.unprivileged import binaries
from headgate.model import flow_run_of
from rich.console import Console
from rich.table import Table

SAMPLES = Path(__file__).parents[2] / "automations" / "samples" / "flights"
MILLION = 1_000_000
IDLE = 6.0  # seconds between two single drops: longer than a run waits for the next arrival of a stream
# By the titles of the processes; what is left is PostgreSQL, but for 10 MB.
KINDS = {
    "server": "Prefect server",
    "worker": "headgate work",
    "run": "headgate run",
    "listen": "headgate listen",
    "fork_servers": "headgate fork server",
    "up": "headgate up",
}
COLUMNS = pl.read_csv(SAMPLES / "flights-2013-01-01.csv", n_rows=0).columns


class Bench:
    """A running `headgate up`, and the ways to measure it from outside."""

    def __init__(
        self,
        folder: Path,
        pipelines: str = "bench_pipelines:PIPELINES",
        *,
        env: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.inbox = folder / "inbox"
        self._taken = 0
        self._command = [sys.executable, "-m", "headgate", "up", *options]
        ours = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HEADGATE_", "PREFECT_")) or name == "HEADGATE_PREFECT_INTERNALS"
        }
        self.env = {
            **ours,
            **(env or {}),
            "HEADGATE_HOME": str(self.home),
            "HEADGATE_INBOX": str(self.inbox),
            "HEADGATE_PIPELINES": pipelines,
            "PYTHONPATH": os.pathsep.join(str(parent) for parent in Path(__file__).parents[:3]),
        }
        self.start()
        wait_until((self.home / "endpoints.json").exists, within=120)
        endpoints = json.loads((self.home / "endpoints.json").read_text(encoding="utf-8"))
        self.database_url: str = endpoints["database_url"]
        self.api_url: str = endpoints["api_url"]
        self.kafka_bootstrap: str | None = endpoints.get("kafka_bootstrap")
        self.connection = psycopg.connect(self.database_url, autocommit=True)
        wait_until(self._worker_is_up, within=120)

    def start(self) -> None:
        """Start it, for the first time or again."""
        self.process = subprocess.Popen(self._command, env=self.env, cwd=self.folder, stdout=subprocess.DEVNULL)

    def _worker_is_up(self) -> bool:
        log = self.home / "logs" / "work.log"
        return log.exists() and "worker at work" in log.read_text(encoding="utf-8")

    def close(self) -> None:
        """Stop it as a user would."""
        self.connection.close()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(120)

    def processes(self) -> list[psutil.Process]:
        """All processes of it."""
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def flights(self, rows: int) -> pl.DataFrame:
        """Take so many real flights that were not taken before: days are moved on, so that no key comes twice."""
        days = [pl.read_csv(SAMPLES / f"flights-2013-01-0{day}.csv", infer_schema=False) for day in (1, 3)]
        real = pl.concat(days)
        times = -(-(self._taken + rows) // real.height)
        first = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ")
        moved = pl.concat(
            [
                real.with_columns(
                    (first + pl.duration(days=4 * number)).dt.strftime("%Y-%m-%dT%H:%M:%SZ").alias("time_hour")
                )
                for number in range(self._taken // real.height, times)
            ]
        )
        taken = moved.slice(self._taken % real.height, rows)
        self._taken += rows
        return taken

    def done(self, pipeline: str) -> int:
        """Count the arrivals of a pipeline that are done."""
        query = "select count(*) from headgate.arrival where state = 'done' and pipeline = %s"
        row = self.connection.execute(query, (pipeline,)).fetchone()
        return int(row[0]) if row else 0

    def wait(self, pipeline: str, count: int) -> None:
        """Wait until so many arrivals of a pipeline are done."""
        wait_until(lambda: self.done(pipeline) >= count, within=300, every=0.005)

    def drop(self, folder: str, files: list[Path]) -> float:
        """Move files in; the time it began."""
        began = time.monotonic()
        for file in files:
            file.rename(self.inbox / folder / file.name)
        return began

    def write(self, count: int, rows: int, name: str) -> list[Path]:
        """Write files beside the inbox."""
        staged = self.folder / "staged"
        staged.mkdir(exist_ok=True)
        frame = self.flights(count * rows)
        files = []
        for number in range(count):
            file = staged / f"{name}-{number}.csv"
            frame.slice(number * rows, rows).write_csv(file)
            files.append(file)
        return files


def drops(bench: Bench, count: int) -> dict[str, float]:
    """Drop -> rows committed, one at a time: files moved in, and as many written where they are watched."""
    taken = []
    first = datetime.now(UTC)
    for file in bench.write(count, 100, "single"):
        before = bench.done("flights")
        began = bench.drop("flights", [file])
        bench.wait("flights", before + 1)
        taken.append(time.monotonic() - began)
        time.sleep(IDLE)  # the next drop is to find everything idle
    figures = {
        "drop_p50_s": statistics.median(taken),
        "drop_p95_s": statistics.quantiles(taken, n=20)[-1],
        "drop_max_s": max(taken),
        "drop_first_s": taken[0],
        **from_event_to_run(bench, first),
    }
    copied = []
    for file in bench.write(count // 2, 100, "copied"):
        before = bench.done("flights")
        began = time.monotonic()
        shutil.copyfile(file, bench.inbox / "flights" / file.name)
        bench.wait("flights", before + 1)
        copied.append(time.monotonic() - began)
        time.sleep(IDLE)
    return {**figures, "copied_p50_s": statistics.median(copied)}


def from_event_to_run(bench: Bench, since: datetime) -> dict[str, float]:
    """From the event of each ring since then to its run's states Running and Completed, in Prefect's own times."""
    time.sleep(2)  # the last run leaves
    rings = "select rung_at, answered_by from headgate.ring where rung_at > %s and answered_by is not null"
    running, completed = [], []
    for rung_at, run in bench.connection.execute(rings, (since,)):
        found = httpx.get(f"{bench.api_url}/flow_runs/{flow_run_of(run)}", timeout=30).json()
        running.append((datetime.fromisoformat(found["start_time"]) - rung_at).total_seconds())
        completed.append((datetime.fromisoformat(found["end_time"]) - rung_at).total_seconds())
    return {
        "ring_running_p50_s": statistics.median(running),
        "event_completed_p50_s": statistics.median(completed),
    }


def burst(bench: Bench, count: int) -> dict[str, float]:
    """Many files of 100 rows at once."""
    files = bench.write(count, 100, f"burst{count}")
    before = bench.done("flights")
    began = bench.drop("flights", files)
    bench.wait("flights", before + count)
    return {f"burst{count}_files_per_s": count / (time.monotonic() - began)}


def million(bench: Bench) -> dict[str, float]:
    r"""One file of a million rows, against psql's \copy of the same file into the same table."""
    (file,) = bench.write(1, MILLION, "million")
    kept = bench.folder / "million.csv"
    os.link(file, kept)
    before = bench.done("big")
    with peak_of_runs(bench) as peak:
        began = bench.drop("big", [file])
        bench.wait("big", before + 1)
        taken = time.monotonic() - began
    rows = bench.connection.execute("select count(*) from big").fetchone()
    if rows != (MILLION,):
        message = f"{rows} rows in the table, not a million"
        raise AssertionError(message)
    bench.connection.execute("truncate big")
    # The file has no origin columns; the table and its indexes stay as they are.
    bench.connection.execute("alter table big alter _arrival_id drop not null, alter _row drop not null")
    copy = f"\\copy big ({', '.join(COLUMNS)}) from '{kept}' with (format csv, header, null 'NA')"
    began = time.monotonic()
    subprocess.run([binaries(None) / "psql", bench.database_url, "-qc", copy], check=True)
    copied = time.monotonic() - began
    return {"million_s": taken, "copy_s": copied, "million_ratio": taken / copied, "million_peak_mb": peak()}


@contextmanager
def peak_of_runs(bench: Bench) -> Iterator[Callable[[], float]]:
    """Watch the processes of runs; what it yields gives the highest resident size that one has meanwhile, in MB."""
    import threading  # noqa: PLC0415 - here alone

    highest = 0
    over = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not over.wait(0.05):
            for process in bench.processes():
                try:
                    if process.cmdline()[:1] == ["headgate run"]:
                        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
                        highest = max(highest, int(status.partition("VmHWM:")[2].split()[0]))
                except (psutil.Error, OSError, IndexError):
                    continue  # it ended meanwhile

    for process in bench.processes():
        with suppress(psutil.Error, OSError):
            if process.cmdline()[:1] == ["headgate run"]:  # one that waits: what it took before is not meant
                Path(f"/proc/{process.pid}/clear_refs").write_text("5", encoding="ascii")
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: highest / 1024
    finally:
        over.set()
        thread.join()


def at_rest(bench: Bench, seconds: float = 30) -> dict[str, float]:
    """Memory and CPU of all processes while nothing arrives, and of the worker's alone."""
    time.sleep(10)  # runs leave, logs and events are written
    processes = bench.processes()
    workers = {process for process in processes if process.cmdline()[:1] in (["headgate work"], ["headgate run"])}
    before = {process: sum(process.cpu_times()[:2]) for process in processes}
    began = time.monotonic()
    time.sleep(seconds)
    used = {process: sum(process.cpu_times()[:2]) - before[process] for process in processes if process.is_running()}
    taken = time.monotonic() - began
    held = dict.fromkeys((*KINDS, "other"), 0.0)
    for process in bench.processes():
        command = " ".join(process.cmdline())
        kind = next((name for name, mark in KINDS.items() if mark in command), "other")
        held[kind] += process.memory_full_info().pss / 1024**2
    return {
        "idle_pss_mb": sum(held.values()),
        **{f"idle_pss_{kind}_mb": value for kind, value in held.items()},
        "idle_cpu_percent": 100 * sum(used.values()) / taken,
        "idle_worker_cpu_percent": 100 * sum(used[process] for process in workers & used.keys()) / taken,
    }


def measured(
    title: str,
    measures: Callable[[Bench], Iterable[Callable[[Bench], dict[str, float]]]],
    pipelines: str = "bench_pipelines:PIPELINES",
) -> None:
    """Measure one thing after the other on one `headgate up`, print a table, and write the figures if asked to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    target: Path | None = parser.parse_args().json
    figures: dict[str, float] = {}
    console = Console()
    with open_folder("headgate-bench-") as folder:
        bench = Bench(folder, pipelines)
        try:
            for measure in measures(bench):
                found = measure(bench)
                console.print(", ".join(f"{name} {value:.2f}" for name, value in found.items()))
                figures |= found
        finally:
            bench.close()
    report(f"{title}, {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores", figures, target)


def report(title: str, figures: Mapping[str, float], target: Path | None) -> None:
    """Print figures as a table, and write them as one flat JSON object if asked to."""
    table = Table(title=title, title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.2f}")
    Console().print(table)
    if target is not None:
        target.write_text(
            json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=2) + "\n", encoding="utf-8"
        )


def main() -> None:
    """Measure drops, bursts, one big file, and what it all costs at rest."""
    measured(
        "Files",
        lambda _: (partial(drops, count=12), partial(burst, count=60), partial(burst, count=1000), million, at_rest),
    )


if __name__ == "__main__":
    main()
