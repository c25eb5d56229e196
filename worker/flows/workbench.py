"""What a run has in hand, reached by its subflows and tasks through a context variable.

Prefect records the parameters of every subflow and task; so those carry numbers and names for people, and the things
themselves lie here.
"""

import asyncio
import logging
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TypeVar, cast

import polars as pl
from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging.handlers import APILogHandler

from worker import telemetry
from worker.app import App
from worker.errors import ArrivalRejected, BadPipeline
from worker.kafka.ranges import Range
from worker.model import Claim, ClaimedArrival, DeadLetter, Stage
from worker.pipeline import Pipeline, Topic
from worker.records.batch import Refusal
from worker.records.chunk import Chunk
from worker.records.decoding import Decoder
from worker.records.parsing import Readable, Spooled
from worker.settings import Settings
from worker.sinks.postgres import PostgresSink

T = TypeVar("T")


@dataclass(slots=True)
class Counts:
    """What became of an arrival in this run."""

    rows_in: int = 0
    rows_persisted: int = 0
    rows_skipped: int = 0  # messages that are no records, as their topic's policy says
    dead: dict[str, int] = field(default_factory=dict)  # by reason


@dataclass(slots=True)
class Workbench:
    """One claim on its way through the stages."""

    app: App
    pipeline: Pipeline
    claim: Claim
    folder: Path  # for the chunks' files
    sink: PostgresSink
    dry_run: bool = False
    stage: Stage = Stage.PARSE  # where it failed, for the record of the attempt
    chunks: list[Chunk] = field(default_factory=list)
    rejected: dict[int, ArrivalRejected] = field(default_factory=dict)  # by arrival
    counts: dict[int, Counts] = field(default_factory=dict)  # by arrival
    references: Mapping[str | Path, pl.DataFrame] = field(default_factory=dict)  # what look-ups look up in
    _left: dict[Stage, asyncio.Event] = field(default_factory=lambda: {stage: asyncio.Event() for stage in Stage})
    _reached: dict[Stage, float] = field(default_factory=dict)  # seconds on the monotonic clock
    _begun: dict[tuple[Stage, int], asyncio.Task[object]] = field(default_factory=dict)
    _undone: set[Stage] = field(default_factory=set)

    @property
    def arrivals(self) -> dict[int, ClaimedArrival]:
        """The claim's arrivals by number."""
        return {arrival.arrival_id: arrival for arrival in self.claim.arrivals}

    @contextmanager
    def at(self, stage: Stage) -> Iterator[None]:
        """Be in a stage; the next one begins when this is left."""
        try:
            yield
        except BaseException:
            self.stage = stage
            self._undone.add(stage)
            raise
        finally:
            self._left[stage].set()

    async def see_through(self, stage: Stage, subflow: Awaitable[object]) -> object:
        """Wait for the subflow of a stage; one that could not even begin must not be waited for by the next."""
        try:
            return await subflow
        finally:
            if not self._left[stage].is_set():
                self._undone.add(stage)
                self._left[stage].set()

    def begin(self, stage: Stage, number: int, work: Callable[[], T]) -> asyncio.Task[T]:
        """Begin a unit of work in a thread; if it was begun before, by its task or ahead of it, this is that work."""
        if (stage, number) not in self._begun:
            self._begun[stage, number] = asyncio.create_task(asyncio.to_thread(work))
        return cast("asyncio.Task[T]", self._begun[stage, number])

    async def do(self, stage: Stage, number: int, work: Callable[[], T]) -> T:
        """Do a unit of work in a thread, for its task: what fails is begun anew when the task is tried again."""
        try:
            return await self.begin(stage, number, work)
        except BaseException:
            self._begun.pop((stage, number), None)
            raise

    def reach(self, stage: Stage) -> None:
        """Take the time at which the work of a stage has come to its end, so far."""
        self._reached[stage] = time.monotonic()

    def since(self, stage: Stage) -> timedelta | None:
        """How long ago the work of a stage came to its end."""
        reached = self._reached.get(stage)
        return None if reached is None else timedelta(seconds=time.monotonic() - reached)

    async def after(self, stage: Stage, mine: Stage) -> bool:
        """Wait until a stage is left; whether it did what it was to do. If not, mine has nothing to do either."""
        await self._left[stage].wait()
        if stage in self._undone:
            self._undone.add(mine)
        return stage not in self._undone

    def readable(self, arrival: ClaimedArrival) -> Readable:
        """What an arrival gives to read: its file, or its messages."""
        limits = self.app.limits
        if arrival.range is not None:
            topic = self.pipeline.source(arrival.source)
            if not isinstance(topic, Topic):
                raise BadPipeline(f"Pipeline {self.pipeline.name!r}: {arrival.source!r} is no topic any more.")
            return Range(
                arrival_id=arrival.arrival_id,
                position=arrival.range,
                after=arrival.rows_committed,
                reader=self.app.ranges,
                decoder=Decoder.of(topic, self.pipeline, limits, arrival.arrival_id, self.app.schemas),
                kept=self.folder,
            )
        place = self.app.settings.places.spool / (arrival.spool or "-")
        path = Path(place, arrival.path.decode(errors="surrogateescape"))
        return Spooled(
            arrival_id=arrival.arrival_id,
            path=path,
            name=path.name,
            size=arrival.size,
            source=arrival.source,
            pipeline=self.pipeline,
            limits=limits,
            schemas=self.app.schemas,
        )

    def copies(self) -> dict[int, str]:
        """Of each arrival whose dead letters are to be copied, the topic that gets the copies."""
        topics = {topic.name: topic.dead_letters for topic in self.pipeline.topics if topic.dead_letters}
        return {each.arrival_id: topics[each.source] for each in self.claim.arrivals if each.source in topics}

    def count(self, arrival_id: int) -> Counts:
        """The counts of an arrival, to be added to."""
        return self.counts.setdefault(arrival_id, Counts())

    def set_aside(self, refusals: Sequence[Refusal], stage: Stage) -> list[DeadLetter]:
        """Make dead letters of records that failed after they were read: their bytes are looked up."""
        letters = []
        for arrival_id, refused in groupby(sorted(refusals, key=_origin), key=attrgetter("arrival_id")):
            mine = list(refused)
            found = self.readable(self.arrivals[arrival_id]).originals({each.row for each in mine})
            letters += [each.dead_letter(stage, found[each.row]) for each in mine]
        return letters


