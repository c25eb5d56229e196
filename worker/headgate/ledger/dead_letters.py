"""Dead letters: set aside in the transaction that persists the rest; shown, replayed or discarded later."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from operator import attrgetter

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from headgate.ledger.database import Connection, Database
from headgate.ledger.queries import QUERIES
from headgate.model import MESSAGES, TOPIC_SOURCE, DeadLetter, Envelope, RangePosition


@dataclass(frozen=True, slots=True)
class DeadLetterRecord:
    """A dead letter as the ledger knows it: what `headgate dead-letters` shows."""

    dead_letter_id: int
    arrival_id: int
    pipeline: str
    source: str
    name: str  # of the arrival
    row_number: int | None  # None: the whole arrival
    stage: str
    reason: str
    faults: list[dict[str, str | None]]
    original: bytes | None  # None: the whole arrival; its bytes are at `kept_at`
    format: str | None
    preamble: bytes
    attempt: int
    state: str
    replayed_as: int | None
    created_at: datetime
    kept_at: str | None
    path: bytes
    copy_to: str | None = None  # the topic that gets a copy
    copied_at: datetime | None = None
    copy_refused: str | None = None  # why Kafka will never take the copy
    content_key: bytes | None = None  # of the arrival
    envelope: Envelope | None = None  # for a message
    range: RangePosition | None = None  # the arrival's range; None: it was a file


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of a dead letter, to be published to a topic."""

    dead_letter_id: int
    copy_to: str  # the topic
    topic: str  # the topic the message came from
    stage: str
    reason: str
    faults: list[dict[str, str | None]]
    original: bytes
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Selection:
    """A filter of dead letters; a field left at None, or no ids, does not narrow it."""

    ids: tuple[int, ...] = ()
    pipeline: str | None = None
    arrival_id: int | None = None
    reason: str | None = None
    state: str | None = "open"
    limit: int = 100_000
    since: datetime | None = None  # set aside then or later
    rounds: int | None = None  # only from arrivals with fewer replays behind them than this


