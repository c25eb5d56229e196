"""The gate of a test: it processes its input with the production code, in this process and in virtual time."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl

from headgate.errors import BadFixture
from headgate.events import catalog
from headgate.events.catalog import Event
from headgate.ledger import Database
from headgate.model import Fact, State
from headgate.pipeline import Pipeline
from headgate.pipeline.reference import deployment
from headgate.records.batch import Limits
from headgate.records.messages import ENDING, block, spooled
from headgate.records.parsing import Spooled
from headgate.rules.engine import Engine
from headgate.rules.firings import Firing, Room
from headgate.rules.fixtures import START
from headgate.rules.rendering import schema_of
from headgate.rules.shape import Json
from headgate.rules.sources import Rules, event_of, rules_of, span
from headgate.testing.outcome import Outcome, only
from headgate.testing.records import Worked, work

BETWEEN = timedelta(milliseconds=10)  # between two events
RUN = "00000000-0000-4000-8000-000000000000"  # stands for the flow run that events name: a test has none
Message = bytes | tuple[bytes | None, bytes | None]  # a value, or a key and a value; None: a tombstone


class Gate:
    """Takes files, messages and events in, and shows what comes out.

    Args:
        engine: evaluates rules.
        folder: for files; created when it is needed.

    Attributes:
        now: the time; events and `wait` advance it.
        tables: frames by name, for look-ups that name a table.
        variables: values of Prefect variables that templates name.
        fired: all firings so far.

    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.now = START
        self.tables: dict[str, pl.DataFrame] = {}
        self.variables: dict[str, object] = {}
        self.fired: list[Firing] = []
        self._engine = engine
        self._folder = folder
        self._schemas: dict[str, Json] = {}
        self._database: str | None = None
        self._arrivals = 0
        self._room: Room | None = None
        self._given: Rules = Rules(())

    def rules(self, *automations: object) -> None:
        """Set the automations to test: "package.module:NAME", a file, objects of Prefect's classes, or JSON."""
        found = [rules_of(each, Path.cwd()) for each in automations]
        names = {identity: name for each in found for identity, name in each.names.items()}
        self._given = Rules(tuple(one for each in found for one in each.automations), names)
        self._room = None

    def deployment(self, name: str, flow: Callable[..., Any]) -> None:
        """Set the flow that a deployment runs: parameters that do not fit are refused, as by the server."""
        self._schemas[str(deployment(name))] = schema_of(flow)
        self._room = None

    def connect(self, database_url: str) -> None:
        """Use a database too: look-ups read its tables, and rows that the sink refuses become dead letters."""
        self._database = database_url

    def drop(self, pipeline: Pipeline, file: str | Path, content: bytes | None = None) -> Outcome:
        """Drop a file.

        Args:
            pipeline: its pipeline; it goes to the first of the pipeline's folders that takes its name.
            file: its path, or just its name if `content` is given.
            content: its bytes.

        Raises:
            BadFixture: no folder of the pipeline takes a file of this name.

        """
        name = Path(file).name
        source = next((folder for folder in pipeline.folders if folder.takes(name)), None)
        if source is None:
            taken = ", ".join(pattern for folder in pipeline.folders for pattern in folder.patterns)
            raise BadFixture(f"No folder of pipeline {pipeline.name} takes {name!r}; they take {taken or 'nothing'}.")
        bytes_ = Path(file).read_bytes() if content is None else content
        facts = {"source": source.name, "name": name, "size": len(bytes_)}
        if pipeline.when and (why := pipeline.when.refuses_file(name, len(bytes_))):
            return self._skip(pipeline, Fact.FILE_ARRIVED, facts, why)
        return self._take_in(pipeline, name, bytes_, source.name, Fact.FILE_ARRIVED, facts)

    def publish(self, pipeline: Pipeline, *messages: Message, topic: str | None = None) -> Outcome:
        """Publish messages, which are taken in as one range.

        Args:
            pipeline: their pipeline.
            messages: a value each, or a key and a value.
            topic: one of the pipeline's; the first if left out.

        Raises:
            BadFixture: the pipeline has no such topic.

        """
        source = next((each for each in pipeline.topics if topic in {None, each.topic}), None)
        if source is None:
            raise BadFixture(f"Pipeline {pipeline.name} has no topic{'' if topic is None else ' ' + repr(topic)}.")
        pairs = [each if isinstance(each, tuple) else (None, each) for each in messages]
        frame = block(
            first=0,
            partition=0,
            offsets=range(len(pairs)),
            timestamps=[int(self.now.timestamp() * 1000)] * len(pairs),
            keys=[key for key, _ in pairs],
            headers=[None] * len(pairs),
            values=[value for _, value in pairs],
        )
        name = f"{source.topic}[0] 0-{len(pairs) - 1}"
        size = sum(len(each or b"") for pair in pairs for each in pair)
        place = {"topic": source.topic, "partition": 0, "first_offset": 0, "end_offset": len(pairs)}
        facts = {"source": source.name, "name": name, "size": size, **place}
        if pipeline.when and (why := pipeline.when.refuses_topic(source.topic)):
            return self._skip(pipeline, Fact.MESSAGES_ARRIVED, facts, why)
        return self._take_in(pipeline, f"{name}{ENDING}", spooled(frame), source.name, Fact.MESSAGES_ARRIVED, facts)

    def emit(self, event: Json | Event) -> list[Firing]:
        """Send an event; return what it makes fire.

        Args:
            event: in the API's form, or short: {"event": "headgate.rows.dead-lettered", "pipeline": "flights"}.

        """
        raw = event_of({**event.body(), "occurred": None} if isinstance(event, Event) else event, self._next())
        return self._noted(self._rules_room().send(raw))

    def wait(self, time: str | float | timedelta) -> list[Firing]:
        """Let time pass, such as "10 min"; return what fires because no event came."""
        self.now += time if isinstance(time, timedelta) else span(time)
        return self._noted(self._rules_room().wait(self.now))

    def fired_by(self, automation: str) -> Firing:
        """The one firing of an automation so far."""
        return only(self.fired, automation)

    def why_not(self, automation: str) -> Sequence[str]:
        """Why an automation did not fire on the events so far."""
        return self._rules_room().why_not(automation)

    def _skip(self, pipeline: Pipeline, kind: Fact, facts: Mapping[str, object], why: str) -> Outcome:
        self._arrivals += 1
        told = {"arrival": self._arrivals, **facts, "state": State.SKIPPED.value}
        event = catalog.news(uuid4(), kind, pipeline.name, told, START)
        return Outcome(
            arrival=self._arrivals,
            frame=pl.DataFrame(),
            deletes=pl.DataFrame(),
            dead_letters=(),
            skipped=0,
            rejected=None,
            events=(event,),
            fired=tuple(self.emit(event)),
            skipped_because=why,
        )

    def _take_in(  # noqa: PLR0913, PLR0917 - what an arrival is
        self, pipeline: Pipeline, name: str, content: bytes, source: str, kind: Fact, facts: Mapping[str, object]
    ) -> Outcome:
        self._arrivals += 1
        folder = self._folder / str(self._arrivals)
        folder.mkdir(parents=True)
        path = folder / "file"
        path.write_bytes(content)
        file = Spooled(
            arrival_id=self._arrivals,
            path=path,
            name=name,
            size=len(content),
            source=source,
            pipeline=pipeline,
            limits=Limits(),
        )
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            database = stack.enter_context(Database(self._database)) if self._database else None
            worked = work(file, folder, self.tables, database)
        events = list(_told(pipeline, self._arrivals, kind, facts, worked))
        fired = [firing for event in events for firing in self.emit(event)]
        return Outcome(
            arrival=self._arrivals,
            frame=worked.frame,
            deletes=worked.deletes,
            dead_letters=worked.dead_letters,
            skipped=worked.skipped,
            rejected=worked.rejected,
            events=tuple(events),
            fired=tuple(fired),
        )

    def _rules_room(self) -> Room:
        if self._room is None:
            self._room = Room(self._engine, self._given, self._schemas, self.variables)
            self._room.begin(self.now)
        return self._room

    def _next(self) -> Any:
        self.now += BETWEEN
        return self.now

    def _noted(self, fired: Sequence[Firing]) -> list[Firing]:
        self.fired += fired
        return list(fired)


