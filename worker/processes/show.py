"""What `headgate up` shows while everything runs: the way of what arrived, in a live table."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from worker.errors import LedgerUnavailable
from worker.ledger import Database
from worker.ledger.summary import Summary, database_time, ring_counts, summaries
from worker.processes.up import sharing, up
from worker.settings import Settings

REFRESH = 0.25  # seconds
SELDOM = {"messages", "rejected", "duplicate"}  # columns that are shown once there is something in them


def show(settings: Settings, *, demo: bool, kafka: bool, exit_when_idle: bool) -> int:
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
    console.print("Starting PostgreSQL, the Prefect server, the listener and the worker ...")
    with sharing(settings):
        return asyncio.run(_show(settings, console, demo=demo, kafka=kafka, exit_when_idle=exit_when_idle))


async def _show(settings: Settings, console: Console, *, demo: bool, kafka: bool, exit_when_idle: bool) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with up(settings, kafka=kafka or demo) as running:
        with Database(running.settings.require_database()) as database:
            console.print(f"Prefect UI:     {running.ui_url}")
            console.print(f"Watched folder: {settings.inbox}", soft_wrap=True)
            if running.settings.kafka.bootstrap is not None:
                console.print(f"Kafka broker:   {running.settings.kafka.bootstrap}")
            console.print("Drop files into its folders at any time; Ctrl-C ends.")
            since = await asyncio.to_thread(database_time, database)
            async with AsyncExitStack() as stack:
                coming = None
                if demo or exit_when_idle:
                    # It loads the pipelines, and polars with them: without a fork server, 40 MB for this alone.
                    from worker.processes.demo import demonstrate  # noqa: PLC0415

                    coming = await stack.enter_async_context(demonstrate(running, console, samples=demo))
                found = await _watch(database, since, stop, console, coming=coming if exit_when_idle else None)
            rings = await asyncio.to_thread(ring_counts, database)
        console.print(f"Rings repeated: {rings.again}; runs dispatched without an automation: {rings.direct}")
        console.print(f"Prefect UI: {running.ui_url}")
        console.print("Stopping; runs in hand are finished first ...")
    console.print("Stopped.")
    return 1 if exit_when_idle and any(each.rejected or each.held or each.under_way for each in found) else 0


async def _watch(
    database: Database, since: datetime, stop: asyncio.Event, console: Console, *, coming: Callable[[], bool] | None
) -> list[Summary]:
    """Show the live table until asked to stop; or until nothing is under way, and nothing `coming` to the ledger."""
    found: list[Summary] = []
    with Live(_table(found), console=console, auto_refresh=False) as live:
        while not stop.is_set():
            with suppress(LedgerUnavailable):  # it is supervised and will be back; what is shown stays
                more = coming is None or await asyncio.to_thread(coming)
                found = await asyncio.to_thread(summaries, database, since)
                live.update(_table(found), refresh=True)
                if not more and not any(each.under_way for each in found):
                    break
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), REFRESH)
    return found


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
