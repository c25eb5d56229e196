"""The nemesis's tools: a stand with pipelines that can be stopped and killed in the middle, and its manifest."""

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess

import warm
from checker import check
from harness import Services, Stand, open_folder, wait_until
from manifest import Manifest

LEASE = "HEADGATE_LEDGER_LEASE_SECONDS"
SHORT = {LEASE: "1.5"}  # for runs that are to lose their lease
LONG = {LEASE: "60"}  # for runs that are to keep it, however loaded the machine is

# One kind of row for all. The enrichers stand for the user's code: one never returns if a row is poison, one waits
# where the test can find its process.
DECLARATION = """
import os, signal, time
from datetime import timedelta
from pathlib import Path

import dataframely as dy
import polars as pl
from headgate import After, Batch, Every, Folder, OnRule, Pipeline, Rate, Retry, Table

HERE = Path(__file__).parent


class Item(dy.Schema):
    file = dy.String(nullable=False)
    item = dy.Int64(nullable=False)
    amount = dy.Int64(nullable=False, min=0)
    label = dy.String(nullable=False)


class KeyedItem(dy.Schema):
    file = dy.String(primary_key=True)
    item = dy.Int64(primary_key=True)
    amount = dy.Int64(nullable=False, min=0)
    label = dy.String(nullable=False)


def deadly(frame):
    if (frame["label"] == "poison").any():
        os.kill(os.getpid(), signal.SIGKILL)
    return frame


def gate(frame):
    if (HERE / "gate").exists():
        mine = (HERE / "gate").rename(HERE / f"gate.{os.getpid()}")
        (HERE / "at-gate.new").write_text(str(os.getpid()))
        (HERE / "at-gate.new").rename(HERE / "at-gate")
        while mine.exists():
            time.sleep(0.02)
    return frame


def pipeline(name, *, keyed=False, enrich=(), **more):
    return Pipeline(
        name=name,
        sources=(Folder(name),),
        schema=KeyedItem if keyed else Item,
        sink=Table(name.replace("-", "_"), mode="upsert" if keyed else "append"),
        enrich=enrich,
        **{"retry": Retry(attempts=10, first_delay=timedelta(seconds=0.2)), **more},
    )
"""


def ended(process: ForkServerProcess, within: float = 90) -> int | None:
    """Wait for the end of a process; its exit code, or None if it goes on."""
    process.join(within)
    return process.exitcode


@dataclass
class Road:
    """One stand, what was dropped on it, and how to see to it that something dies."""

    stand: Stand
    manifest: Manifest
    stopped: list[int] = field(default_factory=list)
    processes: list[ForkServerProcess] = field(default_factory=list)

    def declare(self, pipelines: str) -> None:
        """Declare pipelines: the elements of a tuple, made by `pipeline(...)`, with `deadly` or `gate` as enricher."""
        self.stand.declare(f"{DECLARATION}\n\nPIPELINES = ({pipelines},)\n")

    def drop(self, pipeline: str, *, files: int = 1, rows: int = 20, bad_every: int = 7, poison: bool = False) -> None:
        """Drop files, each written into the manifest first."""
        folder = self.stand.inbox / pipeline
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(files):
            self.manifest.drop(folder, pipeline, rows=rows, bad_every=bad_every, poison=poison)

    def start(self, *command: str, env: Mapping[str, str] | None = None) -> ForkServerProcess:
        """Start a process: ("ingest", pipeline, ...) for a run as by hand, ("sweep",), or one of our commands."""
        process = warm.start(command, env=self.stand.env(env), folder=self.stand.folder)
        self.processes.append(process)
        return process

    def take_in(self) -> None:
        """Have all that was dropped opened in the ledger, and rung for by nobody afterwards."""
        count = len(list(self.manifest.read()))
        listener = self.start("listen")
        wait_until(lambda: len(self.stand.arrivals()) == count)
        listener.terminate()
        listener.join(30)

    def run(self, *pipelines: str, env: Mapping[str, str] | None = None) -> int | None:
        """Run the flow to its end, for one pipeline after the other; the exit code of the process."""
        return ended(self.start("ingest", *pipelines, env=env or LONG))

    def sweep(self) -> None:
        """Sweep, which settles what ended in a run that died before it could."""
        assert ended(self.start("sweep")) == 0

    def close_gate(self) -> None:
        """The next run that comes to the enricher `gate` waits there."""
        (self.stand.folder / "at-gate").unlink(missing_ok=True)
        (self.stand.folder / "gate").touch()

    def wait_at_gate(self) -> int:
        """Wait until a run stands at the gate; its process id."""
        reached = self.stand.folder / "at-gate"
        wait_until(reached.exists)
        self.stopped.append(int(reached.read_text()))
        return self.stopped[-1]

    def open_gate(self, pid: int) -> None:
        """Let the run at the gate go on."""
        (self.stand.folder / f"gate.{pid}").unlink()

    def leases_over(self, pipeline: str) -> bool:
        """Whether something is claimed, and all leases on it have run out."""
        found = self.stand.sql(
            "select due_at < now() as over from headgate.arrival where pipeline = %s and state = 'claimed'", pipeline
        )
        return bool(found) and all(row["over"] for row in found)

    def states(self, pipeline: str) -> set[str]:
        """The states of a pipeline's arrivals."""
        return {row["state"] for row in self.stand.arrivals() if row["pipeline"] == pipeline}

    def all_ended(self) -> bool:
        """Whether all that was dropped has come to its end."""
        return self.stand.all_ended(len(list(self.manifest.read())))

    def check(self, *, rejected: Mapping[str, str] | None = None) -> None:
        """Hold the manifest against tables and ledger, row by row."""
        check(self.stand.database_url, self.manifest, rejected=rejected)

    def close(self) -> None:
        """End what a test left at the gate."""
        for pid in self.stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            process.kill()
            process.join(10)
        self.stand.close()


@contextlib.contextmanager
def open_road(services: Services) -> Iterator[Road]:
    """A road on a stand of its own."""
    with open_folder("headgate-chaos-") as folder:
        services.prefect()
        made = Road(Stand(services, folder, services.fresh_database()), Manifest(folder / "manifest.jsonl"))
        try:
            yield made
        finally:
            made.close()
