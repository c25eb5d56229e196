"""The values that travel the road: arrivals, claims, dead letters. Frozen, and free of I/O."""

from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any


class State(StrEnum):
    """Where an arrival stands. `done`, `rejected` and `duplicate` are terminal: no way leads out of them."""

    READY = "ready"  # recorded, nobody works on it
    CLAIMED = "claimed"  # leased by a run
    RETRY = "retry"  # an attempt failed; due again at `due_at`
    HELD = "held"  # an operator stopped it
    DONE = "done"  # its rows and dead letters are committed
    REJECTED = "rejected"  # given up as a whole, its bytes kept
    DUPLICATE = "duplicate"  # the same bytes came before; nothing to do

    @property
    def terminal(self) -> bool:
        """Whether the arrival has come to its end."""
        return self in {State.DONE, State.REJECTED, State.DUPLICATE}


class Stage(StrEnum):
    """Where on the road a dead letter was set aside."""

    INTAKE = "intake"
    PARSE = "parse"
    ENRICH = "enrich"
    PERSIST = "persist"


class Reason(StrEnum):
    """Why an arrival was rejected, or a record became a dead letter. Stable words: tools count by them."""

    # of whole arrivals
    EMPTY = "empty"  # no bytes, or a byte order mark alone
    UNSAFE = "unsafe"  # a symbolic link: following it could leave the watched folder
    NOT_A_FILE = "not-a-file"  # a directory, FIFO, socket or device with a file's name
    UNKNOWN_FORMAT = "unknown-format"  # no reader for this extension
    UNDECODABLE = "undecodable"  # not text in the declared encoding, or not what its extension says
    COLUMNS = "columns"  # columns missing, unexpected or named twice
    TOO_LARGE = "too-large"  # over a limit of size or of expansion
    BOMB = "bomb"  # expands out of all proportion
    TRUNCATED = "truncated"  # ends in the middle of a compressed stream or of a value
    CRASH_LOOP = "crash-loop"  # the processes that worked on it died
    ATTEMPTS_USED_UP = "attempts-used-up"  # transient errors, time after time
    LOST = "lost"  # the bytes taken in, or the messages of a range, are no longer there or no longer the same
    # of records
    MALFORMED = "malformed"  # not a record: wrong number of cells, broken JSON
    CORRUPT = "corrupt"  # messages whose batch the broker gives but nobody can read: a bad CRC, an unknown codec
    ENCODING = "encoding"  # bytes that are not text in the declared encoding
    NUL = "nul"  # a NUL character, which PostgreSQL cannot store in text
    SCHEMA = "schema"  # one or more rules of the schema broken
    LOOKUP = "lookup"  # a required look-up found nothing
    ENRICHER = "enricher"  # an enricher failed on this record
    SINK = "sink"  # the database refused this record


@dataclass(frozen=True, slots=True)
class FilePosition:
    """Where a file stood in its source, and what it was when it was taken in."""

    path: bytes  # relative to the source's root, exactly as the file system has it (may not be UTF-8)
    size: int  # bytes
    mtime_ns: int  # nanoseconds since 1970
    sha256: bytes  # of the content, 32 bytes; b"" for what has none (a FIFO, a directory)


@dataclass(frozen=True, slots=True)
class RangePosition:
    """Which messages of a partition: those from `first` on and before `end`. Not every offset between has one."""

    cluster: str  # the Kafka cluster's id
    topic: str
    topic_id: str  # the broker's; a topic that was deleted and made again has another, and starts at 0 again
    partition: int
    first: int  # offset
    end: int  # offset, exclusive
    size: int  # bytes, estimated: nobody has read them yet


@dataclass(frozen=True, slots=True)
class Envelope:
    """What came with a message beside its value."""

    offset: int
    timestamp_ms: int | None  # milliseconds since 1970
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]  # in their order; a name may stand more than once
    partition: int = 0
    tombstone: bool = False  # it had no value, which is not a value of no bytes

    def facts(self) -> dict[str, object]:
        """The same as JSON can hold it: bytes in base64."""
        return {
            "partition": self.partition,
            "offset": self.offset,
            "timestamp_ms": self.timestamp_ms,
            "key": _base64(self.key),
            "headers": [[name, _base64(value)] for name, value in self.headers],
            "tombstone": self.tombstone,
        }

    @classmethod
    def of(cls, facts: dict[str, Any]) -> "Envelope":
        """Make it of what `facts` gave."""
        return cls(
            partition=facts["partition"],
            offset=facts["offset"],
            timestamp_ms=facts["timestamp_ms"],
            key=_bytes(facts["key"]),
            headers=tuple((name, _bytes(value)) for name, value in facts["headers"]),
            tombstone=facts["tombstone"],
        )


