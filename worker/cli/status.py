"""`headgate status` and `headgate doctor`: how things are."""

from dataclasses import asdict

from worker.app import open_app
from worker.cli.common import Common
from worker.cli.output import print_json, print_table
from worker.doctor import Verdict, examine
from worker.ledger.summary import ring_counts, summaries
from worker.topics import held_back


def status(*, json: bool = False, common: Common = Common()) -> None:
    """Show what became of all that arrived, pipeline by pipeline.

    Args:
        json: print JSON.

    """
    with open_app(common.settings()) as opened:
        found = {each.pipeline: each for each in summaries(opened.database)}
        cursors = opened.cursors.find()
        held = {each.name: held_back(each, found.get(each.name), cursors) for each in opened.pipelines}
        rows = [asdict(each) for each in found.values()]
        rings = asdict(ring_counts(opened.database))
    if json:
        print_json({"pipelines": rows, "held_back": {name: why for name, why in held.items() if why}, "rings": rings})
        return
    print_table(
        [{name: value for name, value in row.items() if name not in {"seconds", "messages"}} for row in rows],
        empty="Nothing has arrived yet.",
    )
    if any(held.values()):
        print_table([{"pipeline": name, "its topics are held back by": why} for name, why in held.items() if why])
    print_table([{"rings repeated": rings["again"], "runs dispatched without an automation": rings["direct"]}])


def doctor(*, json: bool = False, common: Common = Common()) -> int:
    """Check everything that Headgate rests on, and say what to do; exit code 1 if a check failed.

    Args:
        json: print JSON.

    """
    findings = examine(common.settings())
    rows: list[dict[str, object]] = [{**asdict(each), "verdict": each.verdict.value} for each in findings]
    print_json(rows) if json else print_table(rows)
    return int(any(each.verdict is Verdict.FAILED for each in findings))
