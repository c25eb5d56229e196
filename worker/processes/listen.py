"""`headgate listen`: watches folders and topics, and announces what arrived."""

import signal
import threading
from collections.abc import Callable

import structlog

from worker.app import App, open_announcer, open_app
from worker.errors import LedgerUnavailable
from worker.kafka.connection import client_options
from worker.listeners.filesystem import FileListener
from worker.listeners.kafka import KafkaListener
from worker.settings import Settings

log = structlog.get_logger()


def listen(settings: Settings) -> None:
    """Watch and announce until SIGTERM or SIGINT; then finish what is in hand and return.

    The database may be away at the start: files stay where they are until it is back.

    Raises:
        BadSettings: there is no database or no Prefect server to go to.
        BadPipeline: the pipelines cannot be loaded.

    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with open_app(settings) as app, open_announcer(app) as announcer:
        kafka = _kafka_listener(app, stop)
        pause = 1.0
        while not stop.is_set():
            try:
                app.database.migrate()
                break
            except LedgerUnavailable as error:
                log.warning(str(error), action="listen", next_try_seconds=pause)
                stop.wait(pause)
                pause = min(pause * 2, 30)
        listener = FileListener(
            pipelines=app.pipelines,
            inbox=settings.inbox,
            places=settings.places,
            settings=settings.listener,
            ledger=app.arrivals,
            stop=stop,
        )
        log.info("listening", action="listen", inbox=str(settings.inbox), pipelines=len(app.pipelines))
        threads = [_thread("announcer", lambda: announcer.run(stop), stop), _thread("listener", listener.run, stop)]
        if kafka is not None:
            threads.append(_thread("kafka", kafka.run, stop))
        for thread in threads:
            thread.join()


def _kafka_listener(app: App, stop: threading.Event) -> KafkaListener | None:
    """Make the listener of the topics, if there are any and there is a broker to go to.

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
    client_options(settings)  # wrong ones are told at the start, not again and again
    return KafkaListener(pipelines=app.pipelines, settings=settings, cursors=app.cursors, stop=stop)


def _thread(name: str, run: Callable[[], None], stop: threading.Event) -> threading.Thread:
    """Start a thread; if it fails, the whole process stops, and whoever supervises it starts it again."""

    def guarded() -> None:
        try:
            run()
        except Exception:
            log.exception("ended by an error", action=name)
            raise
        finally:
            stop.set()

    thread = threading.Thread(target=guarded, name=name)
    thread.start()
    return thread
