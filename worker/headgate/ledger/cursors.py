"""Cursors: the offset up to which each partition is cut into ranges, for each pipeline that reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from headgate.errors import NotFound
from headgate.ledger.arrivals import Arrivals
from headgate.ledger.cursor import Cursor, Cut, Partition, arrival
from headgate.ledger.database import Connection, Database
from headgate.ledger.queries import QUERIES
from headgate.model import Fact

if TYPE_CHECKING:  # as in claims.py
    from headgate.pipeline.topic import Start

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Load:
    """The unfinished arrivals of a pipeline."""

    unfinished: int  # counted up to the given limit
    waiting: frozenset[tuple[str, int | None]]  # sources and partitions with unclaimed arrivals


class Cursors:
    """The cursors of the ledger.

    Raises:
        LedgerUnavailable: from any method, when the database does not answer.

    """

    def __init__(self, database: Database, arrivals: Arrivals) -> None:
        self._database = database
        self._arrivals = arrivals

    def begin(self, places: Mapping[Partition, tuple[int, int]], start: "Start") -> list[Cursor]:
        """Create the missing cursors of a topic's partitions, all at once.

        The partitions that a pipeline sees first begin where `start` says. Those added later, or of a recreated topic,
        begin at their first message, because publishers may rely on being read. The cursors of a deleted topic of the
        same name are halted, and what was not cut of it is recorded as lost.

        Args:
            places: all partitions of one topic for one pipeline, each with its first offset and its end.
            start: the start that the topic's declaration asks for.

        Returns:
            The halted cursors.

        """
        one = next(iter(places))
        source = {**asdict(one), "detail": "The topic was deleted and made again; what is in it now is taken in."}
        with self._database.transaction() as connection:
            connection.execute(QUERIES["cursor_lock"], source)
            row = connection.execute(QUERIES["cursor_first"], source).fetchone()
            at_end = start == "latest" and row is not None and row["first"]
            for place, (first, end) in places.items():
                connection.execute(QUERIES["cursor_begin"], {**asdict(place), "offset": end if at_end else first})
            with connection.cursor(row_factory=class_row(Cursor)) as cursor:
                gone = cursor.execute(QUERIES["cursor_recreated"], source).fetchall()
            for old in gone:
                _halted(connection, old, (old.next_offset, old.end_offset or old.next_offset))
        for old in gone:
            _complain(old)
        return gone

    def note(self, ends: Mapping[Partition, int | None], *, owner: str) -> dict[Partition, Cursor]:
        """Record where partitions of one cluster end, and return their cursors.

        Args:
            ends: the end of each partition; None if it is not known.
            owner: the listener that looked.

        Returns:
            The existing cursors.

        """
        if not ends:
            return {}
        seen = list(ends)
        asked = {
            "cluster": seen[0].cluster,
            "owner": owner,
            "pipelines": [place.pipeline for place in seen],
            "sources": [place.source for place in seen],
            "topic_ids": [place.topic_id for place in seen],
            "partitions": [place.partition for place in seen],
            "ends": list(ends.values()),
        }
        with self._database.transaction() as connection, connection.cursor(row_factory=class_row(Cursor)) as cursor:
            return {found.place: found for found in cursor.execute(QUERIES["cursor_note"], asked)}

    def neglected(
        self, sources: Sequence[tuple[str, str, str]], cluster: str, longer: timedelta
    ) -> list[tuple[str, int]]:
        """Return partitions (topic, number) that no listener has looked at for longer than this.

        Args:
            sources: the declared ones, each as pipeline, source and the topic's id.
            cluster: the cluster's id.
            longer: what is too long.

        """
        asked = {
            "pipelines": [pipeline for pipeline, _, _ in sources],
            "sources": [source for _, source, _ in sources],
            "topic_ids": [topic_id for _, _, topic_id in sources],
            "cluster": cluster,
            "longer": longer,
        }
        with self._database.transaction() as connection:
            rows = connection.execute(QUERIES["cursor_neglected"], asked).fetchall()
        return [(row["topic"], row["partition"]) for row in rows]

    def load(self, pipeline: str, *, most: int) -> Load:
        """Return the unfinished arrivals of a pipeline.

        Args:
            pipeline: its name.
            most: count at most this many, so that the cost does not grow with the backlog.

        """
        with self._database.transaction() as connection:
            row = connection.execute(QUERIES["unfinished"], {"pipeline": pipeline, "most": most}).fetchone()
        if row is None:
            raise AssertionError("a query of aggregates gives one row")
        return Load(row["unfinished"], frozenset((source, partition) for source, partition in row["waiting"]))

    def cut(self, cuts: Sequence[Cut]) -> list[bool]:
        """Move cursors and open arrivals for the ranges that they passed, in one transaction.

        Returns:
            Whether each range was cut. It was not if its cursor has moved meanwhile or is halted: another listener has
            the partition, or a person moved the cursor.

        """
        with self._database.transaction() as connection:
            # In the same order everywhere, so that two listeners that cut the same ranges cannot deadlock.
            moved = dict.fromkeys(cuts, False)
            for cut in sorted(cuts, key=lambda cut: (cut.cursor.source, cut.cursor.partition, cut.cursor.next_offset)):
                asked = {
                    **asdict(cut.cursor.place),
                    "first": cut.cursor.next_offset,
                    "end": cut.end,
                    "generation": cut.cursor.generation,
                    "leader_epoch": cut.leader_epoch,
                }
                moved[cut] = connection.execute(QUERIES["cursor_advance"], asked).rowcount == 1
            opened = self._arrivals.open_within(connection, [arrival(cut) for cut in cuts if moved[cut]])
            if any(each.known for each in opened):
                raise AssertionError("a range is cut once: the cursor that was moved had passed it before")
        return [moved[cut] for cut in cuts]

    def halt(
        self,
        place: Partition,
        reason: str,
        detail: str,
        *,
        lost: tuple[int, int] | None = None,
        resume_at: int | None = None,
    ) -> bool:
        """Cut no more ranges of a partition until a person resumes it; report that in an event and in the log.

        Args:
            place: the partition.
            reason: a short, stable word.
            detail: one sentence: what happened, and what to do.
            lost: the first offset that is gone for good, and the one after the last.
            resume_at: the offset to resume from; None: where the cursor is.

        Returns:
            Whether this call halted it; False if it was halted already.

        """
        with self._database.transaction() as connection, connection.cursor(row_factory=class_row(Cursor)) as cursor:
            asked = {**asdict(place), "reason": reason, "detail": detail, "resume_at": resume_at}
            halted = cursor.execute(QUERIES["cursor_halt"], asked).fetchone()
            if halted is not None:
                _halted(connection, halted, lost)
        if halted is not None:
            _complain(halted)
        return halted is not None

    def find(
        self, *, pipeline: str | None = None, topic: str | None = None, partition: int | None = None
    ) -> list[Cursor]:
        """Return cursors for display; those of a deleted topic come before those of the topic that replaced it."""
        asked = {"pipeline": pipeline, "topic": topic, "partition": partition}
        with self._database.transaction() as connection, connection.cursor(row_factory=class_row(Cursor)) as cursor:
            return cursor.execute(QUERIES["cursors"], asked).fetchall()

    def move(self, cursor: Cursor, to: int, *, action: str, by: str, reason: str) -> Cursor:
        """Move a cursor where a person wants it, cut ranges from there on, and record who did it and why.

        Args:
            cursor: the cursor as the person saw it.
            to: the next offset to cut.
            action: "resume" or "reset".
            by: who moves it.
            reason: why.

        Raises:
            NotFound: the cursor has moved meanwhile.

        """
        with self._database.transaction() as connection, connection.cursor(row_factory=class_row(Cursor)) as of_cursor:
            asked = {**asdict(cursor.place), "expected": cursor.next_offset, "to": to}
            moved = of_cursor.execute(QUERIES["cursor_move"], asked).fetchone()
            if moved is None:
                raise NotFound(
                    f"The cursor of {cursor.topic}[{cursor.partition}] is not at {cursor.next_offset} any more: "
                    "look with `headgate topics`, and ask again."
                )
            _changed(connection, cursor, action, (cursor.next_offset, to), by=by, reason=reason)
        log.info(
            "cursor moved",
            action=action,
            pipeline=cursor.pipeline,
            topic=cursor.topic,
            partition=cursor.partition,
            from_offset=cursor.next_offset,
            to_offset=to,
            by=by,
        )
        return moved


def _halted(connection: Connection, cursor: Cursor, lost: tuple[int, int] | None) -> None:
    """Record that a partition was halted and which offsets are lost, and post the event."""
    reason = f"{cursor.halted}: {cursor.detail}"
    _changed(connection, cursor, "halt", (cursor.next_offset, cursor.end_offset), by=cursor.owner, reason=reason)
    gone = lost if lost is not None and lost[0] < lost[1] else None
    if gone is not None:
        _changed(connection, cursor, "lost", gone, by=cursor.owner, reason=reason)
    facts = {
        "source": cursor.source,
        "topic": cursor.topic,
        "partition": cursor.partition,
        "reason": cursor.halted,
        "next_offset": cursor.next_offset,
        "lost": 0 if gone is None else gone[1] - gone[0],
    }
    asked = {"kind": Fact.PARTITION_HALTED, "pipeline": cursor.pipeline, "facts": Jsonb(facts)}
    connection.execute(QUERIES["post"], asked)
    connection.execute(QUERIES["notify"], {"pipeline": cursor.pipeline})


def _changed(  # noqa: PLR0913 - one per column
    connection: Connection,
    cursor: Cursor,
    action: str,
    offsets: tuple[int, int | None],
    *,
    by: str | None,
    reason: str,
) -> None:
    change = {"action": action, "from": offsets[0], "to": offsets[1], "by": by or "listener", "reason": reason}
    connection.execute(QUERIES["cursor_changed"], {**asdict(cursor.place), **change})


def _complain(cursor: Cursor) -> None:
    log.error(
        "partition halted",
        action="halt",
        pipeline=cursor.pipeline,
        topic=cursor.topic,
        partition=cursor.partition,
        reason=cursor.halted,
        detail=cursor.detail,
    )
