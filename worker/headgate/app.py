"""The composition root: the only place that turns settings into adapters, on one exit stack."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from operator import attrgetter
from threading import Lock

from headgate.errors import BadPipeline, BadSettings, PrefectUnavailable
from headgate.events.announcer import Announcer
from headgate.events.ladder import Ladder
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


class App:
    """What a Headgate process works with: settings, pipelines and adapters, each adapter created on first use.

    Args:
        settings: the process's settings.
        pipelines: the declared pipelines.
        stack: closes the adapters.

    """

    def __init__(self, settings: Settings, pipelines: tuple[Pipeline, ...], stack: ExitStack) -> None:
        self.settings = settings
        self.pipelines = pipelines
        self.database = stack.enter_context(Database(settings.require_database()))
        self._stack = stack
        self._opening = Lock()

    @cached_property
    def arrivals(self) -> Arrivals:
        """The arrivals."""
        return Arrivals(self.database, self.homes, self.pipelines)

    @cached_property
    def claims(self) -> Claims:
        """Leases on arrivals."""
        return Claims(self.database, lease=self.settings.ledger.lease, homes=self.homes)

    @cached_property
    def cursors(self) -> Cursors:
        """How far each partition is cut into ranges."""
        return Cursors(self.database, self.arrivals)

    @cached_property
    def rings(self) -> Rings:
        """The rings of the doorbell."""
        return Rings(self.database, lease=self.settings.ledger.lease)

    @cached_property
    def starts(self) -> Starts:
        """Starts of pipelines that do not run on every arrival."""
        return Starts(self.database)

    @cached_property
    def holders(self) -> Holders:
        """Runs that hold claims."""
        return Holders(self.database)

    @cached_property
    def dead_letters(self) -> DeadLetters:
        """The dead letters."""
        return DeadLetters(self.database)

    @cached_property
    def homes(self) -> Homes:
        """The homes, including this process's own."""
        return Homes(self.database, Home(self.settings.places), lease=self.settings.ledger.lease)

    @cached_property
    def holds(self) -> Holds:
        """Pipelines that a permanent cause holds."""
        return Holds(self.database)

    @cached_property
    def processes(self) -> Processes:
        """Heartbeats."""
        return Processes(self.database)

    @cached_property
    def sources(self) -> Sources:
        """Sources that are paused."""
        return Sources(self.database)

    @cached_property
    def requests(self) -> Requests:
        """The requests of rules."""
        return Requests(self.database)

    @cached_property
    def alerts(self) -> Alerts:
        """The alerts' states, and the notices they owe."""
        return Alerts(self.database)

    @cached_property
    def settler(self) -> Settler:
        """Settles the bytes of ended arrivals."""
        return Settler(places=self.settings.places, ledger=self.arrivals, pipelines=self.pipelines)

    @cached_property
    def schemas(self) -> Schemas | None:
        """The schema registry, if one is set."""
        return open_schemas(self.settings.kafka)

    @property
    def ranges(self) -> RangeReader:
        """Reads messages. Created under a lock: several threads of a run may ask for it first at the same time."""
        with self._opening:
            return self._ranges

    @cached_property
    def _ranges(self) -> RangeReader:
        opened = open_reader(self.settings.kafka)
        self._stack.callback(opened.close)
        return opened

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

    @cached_property
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
    """Compose the app, and close it at the end.

    The pipelines come first, because a wrong declaration should fail before anything is opened. Connections are made
    only when they are needed.

    Raises:
        BadSettings: no database is set.
        BadPipeline: the pipelines cannot be loaded.

    """
    pipelines = load_pipelines(settings.pipelines)
    with ExitStack() as stack:
        yield App(settings, pipelines, stack)


def publisher(settings: Settings) -> Publisher:
    """Compose the publisher of events to the Prefect server.

    Raises:
        BadSettings: no Prefect server is set.

    """
    auth = settings.api_auth.get_secret_value() if settings.api_auth else None
    return Publisher(settings.require_api(), auth=auth)


def all_hops(app: App, record: ArrivalRecord) -> list[Hop]:
    """Return when an arrival passed each step of its way, oldest first; with Prefect's steps if its server answers."""
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
        app: the app.
        repair: requests that anything missing on the Prefect server is recreated; returns whether that is still in
            progress.
        pulse: records each turn of the announcer's loop.

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
