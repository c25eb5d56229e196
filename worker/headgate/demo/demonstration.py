"""The demo: sends the samples, tracks whether more is to come, and counts the resulting rows."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, nullcontext

from rich.console import Console

from headgate.app import App, open_app
from headgate.demo.messages import Topics, publish_samples
from headgate.demo.runs import Runs
from headgate.demo.samples import drop_samples, on_its_way_in
from headgate.settings import Settings
from headgate.sinks.postgres import count_rows
from headgate.words import count


@asynccontextmanager
async def demonstrate(
    settings: Settings, broker: asyncio.Task[bool] | None, console: Console, *, samples: bool
) -> AsyncIterator[Callable[[], bool]]:
    """Send the samples; at the end, count the rows of each pipeline's table.

    Args:
        settings: the settings of all processes, with the addresses of the running services.
        broker: whether our own Kafka broker came up; None if we run no broker.
        console: the console that the counts are printed to.
        samples: drop the sample files, and publish the sample messages to our own broker.

    Yields:
        A function that returns whether anything exists that the ledger does not know yet.

    Raises:
        Misuse: the pipelines' package has no samples.

    """
    with open_app(settings) as app:
        async with _samples(app, broker) if samples else nullcontext(lambda: False) as to_publish:
            with closing(Topics(app, broker)) as topics:
                runs = Runs(app)
                yield lambda: to_publish() or on_its_way_in(app) or topics.hold_more() or runs.go_on()
        for pipeline in app.pipelines:
            with app.database.transaction() as connection:
                rows = count_rows(connection, pipeline.sink.name)
            console.print(f"Table {pipeline.sink.name}: {count(rows, 'row')} in PostgreSQL")


@asynccontextmanager
async def _samples(app: App, broker: asyncio.Task[bool] | None) -> AsyncIterator[Callable[[], bool]]:
    """Drop the sample files and publish the sample messages; yield whether some are still to be published."""
    await asyncio.to_thread(drop_samples, app)
    enough = threading.Event()
    publishing = asyncio.create_task(publish_samples(app, broker, enough))
    try:
        yield lambda: not publishing.done()
    finally:
        enough.set()
        if broker is not None and not broker.done():
            publishing.cancel()  # it still waits for the broker
        await asyncio.gather(publishing, return_exceptions=True)
