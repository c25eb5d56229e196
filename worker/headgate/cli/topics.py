"""`headgate topics`: how far topics are taken in, and what to do about a halted partition."""

from dataclasses import asdict

from cyclopts import App

from headgate.app import open_app
from headgate.cli.common import Common, require_pipeline
from headgate.cli.output import clock, print_json, print_record, print_table
from headgate.ledger.cursor import RECREATED, Cursor
from headgate.operations import cursor_moves as topics
from headgate.operations.cursor_moves import Move

app = App(name="topics", help="How far the partitions of Kafka topics are taken in.")


@app.default
def list_(*, pipeline: str | None = None, all: bool = False, json: bool = False, common: Common = Common()) -> None:  # noqa: A002 - the option's name
    """List the partitions: cursor, lag, owner, and why one is halted.

    Args:
        pipeline: only of this pipeline.
        all: include topics that were deleted and recreated, as they were before.
        json: print JSON.

    """
    with open_app(common.settings()) as opened:
        require_pipeline(opened, pipeline)
        found = [each for each in opened.cursors.find(pipeline=pipeline) if all or each.halted != RECREATED]
    if json:
        print_json([{**asdict(each), "lag": each.lag} for each in found])
        return
    print_table([short(each) for each in found], empty="No topic has been looked at yet.")
    for each in found:
        if each.halted is not None:
            print_record({f"{each.pipeline} {each.topic}[{each.partition}]": each.detail})


@app.command
def resume(  # noqa: PLR0913 - one a choice of the operator
    pipeline: str,
    topic: str,
    partition: int,
    *,
    reason: str,
    dry_run: bool = False,
    json: bool = False,
    common: Common = Common(),
) -> None:
    """Let a halted partition go on, from the first existing message that was not taken in.

    Args:
        pipeline: its name.
        topic: its name.
        partition: its number.
        reason: why; it is recorded, with who did it.
        dry_run: say what would happen, and do nothing.
        json: print JSON.

    """
    with open_app(common.settings()) as opened:
        require_pipeline(opened, pipeline)
        move = topics.resume(opened, topics.current(opened, pipeline, topic, partition))
        if not dry_run:
            topics.apply(opened, move, reason=reason, again=False)
    _tell(move, done=not dry_run, json=json)


@app.command
def reset(  # noqa: PLR0913 - one a choice of the operator
    pipeline: str,
    topic: str,
    partition: int,
    *,
    to: str,
    reason: str,
    again: bool = False,
    dry_run: bool = False,
    json: bool = False,
    common: Common = Common(),
) -> None:
    """Make a partition go on from another message.

    Args:
        pipeline: its name.
        topic: its name.
        partition: its number.
        to: earliest, latest, an offset, or a time in ISO 8601.
        reason: why; it is recorded, with who did it.
        again: allow messages that were taken in before to be taken in once more.
        dry_run: say what would happen, and do nothing.
        json: print JSON.

    """
    with open_app(common.settings()) as opened:
        require_pipeline(opened, pipeline)
        move = topics.reset(opened, topics.current(opened, pipeline, topic, partition), to)
        if not dry_run:
            topics.apply(opened, move, reason=reason, again=again)
    _tell(move, done=not dry_run, json=json)


def short(cursor: Cursor) -> dict[str, object]:
    """Make a partition's row of the list."""
    return {
        "pipeline": cursor.pipeline,
        "topic": cursor.topic,
        "partition": cursor.partition,
        "cursor": cursor.next_offset,
        "lag": cursor.lag,
        "halted": cursor.halted,
        "owner": cursor.owner,
        "looked": cursor.seen_at and clock(cursor.seen_at),
    }


def _tell(move: Move, *, done: bool, json: bool) -> None:
    told = {
        "action": move.action,
        "done": done,
        "pipeline": move.cursor.pipeline,
        "topic": move.cursor.topic,
        "partition": move.cursor.partition,
        "from_offset": move.cursor.next_offset,
        "to_offset": move.to,
        "skipped": move.skipped,
        "taken_in_again": move.again,
    }
    print_json(told) if json else print_record(told)
