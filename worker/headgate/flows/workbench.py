"""The workbench: the claim that a run works on, and what is known so far about each of its arrivals."""

import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import polars as pl
import structlog
from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging.handlers import APILogHandler

from headgate import telemetry
from headgate.app import App
from headgate.errors import ArrivalRejected, BadPipeline
from headgate.imports import dy
from headgate.kafka.ranges import Range
from headgate.model import Claim, ClaimedArrival, DeadLetter, Stage
from headgate.pipeline import Pipeline, Topic
from headgate.records.batch import Refusal
from headgate.records.chunk import Chunk
from headgate.records.decoding import Decoder
from headgate.records.letters import Group
from headgate.records.parsing import Readable, Spooled
from headgate.settings import Settings
from headgate.sinks.postgres import PostgresSink

log = structlog.get_logger()


@dataclass(slots=True)
class Counts:
    """The results for one arrival in this run."""

    rows_in: int = 0
    rows_persisted: int = 0
    rows_skipped: int = 0  # messages that are not records, according to the topic's policy
    dead: dict[str, int] = field(default_factory=dict)  # by reason
    first: dict[str, str] = field(default_factory=dict)  # by reason: what is wrong with the first record, in words

    def set_aside(self, group: Group, schema: type[dy.Schema]) -> None:
        """Count the dead letters of one reason."""
        self.dead[group.reason] = self.dead.get(group.reason, 0) + group.count
        self.first.setdefault(group.reason, group.say(schema))


@dataclass(slots=True)
class Workbench:
    """One claim on its way through the stages, each of which adds to it; see `headgate.flows.work`."""

    app: App
    pipeline: Pipeline
    claim: Claim
    folder: Path  # for the chunks' files
    sink: PostgresSink
    dry_run: bool = False
    shown: bool = True  # whether the UI shows its stages
    stage: Stage = Stage.PARSE  # the current stage, recorded if the attempt fails
    chunks: list[Chunk] = field(default_factory=list)
    rejected: dict[int, ArrivalRejected] = field(default_factory=dict)  # by arrival
    unread: dict[int, Exception] = field(default_factory=dict)  # by arrival: why it could not be read now
    counts: dict[int, Counts] = field(default_factory=dict)  # by arrival
    references: Mapping[str | Path, pl.DataFrame] = field(default_factory=dict)  # for look-ups, by `reference`
    _reached: dict[Stage, float] = field(default_factory=dict)  # seconds on the monotonic clock

    @property
    def arrivals(self) -> dict[int, ClaimedArrival]:
        """The claim's arrivals by number."""
        return {arrival.arrival_id: arrival for arrival in self.claim.arrivals}

    @property
    def left_out(self) -> AbstractSet[int]:
        """The arrivals that must not be committed: rejected, or not readable now."""
        return self.rejected.keys() | self.unread.keys()

    @property
    def dead(self) -> bool:
        """Whether any dead letters were committed."""
        return any(counts.dead for counts in self.counts.values())

    def say(self, event: str, **keys: object) -> None:
        """Log a step of the work; at DEBUG if the stages are not shown, or a stream would log each file four times."""
        (log.info if self.shown else log.debug)(event, **keys)

    def reach(self, stage: Stage) -> None:
        """Record that work of a stage ended now; the last call counts."""
        self._reached[stage] = time.monotonic()

    def since(self, stage: Stage) -> timedelta | None:
        """Return how long ago the work of a stage ended, or None if it did not."""
        reached = self._reached.get(stage)
        return None if reached is None else timedelta(seconds=time.monotonic() - reached)

    def readable(self, arrival: ClaimedArrival) -> Readable:
        """Return an arrival's readable content: its file, or its messages."""
        limits = self.app.limits
        if arrival.range is not None:
            topic = self.pipeline.source(arrival.source)
            if not isinstance(topic, Topic):
                raise BadPipeline(f"Pipeline {self.pipeline.name!r}: {arrival.source!r} is no longer a topic.")
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
        """Return, for each arrival whose dead letters are copied to a topic, the name of that topic."""
        topics = {topic.name: topic.dead_letters for topic in self.pipeline.topics if topic.dead_letters}
        return {each.arrival_id: topics[each.source] for each in self.claim.arrivals if each.source in topics}

    def count(self, arrival_id: int) -> Counts:
        """Return the counts of an arrival, to be added to."""
        return self.counts.setdefault(arrival_id, Counts())

    def set_aside(self, refusals: Sequence[Refusal], stage: Stage) -> list[DeadLetter]:
        """Make dead letters of records that failed after they were read; their bytes are read again."""
        letters = []
        for arrival_id, refused in groupby(sorted(refusals, key=_origin), key=attrgetter("arrival_id")):
            mine = list(refused)
            found = self.readable(self.arrivals[arrival_id]).originals({each.row for each in mine})
            letters += [each.dead_letter(stage, found[each.row]) for each in mine]
        return letters


def _origin(refusal: Refusal) -> tuple[int, int]:
    return refusal.arrival_id, refusal.row


@contextmanager
def cleared_after(bench: Workbench) -> Iterator[None]:
    """Remove the folder of a claim's files afterwards."""
    try:
        yield
    finally:
        shutil.rmtree(bench.folder, ignore_errors=True)


def configure_logging(settings: Settings) -> None:
    """Set up logging for a process that executes runs: our lines also go to the Prefect UI."""
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
