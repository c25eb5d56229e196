"""`make soak`: drops and publishes while everything is killed, and counts what was lost, doubled, altered or stuck."""

import argparse
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from rich.console import Console
from soak_checker import check
from soak_generator import PARTITIONS, TOPICS, Generator, plan
from soak_nemesis import Nemesis, schedule
from soak_report import Overcome, figures, overcome, show
from soak_system import System
from soak_verdict import Verdict
from soak_watch import Watch
from soak_weakness import OF_THE_LEDGER

MOST_WAITS = 4  # times `within` that is waited for, while anything still ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a soak is like."""

    folder: Path
    seconds: float
    seed: int
    rate: float = 1.0  # of drops and batches, times what is usual
    pause: float = 9.0  # seconds between two faults
    only: Sequence[str] = ()  # these faults alone
    within: float = 300.0  # seconds without a step forward after which what has not ended is stuck
    without: Sequence[str] = ()  # guards that are switched off
    slow: float = 0.0  # seconds that enriching takes: faults aim at it, leases are short, and there are runs to spare
    rival: bool = False  # a second listener reads the same partitions: one that never heard of the first


@dataclass
class Soak:
    """One run, from the start to the verdict."""

    options: Options
    system: System = field(init=False)
    verdict: Verdict = field(default_factory=Verdict)
    times: list[Overcome] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        slow = {
            "SOAK_SLOW": f"{self.options.slow:g}",
            "HEADGATE_LEDGER_LEASE_SECONDS": "2",
            "HEADGATE_WORKER_LIMIT": "8",
        }
        more = slow if self.options.slow else {}
        self.system = System(self.options.folder, more=more, without=self.options.without)
        self.watch = Watch(self.system)
        self.nemesis = Nemesis(self.system, self.options.folder / "nemesis.jsonl")
        self.generator = Generator(folder=self.options.folder, inbox=self.system.inbox, seed=self.options.seed)
        self._console = Console(soft_wrap=True)

    def run(self) -> Verdict:
        """Run it; the system is stopped at the end."""
        with self.running():
            self.judge(self.soak())
        return self.verdict

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have the system up; how it is stopped is part of the verdict."""
        try:
            self._say("starting")
            self.system.start()
            self._make_topics()
            with self.system.connect() as connection:
                for guard in OF_THE_LEDGER.keys() & set(self.options.without):
                    connection.execute(OF_THE_LEDGER[guard].encode())
            if self.options.rival:
                self.system.start_rival()
            yield
        finally:
            wrong = self.system.stop()
            self.figures["not_stopped"] = len(wrong)
            self.verdict.examples += [f"at the end: {each}" for each in wrong]

    def judge(self, healed_in: float = 0.0) -> Verdict:
        """Hold what was written down against the tables."""
        self._say("checking")
        with self.system.connect() as connection:
            # One snapshot: what goes on meanwhile is not half seen.
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            with connection.transaction():
                connection.execute("set local work_mem = '64MB'")
                self.verdict = check(
                    connection, self.generator.manifest, self.generator.acknowledged, self.system.inbox
                )
            self.verdict.note("broken", len(self.watch.went_back), f"cursors went back: {self.watch.went_back[:3]}")
            self.times = overcome(connection, self.nemesis.done)
        self.figures = figures(
            self.verdict,
            self.nemesis.done,
            self.times,
            heal_to_all_terminal_s=healed_in,
            up_started=self.system.starts,
            up_gave_up=len(self.system.ends),
        )
        return self.verdict

    def soak(self) -> float:
        """Generate and kill until the time is over, heal, and wait; seconds from there until all has ended."""
        self._say("soaking")
        options, over, begun = self.options, threading.Event(), time.monotonic()
        steps = plan(options.seed, options.seconds, options.rate)
        faults = schedule(
            options.seed, options.seconds, pause=options.pause, only=options.only, longer=3 if options.slow else 0
        )
        with ThreadPoolExecutor(3) as pool:
            watching = pool.submit(self.watch.run, over)
            generating = pool.submit(self.generator.run, steps, begun, over)
            killing = pool.submit(self.nemesis.run, faults, begun, over)
            try:
                self._follow(begun, [generating, killing])
                self._say("healing")
                self.nemesis.heal()
                healed = time.monotonic()
                if unacknowledged := self.generator.finish(options.within):
                    self._say(f"{unacknowledged} messages are not acknowledged")
                self._wait_for_all(healed)
                if options.slow:
                    time.sleep(10)  # a run that lost its claim may still try to commit: nobody waits for it
                return time.monotonic() - healed
            finally:
                over.set()
                self.nemesis.heal()
                for each in (watching, generating, killing):
                    each.result()

    def _follow(self, begun: float, tasks: Sequence[Future[None]]) -> None:
        said = 0.0
        while not all(task.done() for task in tasks):
            time.sleep(0.2)
            for task in tasks:
                if task.done():
                    task.result()  # one that failed ends the soak
            if time.monotonic() - said > 15:
                said = time.monotonic()
                done = self.nemesis.done
                self._say(
                    f"{said - begun:4.0f} s: {sum(each.took_place for each in done)} faults of {len(done)}, "
                    f"{self.generator.rows:,} rows, {self.generator.messages:,} messages, "
                    f"{self.generator.pending:,} not acknowledged, {self.watch.waiting} arrivals under way"
                )

    def _wait_for_all(self, healed: float) -> None:
        lines = self.generator.manifest.read_text(encoding="utf-8").splitlines()
        files = sum('"kind": "batch"' not in line for line in lines)
        # A machine that is busy with other work is slow, and that is not stuck: what is stuck is what stands still.
        best, moved = "", healed
        while missing := self.watch.missing(files, self.generator.messages, self.system.inbox):
            now = time.monotonic()
            best, moved = (missing, now) if missing != best else (best, moved)
            if now - moved > self.options.within or now - healed > MOST_WAITS * self.options.within:
                self._say(f"not all has ended {now - healed:.0f} s after the last fault was undone: {missing}")
                return
            time.sleep(0.5)

    def _make_topics(self) -> None:
        bootstrap = self.system.endpoint("kafka_bootstrap")
        admin = AdminClient({"bootstrap.servers": bootstrap})
        made = admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in TOPICS])
        for topic in TOPICS:
            with suppress(KafkaException):
                made[topic].result(60)
        self.generator.connect(bootstrap)

    def _say(self, text: str) -> None:
        self._console.print(f"{datetime.now(UTC):%H:%M:%S} {text}", markup=False, highlight=False)


def make_folder() -> Path:
    """Make a folder that other users can reach, as PostgreSQL's stand-in user must."""
    folder = Path(tempfile.mkdtemp(prefix="headgate-soak-"))
    folder.chmod(0o755)
    return folder


def main() -> int:
    """Run one soak; 1 if a promise was broken: then its folder is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=1.0, help="drops and batches, times what is usual")
    parser.add_argument("--pause", type=float, default=9.0, help="seconds between two faults, on average")
    parser.add_argument("--only", action="append", default=[], help='a fault, as "kill worker"; may be repeated')
    parser.add_argument("--within", type=float, default=300.0, help="seconds that nothing ends until the rest is stuck")
    parser.add_argument("--keep", action="store_true", help="keep the folder in any case")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # the system is stopped first
    folder = make_folder()
    Console().print(f"in {folder}", soft_wrap=True)
    seconds = given.minutes * 60
    soak = Soak(
        Options(
            folder=folder,
            seconds=seconds,
            seed=given.seed,
            rate=given.rate,
            pause=given.pause,
            only=given.only,
            within=given.within,
        )
    )
    verdict = soak.run()
    title = f"Soak of {given.minutes:g} minutes, seed {given.seed}, {datetime.now(UTC):%Y-%m-%d}"
    show(title, soak.figures, verdict, soak.times, given.json)
    if verdict.good and not given.keep:
        soak.system.forget()
    else:
        Console().print(f"kept: {folder}", soft_wrap=True)
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
