"""What an operator does with partitions of topics: see how far they are, resume one, set one to another offset."""

import getpass
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from headgate.app import App
from headgate.errors import Misuse, NotFound
from headgate.kafka.lookup import Lookup, open_lookup
from headgate.ledger.cursor import RECREATED, Cursor
from headgate.pipeline import Pipeline
from headgate.words import count


@dataclass(frozen=True, slots=True)
class Move:
    """What moving a cursor means."""

    cursor: Cursor
    to: int  # offset
    action: Literal["resume", "reset"]

    @property
    def again(self) -> int:
        """How many offsets that were taken in would be taken in once more."""
        # From the end of a truncated log on, its offsets are given to other messages: those are new.
        behind = self.cursor.resume_at if self.cursor.halted == "truncated" else None
        return max(0, (self.cursor.next_offset if behind is None else behind) - self.to)

    @property
    def skipped(self) -> int:
        """How many offsets would never be taken in."""
        return max(0, self.to - self.cursor.next_offset)


def current(app: App, pipeline: str, topic: str, partition: int) -> Cursor:
    """Find the cursor of a partition; if its topic was recreated, that of the current topic.

    Raises:
        NotFound: it does not exist.
        LedgerUnavailable: the database does not answer.

    """
    found = app.cursors.find(pipeline=pipeline, topic=topic, partition=partition)
    living = [cursor for cursor in found if cursor.halted != RECREATED]
    if not living:
        raise NotFound(f"Pipeline {pipeline!r} has no cursor of {topic}[{partition}]; `headgate topics` shows all.")
    return living[-1]


def resume(app: App, cursor: Cursor) -> Move:
    """Plan to resume a halted partition, from the first existing message that was not taken in.

    Raises:
        Misuse: it is not halted, or no longer exists.
        KafkaUnavailable: brokers do not answer.

    """
    if cursor.halted is None:
        raise Misuse(f"{_name(cursor)} is not halted; to move it all the same, use `headgate topics reset`.")
    with open_lookup(app.settings.kafka) as lookup:
        begin, _ = _bounds(lookup, cursor)
    wanted = cursor.next_offset if cursor.resume_at is None else cursor.resume_at
    return Move(cursor, max(wanted, begin), "resume")


def reset(app: App, cursor: Cursor, to: str) -> Move:
    """Plan to set a cursor to another offset.

    Args:
        app: settings and ledger.
        cursor: as it stands.
        to: "earliest", "latest", an offset, or a time in ISO 8601: the first message at that time or after it.

    Raises:
        Misuse: `to` is not one of these, or is an offset that the partition does not have.
        KafkaUnavailable: brokers do not answer.

    """
    with open_lookup(app.settings.kafka) as lookup:
        begin, end = _bounds(lookup, cursor)
        if to in {"earliest", "latest"}:
            return Move(cursor, begin if to == "earliest" else end, "reset")
        if to.isdecimal():
            offset = int(to)
            if not begin <= offset <= end:
                raise Misuse(f"{_name(cursor)} has offsets {begin} to {end}, and {offset} is not among them.")
            return Move(cursor, offset, "reset")
        found = lookup.at((cursor.topic, cursor.partition), _milliseconds(to))
        return Move(cursor, end if found is None else max(begin, min(found, end)), "reset")


def apply(app: App, move: Move, *, reason: str, again: bool) -> Cursor:
    """Move a cursor, and record who did it and why.

    Args:
        app: the ledger.
        move: as it was planned.
        reason: why.
        again: allow messages that were taken in before to be taken in once more.

    Raises:
        Misuse: messages would be taken in twice, and `again` is false.
        NotFound: the cursor moved meanwhile.

    """
    if move.again and not again:
        mode = next((each.sink.mode for each in app.pipelines if each.name == move.cursor.pipeline), "append")
        effect = "each of its rows would be added once more" if mode == "append" else "its rows would be written anew"
        raise Misuse(
            f"{_name(move.cursor)}: offsets {move.to} to {move.to + move.again - 1} were taken in before, and {effect} "
            f"(mode={mode!r}); say --again if that is meant."
        )
    by = f"{getpass.getuser()}@{socket.gethostname()}"
    return app.cursors.move(move.cursor, move.to, action=move.action, by=by, reason=reason)


def held_back(pipeline: Pipeline, unfinished: int, cursors: list[Cursor]) -> str | None:
    """Say what keeps a pipeline's topics from being taken in; None if nothing does.

    Args:
        pipeline: as it is declared.
        unfinished: how many of its arrivals are unfinished.
        cursors: of all pipelines.

    """
    mine = [each for each in cursors if each.pipeline == pipeline.name and each.halted != RECREATED]
    waiting = sum(each.lag or 0 for each in mine)
    reasons = []
    if unfinished >= pipeline.max_waiting and waiting:
        reasons.append(f"{count(unfinished, 'unfinished arrival')} (max_waiting={pipeline.max_waiting:,})")
    if halted := sum(each.halted is not None for each in mine):
        reasons.append(f"{count(halted, 'halted partition')} (headgate topics)")
    return "; ".join(reasons) or None


def _bounds(lookup: Lookup, cursor: Cursor) -> tuple[int, int]:
    """Read where a partition begins and ends, and check that its topic is still the cursor's."""
    part = cursor.topic, cursor.partition
    fact = lookup.topics([cursor.topic]).get(cursor.topic)
    if fact is None or fact.topic_id != cursor.topic_id or cursor.partition >= fact.partitions:
        raise Misuse(f"{_name(cursor)} does not exist any more, or its topic was made again just now; look once more.")
    begins, ends = lookup.begins([part]), lookup.ends([part])
    if part not in begins or part not in ends:
        raise Misuse(f"{_name(cursor)} does not tell where it begins and ends; ask again when its broker is back.")
    return begins[part], ends[part]


def _milliseconds(text: str) -> int:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        message = f"--to {text}: write earliest, latest, an offset, or a time such as 2026-05-01T12:00+02:00."
        raise Misuse(message) from None
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def _name(cursor: Cursor) -> str:
    return f"{cursor.topic}[{cursor.partition}] of pipeline {cursor.pipeline}"
