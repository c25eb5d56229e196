"""The report of the soak: faults by kind, how long each took to be overcome, and what became of the rows."""

import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from soak_nemesis import Done
from soak_verdict import Connection, Verdict

# Of the arrivals that are done, the first commit after a moment; and of those that came after it.
NEXT = (
    "select extract(epoch from min(finished_at))::float8 from headgate.arrival"
    " where state = 'done' and {} > to_timestamp(%s)"
)


@dataclass(frozen=True, slots=True)
class Overcome:
    """How long after a fault rows were committed again, in seconds."""

    fault: str
    commit: float | None  # of anything
    road: float | None  # of something that was taken in after the fault


def overcome(connection: Connection, done: Sequence[Done]) -> list[Overcome]:
    """Ask the ledger how long each fault took to be overcome."""

    def after(column: str, moment: float) -> float | None:
        row = connection.execute(NEXT.format(column).encode(), (moment,)).fetchone()
        return None if row is None or row[0] is None else float(str(row[0])) - moment

    return [
        Overcome(f"{each.do} {each.what}", after("finished_at", each.at), after("arrived_at", each.at))
        for each in done
        if each.took_place
    ]


def figures(verdict: Verdict, done: Sequence[Done], times: Sequence[Overcome], **more: float) -> dict[str, float]:
    """Put all figures into one flat list."""
    took_place = [each for each in done if each.took_place]
    found: dict[str, float] = {
        "faults": len(took_place),
        "kills": sum(each.do == "kill" for each in took_place),
        "stops": sum(each.do == "stop" for each in took_place),
        "by_hand": sum(each.do not in {"kill", "stop"} for each in took_place),
        "missed": len(done) - len(took_place),
        **verdict.figures,
        "lost": verdict.lost,
        "doubled": verdict.doubled,
        "altered": verdict.altered,
        "stuck": verdict.stuck,
        "broken": verdict.broken,
        **more,
    }
    for fault, each in by_fault(times).items():
        name = fault.replace("'s", "").replace(" ", "_").lower()
        found[f"{name}_count"] = len(each)
        for what in ("commit", "road"):
            seconds = [value for one in each if (value := getattr(one, what)) is not None]
            if seconds:
                found[f"{name}_{what}_p50_s"] = statistics.median(seconds)
                found[f"{name}_{what}_max_s"] = max(seconds)
    return found


def by_fault(times: Sequence[Overcome]) -> dict[str, list[Overcome]]:
    """Sort by fault."""
    sorted_: dict[str, list[Overcome]] = defaultdict(list)
    for each in sorted(times, key=lambda each: each.fault):
        sorted_[each.fault].append(each)
    return dict(sorted_)


def show(title: str, found: dict[str, float], verdict: Verdict, times: Sequence[Overcome], target: Path | None) -> None:
    """Print figures and faults, and write the figures as one flat JSON object if asked to."""
    console = Console(width=120)
    table = Table("fault", title=title, title_justify="left")
    for column in ("count", "next commit p50", "max", "next taken in p50", "max"):
        table.add_column(column, justify="right")
    for fault, each in by_fault(times).items():
        cells = [f"{len(each)}"]
        for what in ("commit", "road"):
            seconds = [value for one in each if (value := getattr(one, what)) is not None]
            cells += [f"{statistics.median(seconds):.1f} s", f"{max(seconds):.1f} s"] if seconds else ["", ""]
        table.add_row(fault, *cells)
    console.print(table)
    rest = Table("figure", show_header=False)
    rest.add_column(justify="right")
    for name, value in found.items():
        if not name.endswith(("_p50_s", "_max_s", "_count")):
            rest.add_row(name, f"{value:,.1f}".removesuffix(".0"))
    console.print(rest)
    for example in verdict.examples[:30]:
        console.print(example, markup=False)
    if target is not None:
        rounded = {name: round(value, 3) for name, value in found.items()}
        target.write_text(json.dumps(rounded, indent=2) + "\n", encoding="utf-8")
