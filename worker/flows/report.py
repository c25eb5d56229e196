"""What a run tells people at its end: a table artifact, and one sentence as its state's message."""

from collections import Counter
from dataclasses import dataclass, field

from prefect.artifacts import acreate_table_artifact

from worker.flows.workbench import Counts, Workbench
from worker.records.batch import ARRIVAL

LONGEST_TABLE = 200  # arrivals; a page of the UI that is longer helps nobody


@dataclass(slots=True)
class Report:
    """What became of the arrivals that a run worked on."""

    pipeline: str
    dry_run: bool
    claims: int = 0
    arrivals: dict[int, dict[str, object]] = field(default_factory=dict)  # by number, a row of the table
    totals: Counts = field(default_factory=Counts)
    rejected: int = 0
    fenced: bool = False
    error: Exception | None = None

    @property
    def over(self) -> bool:
        """Whether something went wrong that a later run will do better."""
        return self.fenced or self.error is not None

    def add(self, bench: Workbench) -> None:
        """Add what became of a claim."""
        self.claims += 1
        counts = _checked(bench) if bench.dry_run else bench.counts
        for arrival in bench.claim.arrivals:
            mine = counts.get(arrival.arrival_id, Counts())
            error = bench.rejected.get(arrival.arrival_id)
            self.arrivals[arrival.arrival_id] = {
                "arrival": arrival.arrival_id,
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
            }
            self.totals.rows_in += mine.rows_in
            self.totals.rows_persisted += mine.rows_persisted
            self.totals.rows_skipped += mine.rows_skipped
            for reason, count in mine.dead.items():
                self.totals.dead[reason] = self.totals.dead.get(reason, 0) + count
        self.rejected += len(bench.rejected)

    def sentence(self) -> str:
        """The whole run in one sentence."""
        begin = "Dry run: would persist" if self.dry_run else "Persisted"
        dead = sum(self.totals.dead.values())
        skipped = f"{self.totals.rows_skipped} messages skipped, " if self.totals.rows_skipped else ""
        return (
            f"{begin} {self.totals.rows_persisted} of {self.totals.rows_in} rows of {len(self.arrivals)} arrivals; "
            f"{skipped}{dead} dead letters, {self.rejected} arrivals rejected."
        )


async def publish(report: Report) -> None:
    """Put the report into the UI as a table artifact of the run."""
    rows = list(report.arrivals.values())[:LONGEST_TABLE]
    lines = [report.sentence()]
    lines += [f"* {reason}: {count} dead letters" for reason, count in sorted(report.totals.dead.items())]
    if len(report.arrivals) > len(rows):
        lines.append(f"The first {len(rows)} arrivals:")
    if report.error is not None:
        lines.append(f"It ended with {type(report.error).__name__}: {report.error}")
    await acreate_table_artifact(table=rows, key=f"ingest-{report.pipeline}", description="\n\n".join(lines))


def _checked(bench: Workbench) -> dict[int, Counts]:
    """Count what a dry run has read."""
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
        for (arrival_id, reason), dead in Counter(
            (each.arrival_id, each.reason) for each in chunk.read_letters()
        ).items():
            mine = counts.setdefault(arrival_id, Counts())
            mine.rows_in += dead
            mine.dead[reason] = mine.dead.get(reason, 0) + dead
    return {arrival_id: mine for arrival_id, mine in counts.items() if arrival_id not in bench.rejected}
