"""The demo: the samples on their way, whether more is to come, and what came of it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, nullcontext

from rich.console import Console

from worker.app import App, open_app
from worker.processes.messages import Topics, publish_samples
from worker.processes.samples import drop_samples, on_its_way_in
from worker.processes.up import Running
from worker.sinks.postgres import count_rows


@asynccontextmanager
async def demonstrate(running: Running, console: Console, *, samples: bool) -> AsyncIterator[Callable[[], bool]]:
    """Send the samples on their way; at the end, count the rows of each pipeline's table.

    Args:
        running: what is up.
        console: where the counts are printed.
        samples: drop the sample files, and publish the sample messages to a broker of our own.

    Yields:
        Tells whether there is anything that the ledger does not know yet.

    Raises:
        Misuse: the pipelines' package brings no samples.

    """
    with open_app(running.settings) as app:
        async with _samples(app, running) if samples else nullcontext(lambda: False) as to_publish:
            with closing(Topics(app, running.broker)) as topics:
                yield lambda: to_publish() or on_its_way_in(app) or topics.hold_more()
        for pipeline in app.pipelines:
            with app.database.transaction() as connection:
                rows = count_rows(connection, pipeline.sink.name)
            console.print(f"Table {pipeline.sink.name}: {rows:,} rows in PostgreSQL")


@asynccontextmanager
async def _samples(app: App, running: Running) -> AsyncIterator[Callable[[], bool]]:
    """Drop the sample files and publish the sample messages; gives whether some are yet to be published."""
    await asyncio.to_thread(drop_samples, app)
    enough = threading.Event()
    publishing = asyncio.create_task(publish_samples(app, running.broker, enough))
    try:
        yield lambda: not publishing.done()
    finally:
        enough.set()
        if running.broker is not None and not running.broker.done():
            publishing.cancel()  # it waits for the broker still
        await asyncio.gather(publishing, return_exceptions=True)
