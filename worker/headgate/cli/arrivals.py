"""`headgate arrivals`: what arrived, and what became of it."""

import re
from dataclasses import asdict
from datetime import timedelta
from itertools import pairwise

from cyclopts import App

from headgate.app import all_hops, open_app
from headgate.cli.common import Common, require_pipeline
from headgate.cli.output import clock, console, print_json, print_record, print_table, some_of
from headgate.ledger.summary import count_arrivals
from headgate.model import ArrivalRecord, State

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
        pipeline: only of this pipeline.
        state: only in this state.
        name: only with this in their name.
        since_minutes: only those that arrived at most this many minutes ago.
        limit: list at most this many.
        json: print JSON.

    """
    since = None if since_minutes is None else timedelta(minutes=since_minutes)
    # Escape what LIKE would read as a wildcard.
    like = None if name is None else "%" + re.sub(r"([%_\\])", r"\\\1", name) + "%"
    with open_app(common.settings()) as opened:
        require_pipeline(opened, pipeline)
        found = opened.arrivals.find(pipeline=pipeline, state=state, name=like, since=since, limit=limit)
        total = count_arrivals(opened.database, pipeline=pipeline, state=state, name=like, since=since)
    if json:
        print_json([asdict(each) for each in found])
        return
    print_table([short(each) for each in found], empty="No arrival is like that.", cut=True)
    if found:
        console().print(f"\n{some_of(len(found), total, 'arrival')}")


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
    out = console()
    out.print("\nSteps")
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
    out.print("\nHops")
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
        out.print(f"\nDead letters (headgate dead-letters list --arrival {arrival})")
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
    """Let a held arrival go on with all its attempts again, or a parked one before its start.

    Args:
        arrival: its number.

    """
    with open_app(common.settings()) as opened:
        opened.arrivals.release(arrival)


def short(record: ArrivalRecord) -> dict[str, object]:
    """Make an arrival's row of the list."""
    return {
        "id": record.arrival_id,
        "pipeline": record.pipeline,
        "name": record.name,
        "state": record.state.value,
        "rows": record.rows_persisted,
        "dead letters": record.rows_dead or None,
        "arrived": clock(record.arrived_at),
        "reason": record.reason,
    }
