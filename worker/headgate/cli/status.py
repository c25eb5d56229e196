"""`headgate status`, `headgate doctor` and `headgate why`: how things are, and what to do."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from headgate.cli.common import Common
from headgate.cli.homes import row as home_row
from headgate.cli.output import console, print_json, print_table, table
from headgate.errors import Transient
from headgate.operations.overview import NEEDED, Condition, Overview, overview
from headgate.words import duration

if TYPE_CHECKING:
    from headgate.operations.doctor import Finding

STYLES = {
    Condition.HELD: "bold red",
    Condition.HALTED: "bold red",
    Condition.LATE: "yellow",
    Condition.WORKING: "green",
    Condition.WAITING: "cyan",
    Condition.IDLE: "dim",
}
VERDICTS = {"ok": "green", "warning": "yellow", "failed": "bold red"}
EVERY = 2.0  # seconds between two updates of --watch


def status(*, watch: bool = False, json: bool = False, common: Common = Common()) -> None:
    """Show how things are: what waits, what runs, what became rows today, and what a person has to see to.

    Args:
        watch: show it live, until Ctrl-C.
        json: print JSON.

    """
    settings = common.settings()
    if json:
        print_json(_facts(overview(settings)))
    elif watch:
        with Live(Text("..."), console=Console(), auto_refresh=False) as live:
            while True:
                try:
                    live.update(screen(overview(settings)), refresh=True)
                except Transient as error:  # it may be back at the next update
                    live.update(Text(str(error), "bold red"), refresh=True)
                time.sleep(EVERY)
    else:
        console().print(screen(overview(settings)), soft_wrap=False)


def doctor(*, json: bool = False, common: Common = Common()) -> int:
    """Check everything that Headgate rests on, and say what to do; exit code 1 if a check failed.

    Args:
        json: print JSON.

    """
    from headgate.operations.doctor import Verdict, examine

    findings = examine(common.settings())
    rows: list[dict[str, object]] = [{**asdict(each), "verdict": each.verdict.value} for each in findings]
    print_json(rows) if json else print_table([finding_row(each) for each in findings])
    return int(any(each.verdict is Verdict.FAILED for each in findings))


def healthy(process: Literal["listen", "work"], *, common: Common = Common()) -> int:
    """Say by its heartbeat whether a process of this host is at work; exit code 1 if not.

    Args:
        process: the command that it runs.

    """
    from headgate.operations.health import health

    found = health(common.settings(), process)
    console().print(Text(found.sentence), soft_wrap=True)
    return int(not found.at_work)


def why(file: Path, *, json: bool = False, common: Common = Common()) -> int:
    """Say why a file is not taken in, or what became of it; exit code 1 if it is not taken in as it is.

    Args:
        file: its path in a watched folder, whether or not it is still there.
        json: print JSON.

    """
    from headgate.operations.why import explain

    answer = explain(common.settings(), file)
    if json:
        print_json(asdict(answer))
    else:
        for line in answer.lines:
            console().print(Text(line), soft_wrap=True)
    return int(not answer.taken)


def screen(found: Overview) -> RenderableType:
    """Make the status screen: the state in a word, the pipelines, and what needs attention."""
    troubles = found.troubles
    head = Text("Headgate is ") + (Text("in trouble", "bold red") if troubles else Text("running", "green"))
    processes = Text("   ").join(
        Text(f"{kind} ") + (Text("running", "green") if found.alive(kind) else Text("not running", "bold red"))
        for kind in NEEDED
    )
    rows = [
        {
            "pipeline": each.pipeline,
            "state": Text(found.condition(each).value, STYLES[found.condition(each)]),
            "waiting": each.waiting,
            "oldest": duration(each.oldest_seconds),
            "running": each.running,
            "parked": each.parked or None,
            "held": each.held or None,
            "rows today": each.rows_today,
            "dead letters": each.dead_letters,
            "rejected": each.rejected,
        }
        for each in found.pipelines
    ]
    parts: list[RenderableType] = [head, processes, Text()]
    parts.append(table(rows) if rows else Text("Nothing has arrived yet."))
    parts += [
        Text(f"{each['source']} of {each['pipeline']} is paused by {each['by']}: {each['reason']}")
        for each in found.paused
    ]
    if len(found.homes) > 1 or any(each.neglected for each in found.homes):
        parts += [Text(), table([home_row(each) for each in found.homes])]
    if found.rings.again or found.rings.direct:
        parts += [
            Text(),
            Text(f"Rings repeated: {found.rings.again:,}; runs started without an automation: {found.rings.direct:,}"),
        ]
    if troubles:
        parts += [Text(), *(Text(f"* {each}") for each in troubles)]
    return Group(*parts)


def _facts(found: Overview) -> dict[str, object]:
    return {
        "state": "trouble" if found.troubles else "running",
        "troubles": found.troubles,
        "pipelines": [{**asdict(each), "state": found.condition(each).value} for each in found.pipelines],
        "held_back": found.held_back,
        "holds": [asdict(each) for each in found.holds.values()],
        "rings": asdict(found.rings),
        "homes": [asdict(each) for each in found.homes],
        "paused": found.paused,
        "processes": [asdict(each) for each in found.processes],
    }


def finding_row(finding: "Finding") -> dict[str, object]:
    """Make a check's row of the table."""
    verdict = finding.verdict.value
    return {
        "check": finding.check,
        "verdict": Text(verdict, VERDICTS[verdict]),
        "what was found, and what to do": finding.detail,
    }
