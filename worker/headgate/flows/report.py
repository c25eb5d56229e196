"""What a run shows in the UI: its name, a table artifact of its arrivals, and one sentence as its state's message."""

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from uuid import UUID

import httpx
import structlog
from prefect.artifacts import acreate_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run

from headgate.flows.workbench import Counts, Workbench
from headgate.records.batch import ARRIVAL
from headgate.records.letters import sum_up
from headgate.words import count

LONGEST_TABLE = 200  # the latest arrivals; a longer page is of no use
TELL_EVERY = 2.0  # seconds between two updates of the page while the run goes on

log = structlog.get_logger()


@dataclass(slots=True)
class Report:
    """What became of the arrivals that a run worked on."""

    pipeline: str
    dry_run: bool
    claims: int = 0
    worked_on: int = 0  # arrivals
    ranges: int = 0  # of these, ranges of messages; the others are files
    arrivals: dict[int, dict[str, object]] = field(default_factory=dict)  # the latest, by number: a row of the table
    totals: Counts = field(default_factory=Counts)
    rejected: int = 0
    fenced: bool = False
    error: Exception | None = None

    @property
    def over(self) -> bool:
        """Whether the run should end because of an error: a later run tries again."""
        return self.fenced or self.error is not None

    def add(self, bench: Workbench) -> None:
        """Add the results of a claim."""
        self.claims += 1
        if bench.dry_run:
            bench.counts = _checked(bench)
        counts = bench.counts
        for arrival in bench.claim.arrivals:
            mine = counts.get(arrival.arrival_id, Counts())
            error = bench.rejected.get(arrival.arrival_id)
            unread = bench.unread.get(arrival.arrival_id)
            is_new = arrival.arrival_id not in self.arrivals
            self.worked_on += is_new
            self.ranges += is_new and arrival.range is not None
            self.arrivals[arrival.arrival_id] = {
                "arrival": arrival.arrival_id,
                "claim": self.claims,
                "name": arrival.name,
                "attempt": arrival.attempt,
                "rows in": mine.rows_in,
                "rows persisted": mine.rows_persisted,
                "skipped": mine.rows_skipped,
                "dead letters": sum(mine.dead.values()),
                "dead letters by reason": ", ".join(
                    f"{reason}: {count}" for reason, count in sorted(mine.dead.items())
                ),
                "rejected": f"{error.reason}: {error.detail}" if error else "",
                "not read now": str(unread or ""),
            }
            self.totals.rows_in += mine.rows_in
            self.totals.rows_persisted += mine.rows_persisted
            self.totals.rows_skipped += mine.rows_skipped
            for reason, dead in mine.dead.items():
                self.totals.dead[reason] = self.totals.dead.get(reason, 0) + dead
        self.rejected += len(bench.rejected)
        for oldest in list(self.arrivals)[:-LONGEST_TABLE]:
            del self.arrivals[oldest]

    def title(self) -> str:
        """What the run worked on, as its name: "flights: 3 files, 2,693 rows"."""
        files = self.worked_on - self.ranges
        parts = [count(files, "file")] if files else []
        parts += [count(self.ranges, "range")] if self.ranges else []
        parts.append(count(self.totals.rows_persisted, "row"))
        return f"{self.pipeline}{' (dry run)' if self.dry_run else ''}: {', '.join(parts)}"

    def sentence(self) -> str:
        """The whole run in one sentence."""
        begin = "Dry run: would persist" if self.dry_run else "Persisted"
        dead = sum(self.totals.dead.values())
        skipped = f"{count(self.totals.rows_skipped, 'message')} skipped, " if self.totals.rows_skipped else ""
        return (
            f"{begin} {self.totals.rows_persisted} of {count(self.totals.rows_in, 'row')} of "
            f"{count(self.worked_on, 'arrival')}; {skipped}{count(dead, 'dead letter')}, "
            f"{count(self.rejected, 'arrival')} rejected."
        )


def page_key(pipeline: str) -> str:
    """Return the key of the artifact that shows a pipeline's state."""
    return f"state-of-{pipeline}"


