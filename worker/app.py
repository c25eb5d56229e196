"""The composition root: settings become adapters, on one exit stack, and nowhere else."""

from collections.abc import Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol, cast

from worker.errors import BadPipeline, BadSettings, PrefectUnavailable
from worker.events.announcer import Announcer, Ladder
from worker.events.publisher import Publisher
from worker.kafka.ranges import RangeReader, open_reader
from worker.kafka.registry import open_schemas
from worker.ledger import Arrivals, Claims, Cursors, Database, DeadLetters, Rings
from worker.ledger.hops import Hop
from worker.listeners.settling import Settler
from worker.model import ArrivalRecord
from worker.pipeline import Pipeline, load_object, load_pipelines
from worker.records.batch import Limits
from worker.records.binary_values import Schemas
from worker.settings import Settings

INGEST = "ingest"  # the flow whose deployments work on arrivals, one for each pipeline


@dataclass(frozen=True, slots=True)
class App:
    """What a process of Headgate works with."""

    settings: Settings
    pipelines: tuple[Pipeline, ...]
    database: Database
    arrivals: Arrivals
    claims: Claims
    cursors: Cursors
    rings: Rings
    dead_letters: DeadLetters
    settler: Settler
    ranges: RangeReader
    schemas: Schemas | None  # asks the schema registry, if there is one

    def pipeline(self, name: str) -> Pipeline:
        """Look up a pipeline.

        Raises:
            BadPipeline: there is none of this name.

        """
        for pipeline in self.pipelines:
            if pipeline.name == name:
                return pipeline
        known = ", ".join(pipeline.name for pipeline in self.pipelines)
        raise BadPipeline(f"There is no pipeline {name!r} in {self.settings.pipelines}; there are: {known}.")

    @property
    def limits(self) -> Limits:
        """What is too much to read."""
        given = self.settings.records
        return Limits(
            max_record_bytes=given.max_record_bytes,
            max_expanded_bytes=given.max_expanded_bytes,
            max_expansion=given.max_expansion,
            chunk_rows=given.chunk_rows,
        )


@contextmanager
def open_app(settings: Settings) -> Iterator[App]:
    """Compose what a process works with, and take it apart at the end.

    The pipelines come first, because a wrong declaration should fail before anything is opened. No connection is made
    before it is needed.

    Raises:
        BadSettings: there is no database to go to.
        BadPipeline: the pipelines cannot be loaded.

    """
    pipelines = load_pipelines(settings.pipelines)
    with ExitStack() as stack:
        database = stack.enter_context(Database(settings.require_database()))
        arrivals = Arrivals(database)
        ranges = open_reader(settings.kafka)
        stack.callback(ranges.close)
        yield App(
            settings=settings,
            pipelines=pipelines,
            database=database,
            arrivals=arrivals,
            claims=Claims(database, lease=settings.ledger.lease),
            cursors=Cursors(database, arrivals),
            rings=Rings(database, lease=settings.ledger.lease),
            dead_letters=DeadLetters(database),
            settler=Settler(places=settings.places, ledger=arrivals, pipelines=pipelines),
            ranges=ranges,
            schemas=open_schemas(settings.kafka),
        )


def publisher(settings: Settings) -> Publisher:
    """Compose the way to the Prefect server.

    Raises:
        BadSettings: there is none to go to.

    """
    auth = settings.api_auth.get_secret_value() if settings.api_auth else None
    return Publisher(settings.require_api(), auth=auth)


def all_hops(app: App, record: ArrivalRecord) -> list[Hop]:
    """When an arrival passed each point of its way, oldest first; Prefect's own points too, if its server answers."""
    hops = app.arrivals.hops(record.arrival_id)
    with suppress(BadSettings, PrefectUnavailable), publisher(app.settings) as server:
        rung = next((hop.at for hop in hops if hop.name == "rung"), None)
        if record.claimed_by and rung:
            hops += [Hop(f"Prefect: {name}", at) for name, at in server.states(record.claimed_by) if at >= rung]
    return sorted(hops, key=attrgetter("at"))


@contextmanager
def open_announcer(app: App) -> Iterator[Announcer]:
    """Compose the announcer.

    Raises:
        BadSettings: there is no Prefect server to go to.

    """
    settings = app.settings
    with publisher(settings) as opened:
        yield Announcer(
            pipelines=app.pipelines,
            deployment=INGEST,
            database=app.database,
            rings=app.rings,
            publisher=opened,
            ladder=Ladder(answer_within=settings.events.answer_within, again=settings.events.again),
        )


@dataclass(frozen=True, slots=True)
class Change:
    """What `apply` did, or would do, to one thing on the Prefect server."""

    kind: str  # "work pool", "deployment" or "automation"
    name: str
    action: str  # "created", "updated" or "unchanged"


class Apply(Protocol):
    """Makes the Prefect server match the pipelines; applied twice, nothing changes."""

    def __call__(
        self, settings: Settings, pipelines: Sequence[Pipeline], *, dry_run: bool
    ) -> Coroutine[None, None, list[Change]]:
        """Apply.

        Raises:
            PrefectUnavailable: the server does not answer.

        """


def load_apply(settings: Settings) -> Apply:
    """Load what makes the server match the code: it stands outside of this package, as the pipelines do."""
    loaded = load_object(settings.automations, "HEADGATE_AUTOMATIONS")
    if not callable(loaded):
        raise BadPipeline(f"HEADGATE_AUTOMATIONS={settings.automations}: that is no function, but {loaded!r}.")
    return cast("Apply", loaded)