def _base64(data: bytes | None) -> str | None:
    return None if data is None else b64encode(data).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text)


@dataclass(frozen=True, slots=True)
class NewArrival:
    """What a listener asks the ledger to open."""

    pipeline: str
    source: str  # name of the source, unique in its pipeline
    identity: bytes  # sha256 of what makes it the same arrival if it is asked for again
    name: str  # what people are shown; printable, escaped
    position: FilePosition | RangePosition
    content_key: bytes | None  # equal keys are duplicates; None where the source keeps equal bytes
    spool: str | None  # where the bytes are, relative to the spool; None if there are none to keep
    reason: Reason | None = None  # set: it is opened as rejected, for this reason
    detail: str | None = None  # one sentence on the reason, for a person
    replay_of: int | None = None  # the arrival that this one puts back on the road
    noticed_at: datetime | None = None  # when the listener saw it as it is
    continues: int | None = None  # as `replay_of`, if it has the same bytes: what is committed of them stays committed
    ordered: bool = False  # of a range: it is worked on when those of its partition before it have ended


@dataclass(frozen=True, slots=True)
class Opened:
    """What the ledger made of a `NewArrival`."""

    arrival_id: int
    state: State
    known: bool  # it had been opened before: the earlier intake did not get to its end


@dataclass(frozen=True, slots=True)
class ClaimedArrival:
    """An arrival in the hands of a run."""

    arrival_id: int
    epoch: int  # raised by each claim; the number that fences an older claim
    attempt: int  # this claim is the attempt with this number, counted from 1
    source: str
    name: str  # what people are shown
    path: bytes  # relative to the source's root; its ending tells the format
    spool: str | None  # where the bytes are, relative to the spool
    size: int  # bytes
    sha256: bytes
    rows_committed: int  # rows up to this number are committed by earlier attempts
    range: RangePosition | None = None  # the messages to read; None for a file


@dataclass(frozen=True, slots=True)
class Claim:
    """Arrivals of one pipeline leased by one run."""

    pipeline: str
    holder: str  # flow run id, or what else tells who holds the lease
    arrivals: tuple[ClaimedArrival, ...]

    @property
    def size(self) -> int:
        """Bytes of all its arrivals."""
        return sum(arrival.size for arrival in self.arrivals)


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule that a record broke."""

    rule: str  # the rule's name; `<column>|<check>` for the checks of a column
    column: str | None  # the column, if the rule is about one
    value: str | None  # the offending value as it was written, cut to 200 characters


MESSAGES = "messages"  # how the original of a dead letter is written: it is the value of a message
OFFSETS = "offsets"  # the same: it says which messages are to be read again


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record set aside, with all that is needed to understand it and to send it again."""

    arrival_id: int
    row: int  # number of the record in its arrival, counted from 1
    stage: Stage
    reason: Reason
    faults: tuple[Fault, ...]
    original: bytes  # the record as it came, to the byte
    format: str  # how `original` is written: "csv", "jsonl", "messages" (a value) or "offsets" (what to read again)
    preamble: bytes = b""  # what must stand before `original` to read it again: a CSV header line
    envelope: Envelope | None = None  # of a message


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of one arrival."""

    arrival_id: int
    rows_in: int
    rows_persisted: int
    rows_dead: int


@dataclass(frozen=True, slots=True)
class ArrivalRecord:
    """An arrival as the ledger knows it: what `headgate arrivals` shows."""

    arrival_id: int
    pipeline: str
    source: str
    name: str
    state: State
    size: int
    reason: str | None
    detail: str | None
    attempts: int
    rows_in: int | None
    rows_persisted: int | None
    rows_dead: int | None
    rows_skipped: int | None  # messages that are no records, as their topic's policy says
    duplicate_of: int | None
    replay_of: int | None
    claimed_by: str | None
    kept_at: str | None  # where its bytes are now, if they are kept
    arrived_at: datetime
    claimed_at: datetime | None
    finished_at: datetime | None
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Places:
    """The folders that Headgate keeps things in, all absolute."""

    spool: Path  # bytes of arrivals on their way
    archive: Path  # bytes of done arrivals, where the source asks for it
    rejected: Path  # bytes of rejected arrivals, each with a note beside it
    work: Path  # frames between the stages of a run; worth nothing once the run is over