class Page:
    """The report in the Prefect UI: a table artifact of the run, created on first use and updated from then on.

    Args:
        report: the report that it shows.

    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._artifact: UUID | None = None
        self._told_at = 0.0  # seconds on the monotonic clock
        self._told = 0  # claims

    async def tell(self, doing: str) -> None:
        """Show what the run has done so far and does now, unless nothing changed or the last update is too recent.

        Args:
            doing: one sentence on what the run does now.

        """
        if self._told == self._report.claims or monotonic() - self._told_at < TELL_EVERY:
            return
        await self._show(f"{doing} (told at {datetime.now(UTC):%H:%M:%S} UTC)")

    async def close(self) -> None:
        """Show what the run has done."""
        await self._show("")

    async def _show(self, doing: str) -> None:
        self._told_at, self._told = monotonic(), self._report.claims
        try:
            await asyncio.gather(self._name(), self._table(doing))
        except (httpx.HTTPError, PrefectException) as error:  # nothing is lost: the ledger has all of it
            log.warning("the report of a run is not shown", action="report", error=str(error))

    async def _name(self) -> None:
        if flow_run.id:
            async with get_client() as client:
                await client.set_flow_run_name(UUID(str(flow_run.id)), self._report.title())

    async def _table(self, doing: str) -> None:
        rows = list(self._report.arrivals.values())
        description = "\n\n".join(self._lines(doing, len(rows)))
        key = f"ingest-{self._report.pipeline}"
        if self._artifact is None:
            made = await acreate_table_artifact(table=rows, key=key, description=description)
            self._artifact = UUID(str(made))
        else:
            update = ArtifactUpdate(data=json.dumps(rows), description=description)
            async with get_client() as client:
                await client.update_artifact(self._artifact, update)

    def _lines(self, doing: str, shown: int) -> list[str]:
        report = self._report
        lines = [*([doing] if doing else []), report.sentence()]
        lines += [
            f"* {reason}: {count(number, 'dead letter')}" for reason, number in sorted(report.totals.dead.items())
        ]
        if report.claims > 1:
            lines.append(f"In {report.claims} claims.")
        if report.worked_on > shown:
            lines.append(f"The latest {shown} arrivals:")
        if report.error is not None:
            lines.append(f"It ended with {type(report.error).__name__}: {report.error}")
        return lines + self._links()

    def _links(self) -> list[str]:
        """Return where to look closer, and what to do about bad records and files."""
        report, name = self._report, self._report.pipeline
        latest = max(report.arrivals, default=0)
        state = f"[State of {name}](/artifacts/key/{page_key(name)})"
        lines = [f"{state}; one arrival on its way: `headgate arrivals show {latest}`"]
        if report.totals.dead:
            lines.append(
                f"The records that were set aside: `headgate dead-letters list --pipeline {name}`; send them again "
                f"once their cause is mended: `headgate dead-letters replay --pipeline {name}`"
            )
        if report.rejected:
            lines.append(f"The files that were rejected: `headgate arrivals list --pipeline {name} --state rejected`")
        return lines


def _checked(bench: Workbench) -> dict[int, Counts]:
    """Count the records that a dry run has read."""
    counts: dict[int, Counts] = {}
    for chunk in bench.chunks:
        for extent in chunk.extents:
            counts.setdefault(extent.arrival_id, Counts()).rows_skipped += extent.skipped
            counts[extent.arrival_id].rows_in += extent.skipped
        good = chunk.read_rows()[ARRIVAL].value_counts()
        for arrival_id, rows in good.iter_rows():
            mine = counts.setdefault(arrival_id, Counts())
            mine.rows_in += rows
            mine.rows_persisted += rows
        for group in sum_up(chunk.read_letters()):
            mine = counts.setdefault(group.arrival_id, Counts())
            mine.rows_in += group.count
            mine.set_aside(group, bench.pipeline.schema)
    return {arrival_id: mine for arrival_id, mine in counts.items() if arrival_id not in bench.left_out}
