"""What `headgate status` shows, from the ledger alone: loading declarations would take too long."""

from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from enum import StrEnum

from headgate.errors import BadPipeline
from headgate.home import Home
from headgate.ledger import Arrivals, Cursors, Database, Holds, Homes, Processes, Sources
from headgate.ledger.cursor import RECREATED, Cursor
from headgate.ledger.holds import Hold
from headgate.ledger.processes import ProcessRecord
from headgate.ledger.summary import PipelineNow, RingCounts, ring_counts, screen
from headgate.operations.homes import Served, served
from headgate.settings import Settings
from headgate.words import count, duration

LATE = 60.0  # seconds that something may wait while nobody works on it
NEEDED = ("listener", "announcer", "worker")  # without these nothing arrives, or nothing becomes rows


class Condition(StrEnum):
    """The condition of a pipeline, in a word."""

    HELD = "held"  # a person has to put something right
    HALTED = "halted"  # a partition of its topics is
    LATE = "late"  # something waits, and nobody works on it
    WORKING = "working"
    WAITING = "waiting"
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of all pipelines, homes, sources and processes."""

    pipelines: list[PipelineNow]
    holds: dict[str, Hold]
    halted: dict[str, int]  # partitions, by pipeline
    held_back: dict[str, str]  # by pipeline: why no more of its topics is taken in
    processes: list[ProcessRecord]
    homes: list[Served]
    paused: list[dict[str, object]]  # sources: which, by whom, and why
    rings: RingCounts

    def condition(self, pipeline: PipelineNow) -> Condition:
        """Sum up a pipeline in a word."""
        if pipeline.pipeline in self.holds:
            return Condition.HELD
        if self.halted.get(pipeline.pipeline):
            return Condition.HALTED
        if pipeline.running:
            return Condition.WORKING
        if (pipeline.oldest_seconds or 0) > LATE:
            return Condition.LATE
        return Condition.WAITING if pipeline.waiting else Condition.IDLE

    def alive(self, kind: str) -> list[ProcessRecord]:
        """The processes of a kind that are at work."""
        return [each for each in self.processes if each.kind == kind and each.alive]

    @property
    def troubles(self) -> list[str]:
        """What needs a person's attention, one sentence each: what is wrong, and what to do."""
        found = [missing(kind, self.processes) for kind in NEEDED if not self.alive(kind)]
        found += [
            f"{each.kind} ({each.where}): {each.trouble}" for each in self.processes if each.alive and each.trouble
        ]
        found += [f"{name} is held: {hold.cause}" for name, hold in self.holds.items()]
        for name, number in self.halted.items():
            found.append(f"{name} has {count(number, 'halted partition')}: `headgate topics` says why, and what to do.")
        found += [
            f"{name} takes in no more of its topics: {why}"
            for name, why in self.held_back.items()
            if not self.halted.get(name)
        ]
        found += [
            f"{each.pipeline}: {each.waiting:,} waiting and nobody works on them, the oldest for "
            f"{duration(each.oldest_seconds)}: `headgate doctor` says why."
            for each in self.pipelines
            if self.condition(each) is Condition.LATE
        ]
        return found


def overview(settings: Settings) -> Overview:
    """Read the state from the ledger.

    Raises:
        BadSettings: no database is configured.
        LedgerUnavailable: the database does not answer.
        WrongDatabase: it denies us access, or lacks what we need.

    """
    with Database(settings.require_database(), size=1) as database:
        database.migrate()
        return look(settings, database)


def look(settings: Settings, database: Database) -> Overview:
    """Read the state from a database that is open and migrated."""
    homes = Homes(database, Home(settings.places), lease=settings.ledger.lease)
    found = {each.pipeline: each for each in screen(database)}
    processes = Processes(database).find()
    for name in (name for process in processes if process.alive for name in process.names):
        found.setdefault(name, nothing(name))
    cursors = Cursors(database, Arrivals(database)).find()
    return Overview(
        pipelines=[found[name] for name in sorted(found)],
        holds=Holds(database).find(),
        halted=Counter(each.pipeline for each in cursors if each.halted not in (None, RECREATED)),
        held_back=_held_back(settings, found, cursors),
        processes=processes,
        homes=served(homes),
        paused=[asdict(each) for each in Sources(database).paused().values()],
        rings=ring_counts(database),
    )


def _held_back(settings: Settings, found: dict[str, PipelineNow], cursors: list[Cursor]) -> dict[str, str]:
    """Say what keeps topics from being taken in; load the declarations only if something may."""
    if not any(
        (each.lag and found[each.pipeline].under_way) or each.halted for each in cursors if each.pipeline in found
    ):
        return {}
    from headgate.operations.cursor_moves import held_back  # noqa: PLC0415 - it takes half a second, and is seldom needed
    from headgate.pipeline import load_pipelines  # noqa: PLC0415 - as above

    with suppress(BadPipeline):
        reasons = {
            each.name: held_back(each, found[each.name].under_way if each.name in found else 0, cursors)
            for each in load_pipelines(settings.pipelines)
        }
        return {name: why for name, why in reasons.items() if why}
    return {}


def nothing(name: str) -> PipelineNow:
    """The state of a pipeline for which nothing has arrived yet."""
    zeros = dict.fromkeys((each.name for each in fields(PipelineNow)), 0)
    return PipelineNow(**{**zeros, "pipeline": name, "oldest_seconds": None})  # type: ignore[arg-type]  # named above


def missing(kind: str, processes: list[ProcessRecord]) -> str:
    """Say that no process of a kind is at work, and what to do."""
    command = "headgate work" if kind == "worker" else "headgate listen"
    gone = next((each for each in reversed(processes) if each.kind == kind), None)
    if gone is None:
        return f"No {kind} is running; start `headgate up`, or `{command}`."
    return (
        f"The {kind} ({gone.where}) has been silent for {duration(gone.silent_seconds)}: it is dead or hangs; "
        f"start `headgate up`, or `{command}`."
    )