def _told(pipeline: Pipeline, arrival: int, kind: Fact, facts: Mapping[str, object], worked: Worked) -> Iterator[Event]:
    """The events that the ledger's outbox and the announcer emit for an arrival that a run takes alone."""
    yield catalog.news(uuid4(), kind, pipeline.name, {"arrival": arrival, **facts, "state": "ready"}, START)
    yield catalog.ready(uuid4(), pipeline.name, 1)
    if worked.rejected is not None:
        given_up = {"arrival": arrival, "source": facts["source"], "name": facts["name"]}
        why = {"reason": worked.rejected.reason, "attempts": 1, "detail": worked.rejected.detail, "run": RUN}
        yield catalog.news(uuid4(), Fact.REJECTED, pipeline.name, {**given_up, **why}, START)
        return
    named = {"names": [facts["name"]], "run": RUN}
    persisted = {
        "arrivals": 1,
        "arrival_ids": [arrival],
        "rows_persisted": worked.frame.height + worked.deletes.height,
        "dead_letters": len(worked.dead_letters),
        **named,
    }
    yield catalog.news(uuid4(), Fact.PERSISTED, pipeline.name, persisted, START)
    for reason, count in Counter(letter.reason.value for letter in worked.dead_letters).items():
        aside = {"reason": reason, "count": count, "arrival_ids": [arrival], **named}
        yield catalog.news(uuid4(), Fact.DEAD_LETTERED, pipeline.name, aside, START)
