"""`headgate arrivals`: what arrived, and what became of it."""

import re
from dataclasses import asdict
from datetime import timedelta
from itertools import pairwise

from cyclopts import App
from rich.console import Console

from worker.app import all_hops, open_app
from worker.cli.common import Common
from worker.cli.output import print_json, print_record, print_table
from worker.model import ArrivalRecord, State

app = App(name="arrivals", help="What arrived, and what became of it.")


@app.command(name="list")
def list_(  # noqa: PLR0913 - one option a filter
    *,
    pipeline: str | None = None,
    state: State | None = None,
    name: str | None = None,
    since_minutes: float | None = None,
    limit: int = 50,
    json: bool = False,
    common: Common = Common(),
) -> None:
    """List arrivals, newest first.

    Args:
        pipeline: of this pipeline alone.
        state: in this state alone.
        name: with this in their name.
        since_minutes: that arrived in the last so many minutes.
        limit: at the most so many.
        json: print JSON.

    """
    since = None if since_minutes is None else timedelta(minutes=since_minutes)
    # What LIKE would read as a wildcard stands for itself.
    like = None if name is None else "%" + re.sub(r"([%_\\])", r"\\\1", name) + "%"
    with open_app(common.settings()) as opened:
        found = opened.arrivals.find(pipeline=pipeline, state=state, name=like, since=since, limit=limit)
    print_json([asdict(each) for each in found]) if json else print_table([_short(each) for each in found])


@app.command
def show(arrival: int, *, json: bool = False, common: Common = Common()) -> None:
    """Show one arrival: what it is, what became of it and why, each step on its way, and where the time went.

    Args:
        arrival: its number.
        json: print JSON.

    """
    with open_app(common.settings()) as opened:
        record, transitions = opened.arrivals.show(arrival)
        dead = [
            {"stage": stage, "reason": reason, "count": count}
            for stage, reason, count in opened.dead_letters.counts(arrival)
        ]
        hops = all_hops(opened, record)
    if json:
        print_json(
            {
                **asdict(record),
                "transitions": [asdict(each) for each in transitions],
                "hops": [asdict(each) for each in hops],
                "dead_letters": dead,
            }
        )
        return
    print_record(asdict(record))
    console = Console()
    console.print("\nSteps")
    print_table(
        [
            {
                "at": each.at.isoformat(sep=" ", timespec="milliseconds"),
                "from": each.from_state,
                "to": each.to_state,
                "epoch": each.epoch,
                "by": each.by,
                "reason": each.reason,
            }
            for each in transitions
        ]
    )
    console.print("\nHops")
    print_table(
        [
            {
                "hop": hop.name,
                "at": hop.at.isoformat(sep=" ", timespec="milliseconds"),
                "seconds": f"{(hop.at - before.at).total_seconds():.3f}",
                "since the first": f"{(hop.at - hops[0].at).total_seconds():.3f}",
            }
            for before, hop in pairwise([hops[0], *hops])
        ]
        if hops
        else []
    )
    if dead:
        console.print(f"\nDead letters (headgate dead-letters list --arrival {arrival})")
        print_table(dead)


@app.command
def hold(arrival: int, *, common: Common = Common()) -> None:
    """Keep a waiting arrival from being worked on.

    Args:
        arrival: its number.

    """
    with open_app(common.settings()) as opened:
        opened.arrivals.hold(arrival)


@app.command
def release(arrival: int, *, common: Common = Common()) -> None:
    """Let a held arrival go on its way.

    Args:
        arrival: its number.

    """
    with open_app(common.settings()) as opened:
        opened.arrivals.release(arrival)


def _short(record: ArrivalRecord) -> dict[str, object]:
    return {
        "arrival": record.arrival_id,
        "pipeline": record.pipeline,
        "name": record.name,
        "state": record.state.value,
        "reason": record.reason,
        "rows": record.rows_persisted,
        "dead letters": record.rows_dead,
        "attempts": record.attempts,
        "arrived": record.arrived_at.isoformat(sep=" ", timespec="seconds"),
    }
