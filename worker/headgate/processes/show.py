"""The live table that `headgate up` shows while everything runs: the progress of arrivals."""

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from headgate.errors import LedgerUnavailable
from headgate.ledger import Database, Processes
from headgate.ledger.processes import Member
from headgate.ledger.summary import Summary, database_time, ring_counts, summaries
from headgate.ledger.telling import address
from headgate.processes.declared import Declared, make_folders
from headgate.processes.heartbeat import beating
from headgate.processes.up import Running, sharing, up
from headgate.pulse import Pulse
from headgate.settings import Settings

REFRESH = 0.25  # seconds
INTERRUPTED = 130
# Columns that appear once they have a value.
SELDOM = {"messages", "parked", "rejected", "duplicate", "skipped"}


def show(settings: Settings, found: Declared, *, demo: bool, kafka: bool, exit_when_idle: bool) -> int:
    """Bring everything up, and show what happens until Ctrl-C, or until all arrivals are done.

    Args:
        settings: the settings of all processes.
        found: the declarations of the pipelines' module.
        demo: drop the sample files first, and publish the sample messages to our own broker.
        kafka: start a Kafka broker too, unless one is configured.
        exit_when_idle: end once nothing is in progress.

    Returns:
        0, or 1 if it ended by itself and some arrival was not persisted; 130 if it was stopped while starting.

    Raises:
        HeadgateError: something could not be started.

    """
    console = Console()
    console.print("Starting PostgreSQL, the Prefect server, the listener and the worker ...")
    with sharing(settings):
        try:
            return asyncio.run(_show(settings, found, console, demo=demo, kafka=kafka, exit_when_idle=exit_when_idle))
        except asyncio.CancelledError:
            console.print("Stopped.")
            return INTERRUPTED


async def _show(  # noqa: PLR0913 - the command's options, passed on
    settings: Settings, declares: Declared, console: Console, *, demo: bool, kafka: bool, exit_when_idle: bool
) -> int:
    stop, starting = asyncio.Event(), asyncio.current_task()

    def end() -> None:
        if starting is not None and not stop.is_set():
            starting.cancel()  # waiting for a start may have no end
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    async with up(settings, kafka=kafka or demo) as running:
        starting = None
        itself = Member("up", settings.home, settings.pipelines, declares.digest, declares.names)
        with (
            Database(running.settings.require_database()) as database,
            beating(Processes(database), {itself: Pulse()}),
        ):
            for line in _addresses(running, make_folders(declares)):
                console.print(line, soft_wrap=True, highlight=False)
            since = await asyncio.to_thread(database_time, database)
            async with AsyncExitStack() as stack:
                coming = None
                if demo or exit_when_idle:
                    # This loads the pipelines and with them polars, which costs 40 MB without a fork server.
                    from headgate.demo.demonstration import demonstrate  # noqa: PLC0415

                    coming = await stack.enter_async_context(
                        demonstrate(running.settings, running.broker, console, samples=demo)
                    )
                found = await _watch(database, since, stop, console, coming=coming if exit_when_idle else None)
            with suppress(LedgerUnavailable):
                rings = await asyncio.to_thread(ring_counts, database)
                console.print(f"Rings repeated: {rings.again}; runs dispatched without an automation: {rings.direct}")
        console.print("Stopping; runs in hand are finished first ...")
    console.print("Stopped.")
    return 1 if exit_when_idle and any(each.rejected or each.held or each.under_way for each in found) else 0


def _addresses(running: Running, folders: Sequence[Path]) -> list[str]:
    """Return lines with the services' addresses, the watched folders, and what to do next."""
    lines = [
        f"Prefect UI:      {running.ui_url}",
        f"Database:        {address(running.settings.require_database())}  (`headgate psql` opens it)",
    ]
    if running.settings.kafka.bootstrap is not None:
        lines.append(f"Kafka broker:    {running.settings.kafka.bootstrap}")
    titles = ["Watched folders:", *[""] * len(folders)]
    lines += [f"{title:<16} {folder}" for title, folder in zip(titles, folders, strict=False)]
    what = "Drop files into these folders at any time; " if folders else ""
    return [*lines, f"{what}`headgate status` shows how things are; Ctrl-C ends."]


async def _watch(
    database: Database, since: datetime, stop: asyncio.Event, console: Console, *, coming: Callable[[], bool] | None
) -> list[Summary]:
    """Show the live table until asked to stop; given `coming`, also end once it is false and nothing is in progress."""
    found: list[Summary] = []
    with Live(_table(found), console=console, auto_refresh=False) as live:
        while not stop.is_set():
            began = time.monotonic()
            with suppress(LedgerUnavailable):  # the database is supervised and will be back; the table stays as it is
                more = coming is None or await asyncio.to_thread(coming)
                found = await asyncio.to_thread(summaries, database, since)
                live.update(_table(found), refresh=True)
                if not more and not any(each.under_way for each in found):
                    break
            with suppress(TimeoutError):
                # A big ledger takes a while to sum up: spend at most a tenth of the time on that.
                await asyncio.wait_for(stop.wait(), max(REFRESH, 9 * (time.monotonic() - began)))
    if not console.is_terminal:
        console.line()  # Live ends its last table with a line end on a terminal alone
    return found


def _table(found: list[Summary]) -> Table:
    """Return the table, narrow enough for a terminal of 80 columns."""
    columns = {
        "arrived": [each.arrived for each in found],
        "messages": [each.messages for each in found],
        "parked": [each.parked for each in found],
        "claimed": [each.claimed for each in found],
        "done": [each.done for each in found],
        "rejected": [each.rejected for each in found],
        "duplicate": [each.duplicates for each in found],
        "skipped": [each.skipped for each in found],
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
