"""The composition root: the only place that turns settings into adapters, on one exit stack."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from operator import attrgetter

from headgate.errors import BadPipeline, BadSettings, PrefectUnavailable
from headgate.events.announcer import Announcer, Ladder
from headgate.events.publisher import Publisher
from headgate.home import Home
from headgate.kafka.ranges import RangeReader, open_reader
from headgate.kafka.registry import open_schemas
from headgate.ledger import (
    Alerts,
    Arrivals,
    Claims,
    Cursors,
    Database,
    DeadLetters,
    Holders,
    Holds,
    Homes,
    Processes,
    Requests,
    Rings,
    Sources,
    Starts,
)
from headgate.ledger.hops import Hop
from headgate.listeners.files.settling import Settler
from headgate.model import ArrivalRecord, flow_run_of
from headgate.pipeline import Pipeline, load_pipelines
from headgate.pulse import Pulse
from headgate.records.batch import Limits
from headgate.records.binary_values import Schemas
from headgate.settings import Settings

INGEST = "ingest"  # the flow whose deployments work on arrivals, one for each pipeline
SWEEP = "sweep/sweep"  # the deployment that finds what was left open


@dataclass(frozen=True, slots=True)
class App:
    """The settings, pipelines and adapters that a Headgate process works with."""

    settings: Settings
    pipelines: tuple[Pipeline, ...]
    database: Database
    arrivals: Arrivals
    claims: Claims
    cursors: Cursors
    rings: Rings
    starts: Starts
    holders: Holders
    dead_letters: DeadLetters
    homes: Homes
    holds: Holds
    processes: Processes
    sources: Sources
    requests: Requests
    alerts: Alerts
    settler: Settler
    ranges: RangeReader
    schemas: Schemas | None  # asks the schema registry, if one is set

    def pipeline(self, name: str) -> Pipeline:
        """Look up a pipeline.

        Raises:
            BadPipeline: no pipeline has this name.

        """
        for pipeline in self.pipelines:
            if pipeline.name == name:
                return pipeline
        known = ", ".join(pipeline.name for pipeline in self.pipelines)
        raise BadPipeline(f"There is no pipeline {name!r} in {self.settings.pipelines}; there are: {known}.")

    @property
    def limits(self) -> Limits:
        """The limits on what is read."""
        given = self.settings.records
        return Limits(
            max_record_bytes=given.max_record_bytes,
            max_expanded_bytes=given.max_expanded_bytes,
            max_expansion=given.max_expansion,
            chunk_rows=given.chunk_rows,
            memory_bytes=given.memory_mb * 1024**2,
            at_once=given.at_once,
        )


@contextmanager
def open_app(settings: Settings) -> Iterator[App]:
    """Compose what a process works with, and close it at the end.

    The pipelines come first, because a wrong declaration should fail before anything is opened. Connections are made
    only when they are needed.

    Raises:
        BadSettings: no database is set.
        BadPipeline: the pipelines cannot be loaded.

    """
    pipelines = load_pipelines(settings.pipelines)
    with ExitStack() as stack:
        database = stack.enter_context(Database(settings.require_database()))
        homes = Homes(database, Home(settings.places), lease=settings.ledger.lease)
        arrivals = Arrivals(database, homes, pipelines)
        ranges = open_reader(settings.kafka)
        stack.callback(ranges.close)
        yield App(
            settings=settings,
            pipelines=pipelines,
            database=database,
            arrivals=arrivals,
            claims=Claims(database, lease=settings.ledger.lease, homes=homes),
            cursors=Cursors(database, arrivals),
            rings=Rings(database, lease=settings.ledger.lease),
            starts=Starts(database),
            holders=Holders(database),
            dead_letters=DeadLetters(database),
            homes=homes,
            holds=Holds(database),
            processes=Processes(database),
            sources=Sources(database),
            requests=Requests(database),
            alerts=Alerts(database),
            settler=Settler(places=settings.places, ledger=arrivals, pipelines=pipelines),
            ranges=ranges,
            schemas=open_schemas(settings.kafka),
        )


def publisher(settings: Settings) -> Publisher:
    """Compose the publisher of events to the Prefect server.

    Raises:
        BadSettings: no Prefect server is set.

    """
    auth = settings.api_auth.get_secret_value() if settings.api_auth else None
    return Publisher(settings.require_api(), auth=auth)


def all_hops(app: App, record: ArrivalRecord) -> list[Hop]:
    """Return when an arrival passed each point of its way, oldest first; Prefect's points too if its server answers."""
    hops = app.arrivals.hops(record.arrival_id)
    with suppress(BadSettings, PrefectUnavailable), publisher(app.settings) as server:
        rung = next((hop.at for hop in hops if hop.name == "rung"), None)
        if record.claimed_by and rung:
            hops += [
                Hop(f"Prefect: {name}", at) for name, at in server.states(flow_run_of(record.claimed_by)) if at >= rung
            ]
    return sorted(hops, key=attrgetter("at"))


@contextmanager
def open_announcer(
    app: App, *, repair: Callable[[], bool] = lambda: False, pulse: Pulse | None = None
) -> Iterator[Announcer]:
    """Compose the announcer.

    Args:
        app: what it works with.
        repair: requests that whatever is missing on the Prefect server is made again; returns whether that is still
            under way.
        pulse: is told at each turn of the announcer's loop.

    Raises:
        BadSettings: no Prefect server is set.

    """
    settings = app.settings
    with publisher(settings) as opened:
        yield Announcer(
            pipelines=app.pipelines,
            deployment=INGEST,
            sweep=SWEEP,
            pool=settings.worker.pool,
            database=app.database,
            rings=app.rings,
            starts=app.starts,
            holders=app.holders,
            homes=app.homes,
            publisher=opened,
            ladder=Ladder(answer_within=settings.events.answer_within, again=settings.events.again),
            repair=repair,
            pulse=pulse,
        )
