"""`headgate listen`: it watches folders and topics, and announces arrivals."""

import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

import structlog

from headgate.app import App, open_announcer, open_app, publisher
from headgate.embedded import orphan
from headgate.errors import HeadgateError, LedgerUnavailable, PrefectUnavailable
from headgate.flows.leftovers import clear
from headgate.kafka.connection import client_options
from headgate.listeners.files.listener import FileListener
from headgate.listeners.topics.listener import KafkaListener
from headgate.operations.watch import watched
from headgate.processes.applying import applying
from headgate.processes.heartbeat import beating, member
from headgate.processes.watching import watch
from headgate.pulse import Pulse
from headgate.settings import Settings

SHORTEST_PAUSE, LONGEST_PAUSE = 0.25, 2.0  # seconds between two tries of a database that is unavailable
CLEAR_EVERY = 20.0  # seconds between two removals of what dead runs left behind

log = structlog.get_logger()


def listen(settings: Settings) -> None:
    """Watch and announce until SIGTERM or SIGINT; then finish what is in hand and return.

    The database may be unavailable at the start: files stay where they are until it is back.

    Raises:
        BadSettings: no database or no Prefect server is configured.
        BadPipeline: the pipelines cannot be loaded.
        WrongDatabase: the database denies us access, or lacks what we need.
        PrefectDenied: the Prefect server denies us access.
        Exception: whatever ended one of the threads. The process must not end as if all were well: its supervisor
            restarts it.

    """
    orphan.watch()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    pulses = {kind: Pulse() for kind in ("announcer", "listener", "topics")}
    with (
        open_app(settings) as app,
        applying(settings) as repair,
        open_announcer(app, repair=repair, pulse=pulses["announcer"]) as announcer,
        applying(settings, ("alerts", "send")) as send,
    ):
        kafka = _kafka_listener(app, stop)
        _see_that_prefect_lets_us_in(settings)
        pause = SHORTEST_PAUSE
        while not stop.is_set():
            try:
                app.database.migrate()
                break
            except LedgerUnavailable as error:
                log.warning(str(error), action="listen", next_try_seconds=pause)
                stop.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        listener = FileListener(
            pipelines=app.pipelines,
            inbox=settings.inbox,
            places=settings.places,
            settings=settings.listener,
            ledger=app.arrivals,
            homes=app.homes,
            lease=settings.ledger.lease,
            stop=stop,
            pulse=pulses["listener"],
            paused=app.sources.paused,
        )
        log.info("listening", action="listen", inbox=str(settings.inbox), pipelines=len(app.pipelines))
        runs: dict[str, Callable[[], None]] = {
            "announcer": lambda: announcer.run(stop),
            "listener": listener.run,
            "leftovers": lambda: _clear(app, stop),
        }
        if watched(app):
            runs["watch"] = lambda: watch(app, send, stop)
        if kafka is not None:
            runs["topics"] = kafka.run
        with beating(app.processes, {member(settings, kind): pulses[kind] for kind in runs if kind in pulses}):
            together(runs, stop)


def _see_that_prefect_lets_us_in(settings: Settings) -> None:
    """Check the server once at the start: report a wrong password at once; an unavailable server is waited for later.

    Raises:
        PrefectDenied: the server does not let us in.

    """
    with publisher(settings) as server, suppress(PrefectUnavailable):
        server.check()


def _clear(app: App, stop: threading.Event) -> None:
    """Remove what dead runs left in this home, at intervals."""
    while not stop.wait(CLEAR_EVERY):
        with suppress(LedgerUnavailable, OSError):  # the next time is soon
            clear(app)


def _kafka_listener(app: App, stop: threading.Event) -> KafkaListener | None:
    """Return the listener of the topics, if there are topics and a broker is configured.

    Raises:
        BadSettings: the settings cannot work.

    """
    topics = sorted({topic.topic for pipeline in app.pipelines for topic in pipeline.topics})
    if not topics:
        return None
    settings = app.settings.kafka
    if settings.bootstrap is None:
        log.warning(
            "topics are not taken in: set HEADGATE_KAFKA_BOOTSTRAP to host:port of a broker",
            action="listen",
            topics=topics,
        )
        return None
    client_options(settings)  # report wrong settings once, at the start
    return KafkaListener(
        pipelines=app.pipelines, settings=settings, cursors=app.cursors, stop=stop, paused=app.sources.paused
    )


def together(runs: Mapping[str, Callable[[], None]], stop: threading.Event) -> None:
    """Run each in its own thread until all have ended; the end of one stops the others.

    Args:
        runs: functions by the name of their thread; each returns once `stop` is set.
        stop: set when the first ends.

    Raises:
        Exception: the error of the first that failed.

    """
    failures: list[Exception] = []

    def guarded(name: str) -> None:
        try:
            runs[name]()
        except Exception as error:
            failures.append(error)
            if not isinstance(error, HeadgateError):
                log.exception("ended by an error", action=name)
        finally:
            stop.set()

    threads = [threading.Thread(target=guarded, args=(name,), name=name) for name in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