class DeadLetters:
    """The dead letters of the ledger.

    Raises:
        LedgerUnavailable: from any method, when the database does not answer.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def set_aside(
        self,
        connection: Connection,
        letters: Iterable[DeadLetter],
        attempts: Mapping[int, int],
        copies: Mapping[int, str] | None = None,
    ) -> None:
        """Write dead letters in the transaction that fenced their arrivals.

        Args:
            connection: the connection in that transaction.
            letters: the dead letters.
            attempts: each arrival's current attempt.
            copies: for each arrival whose messages are copied, the topic that gets the copies.

        """
        columns = (
            "arrival_id, row_number, stage, reason, faults, original, format, preamble, attempt, envelope, copy_to"
        )
        with (
            connection.cursor() as cursor,
            cursor.copy(f"copy headgate.dead_letter ({columns}) from stdin") as copy,
        ):
            for letter in letters:
                faults = Jsonb([_without_nul(asdict(fault)) for fault in letter.faults])
                row = (letter.arrival_id, letter.row, letter.stage.value, letter.reason.value, faults)
                envelope = None if letter.envelope is None else Jsonb(_envelope(letter.envelope))
                bytes_ = (letter.original, letter.format, letter.preamble)
                copy_to = (copies or {}).get(letter.arrival_id) if letter.format == MESSAGES else None
                copy.write_row((*row, *bytes_, attempts[letter.arrival_id], envelope, copy_to))

    def copy_topics(self) -> list[str]:
        """Return the topics for which copies are due."""
        with self._database.transaction() as connection:
            return [row["copy_to"] for row in connection.execute(QUERIES["copy_topics"])]

    def take_copies(self, topics: Sequence[str], *, lease: timedelta, limit: int = 500) -> list[Copy]:
        """Take dead letters whose copy is not on its topic yet, oldest first.

        The caller reports each outcome with `end_copies` or `give_copies_back`; a copy without one is taken again
        after the lease. So a copy may be published twice, and is never lost.

        Args:
            topics: only copies for these topics.
            lease: how long nobody else takes them.
            limit: the maximum number.

        """
        asked = {"topics": list(topics), "limit": limit, "lease": lease}
        with self._database.transaction() as connection:
            rows = connection.execute(QUERIES["take_copies"], asked).fetchall()
        return sorted(map(_copy, rows), key=attrgetter("dead_letter_id"))

    def end_copies(self, outcomes: Mapping[int, str | None]) -> None:
        """Record for each dead letter that its copy is on its topic (None), or why Kafka will never take it."""
        asked = {"ids": list(outcomes), "refused": list(outcomes.values())}
        with self._database.transaction() as connection:
            connection.execute(QUERIES["copies_ended"], asked)

    def give_copies_back(self, ids: Sequence[int]) -> None:
        """Let copies that could not be published now be taken again."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["give_copies_back"], {"ids": list(ids)})

    def find(self, selection: Selection) -> list[DeadLetterRecord]:
        """Return dead letters for display, newest first."""
        asked = {**asdict(selection), "ids": list(selection.ids) or None}
        with self._database.transaction() as connection:
            rows = connection.execute(QUERIES["dead_letters"], asked).fetchall()
        return [_record(row) for row in rows]

    def ids(self, selection: Selection) -> list[int]:
        """Return the ids of all dead letters of a selection, whatever its limit."""
        asked = {**asdict(selection), "ids": list(selection.ids) or None}
        with self._database.transaction() as connection:
            return [row["dead_letter_id"] for row in connection.execute(QUERIES["dead_letter_ids"], asked)]

    def count_beyond(self, selection: Selection) -> int:
        """Count the open dead letters that a selection leaves out only because of its `rounds`."""
        asked = {**asdict(selection), "ids": list(selection.ids) or None}
        with self._database.transaction() as connection:
            row = connection.execute(QUERIES["dead_letters_beyond"], asked).fetchone()
        return 0 if row is None else int(row["count"])

    def counts(self, arrival_id: int) -> list[tuple[str, str, int]]:
        """Count the records of an arrival that were set aside: (stage, reason, count), highest count first."""
        with self._database.transaction() as connection:
            rows = connection.execute(QUERIES["dead_letter_counts"], {"arrival_id": arrival_id}).fetchall()
        return [(row["stage"], row["reason"], row["count"]) for row in rows]

    def discard(self, ids: Sequence[int]) -> int:
        """Close open dead letters for good; return how many were open. Their contents stay in the ledger."""
        with self._database.transaction() as connection:
            return len(self.close(connection, ids, "discarded", replayed_as=None))

    def close(self, connection: Connection, ids: Sequence[int], state: str, *, replayed_as: int | None) -> list[int]:
        """Close open dead letters; return those that were open."""
        asked = {"ids": list(ids), "state": state, "replayed_as": replayed_as}
        return [row["dead_letter_id"] for row in connection.execute(QUERIES["close_dead_letters"], asked)]


def _record(row: DictRow) -> DeadLetterRecord:
    facts = row.pop("envelope")
    envelope = None if facts is None else Envelope.of(facts)
    position = RangePosition(
        cluster=row.pop("cluster"),
        topic=row.pop("topic"),
        topic_id=row.pop("topic_id"),
        partition=row.pop("partition"),
        first=row.pop("first_offset"),
        end=row.pop("end_offset"),
        size=row.pop("size_bytes"),
    )
    return DeadLetterRecord(**row, envelope=envelope, range=None if position.topic is None else position)


def _envelope(envelope: Envelope) -> dict[str, object]:
    # The sender chooses the headers' names, and PostgreSQL's jsonb has no NUL.
    headers = tuple((name.replace("\0", "\\0"), value) for name, value in envelope.headers)
    return replace(envelope, headers=headers).facts()


def _without_nul(fault: dict[str, str | None]) -> dict[str, str | None]:
    # PostgreSQL's jsonb has no NUL; `original` holds the unchanged bytes.
    return {name: value.replace("\0", "\\0") if value else value for name, value in fault.items()}


def _copy(row: DictRow) -> Copy:
    # Replayed messages arrive as a file without a topic, under their original source.
    source = row.pop("source")
    row["topic"] = row["topic"] or source.removeprefix(TOPIC_SOURCE)
    return Copy(**{**row, "envelope": Envelope.of(row["envelope"])})
