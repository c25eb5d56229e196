"""What `headgate up` shows while everything runs: the way of what arrived, in a live table."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, nullcontext, suppress
from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from worker.app import App, open_app
from worker.errors import LedgerUnavailable
from worker.ledger.summary import Summary, database_time, ring_counts, summaries
from worker.processes.messages import Topics, publish_samples
from worker.processes.samples import drop_samples, on_its_way_in
from worker.processes.up import Running, up
from worker.settings import Settings
from worker.sinks.postgres import count_rows

REFRESH = 0.25  # seconds
SELDOM = {"messages", "rejected", "duplicate"}  # columns that are shown once there is something in them


async def show(settings: Settings, *, demo: bool, kafka: bool, exit_when_idle: bool) -> int:
    """Bring everything up, and show what happens until Ctrl-C, or until all that arrived is done.

    Args:
        settings: of all processes.
        demo: drop the sample files first, and publish the sample messages to a broker of our own.
        kafka: start a Kafka broker too, unless one is given.
        exit_when_idle: end when nothing is under way any more.

    Returns:
        0, or 1 if it ended by itself and not every arrival was persisted.

    Raises:
        HeadgateError: something could not be started.

    """
    console = Console()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    console.print("Starting PostgreSQL, the Prefect server, the listener and the worker ...")
    async with up(settings, kafka=kafka or demo) as running:
        with open_app(running.settings) as app:
            console.print(f"Prefect UI:     {running.ui_url}")
            console.print(f"Watched folder: {settings.inbox}", soft_wrap=True)
            if running.settings.kafka.bootstrap is not None:
                console.print(f"Kafka broker:   {running.settings.kafka.bootstrap}")
            console.print("Drop files into its folders at any time; Ctrl-C ends.")
            since = await asyncio.to_thread(database_time, app.database)
            async with _samples(app, running) if demo else nullcontext(lambda: False) as to_publish:
                with closing(Topics(app, running.broker)) as topics:

                    def coming() -> bool:
                        return to_publish() or on_its_way_in(app) or topics.hold_more()

                    found = await _watch(app, since, stop, console, coming=coming if exit_when_idle else None)
            await _sum_up(app, running, console)
        console.print("Stopping; runs in hand are finished first ...")
    console.print("Stopped.")
    return 1 if exit_when_idle and any(each.rejected or each.held or each.under_way for each in found) else 0


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


async def _watch(
    app: App, since: datetime, stop: asyncio.Event, console: Console, *, coming: Callable[[], bool] | None
) -> list[Summary]:
    """Show the live table until asked to stop; or until nothing is under way, and nothing `coming` to the ledger."""
    found: list[Summary] = []
    with Live(_table(found), console=console, auto_refresh=False) as live:
        while not stop.is_set():
            with suppress(LedgerUnavailable):  # it is supervised and will be back; what is shown stays
                more = coming is None or await asyncio.to_thread(coming)
                found = await asyncio.to_thread(summaries, app.database, since)
                live.update(_table(found), refresh=True)
                if not more and not any(each.under_way for each in found):
                    break
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), REFRESH)
    return found


async def _sum_up(app: App, running: Running, console: Console) -> None:
    for pipeline in app.pipelines:
        with app.database.transaction() as connection:
            rows = count_rows(connection, pipeline.sink.name)
        console.print(f"Table {pipeline.sink.name}: {rows:,} rows in PostgreSQL")
    rings = await asyncio.to_thread(ring_counts, app.database)
    console.print(f"Rings repeated: {rings.again}; runs dispatched without an automation: {rings.direct}")
    console.print(f"Prefect UI: {running.ui_url}")


def _table(found: list[Summary]) -> Table:
    """Make the table; narrow enough for a terminal of 80 columns."""
    columns = {
        "arrived": [each.arrived for each in found],
        "messages": [each.messages for each in found],
        "claimed": [each.claimed for each in found],
        "done": [each.done for each in found],
        "rejected": [each.rejected for each in found],
        "duplicate": [each.duplicates for each in found],
        "rows persisted": [each.rows_persisted for each in found],
        "dead letters": [each.dead_letters for each in found],
    }
    shown = {name: counts for name, counts in columns.items() if name not in SELDOM or any(counts)}
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        title="What arrived since the start",
        title_justify="left",
        header_style="bold",
    )
    table.add_column("pipeline")
    for name in (*shown, "seconds"):
        table.add_column(name, justify="right")
    for number, each in enumerate(found):
        seconds = "" if each.seconds is None else f"{each.seconds:.1f}"
        table.add_row(each.pipeline, *(f"{counts[number]:,}" for counts in shown.values()), seconds)
    return table