def _origin(refusal: Refusal) -> tuple[int, int]:
    return refusal.arrival_id, refusal.row


_CURRENT: ContextVar[Workbench] = ContextVar("workbench")


def workbench() -> Workbench:
    """What the run of this context has in hand."""
    return _CURRENT.get()


@contextmanager
def laid_out(bench: Workbench) -> Iterator[Workbench]:
    """Make a workbench the one of this context; its files are gone afterwards."""
    bench.folder.mkdir(parents=True, exist_ok=True)
    token = _CURRENT.set(bench)
    try:
        yield bench
    finally:
        _CURRENT.reset(token)
        shutil.rmtree(bench.folder, ignore_errors=True)


def configure_logging(settings: Settings) -> None:
    """Set logging up for a process that executes runs: our lines go to the Prefect UI too."""
    telemetry.configure(
        level=settings.log_level,
        as_json=settings.log_json,
        ui=APILogHandler(level=logging.INFO),
        run_keys=_run_keys,
    )


def _run_keys() -> dict[str, str]:
    keys = {}
    flow = FlowRunContext.get()
    if flow is not None and flow.flow_run is not None:
        keys["flow_run_id"] = str(flow.flow_run.id)
    task = TaskRunContext.get()
    if task is not None:
        keys["task_run_id"] = str(task.task_run.id)
    return keys
