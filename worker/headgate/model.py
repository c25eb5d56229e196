"""The values that all rooms pass to each other: arrivals, claims, dead letters. Frozen, and free of I/O."""

from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import uuid4


class State(StrEnum):
    """The state of an arrival. The states from `done` on are terminal: an arrival never leaves them."""

    PARKED = "parked"  # recorded, waits for a start of its pipeline
    READY = "ready"  # recorded, nobody works on it
    CLAIMED = "claimed"  # leased by a run
    RETRY = "retry"  # an attempt failed; due again at `due_at`
    HELD = "held"  # an operator stopped it
    DONE = "done"  # its rows and dead letters are committed
    REJECTED = "rejected"  # given up as a whole, its bytes kept
    DUPLICATE = "duplicate"  # the same bytes came before; nothing to do
    SKIPPED = "skipped"  # does not meet its pipeline's condition; its bytes are kept as for done arrivals

    @property
    def terminal(self) -> bool:
        """Whether the state is final."""
        return self in {State.DONE, State.REJECTED, State.DUPLICATE, State.SKIPPED}


class Fact(StrEnum):
    """What the ledger reports through its outbox. Each is a Prefect event, named `headgate.` plus this value."""

    FILE_ARRIVED = "file.arrived"
    MESSAGES_ARRIVED = "messages.arrived"
    PERSISTED = "arrivals.persisted"
    REJECTED = "arrivals.rejected"
    DEAD_LETTERED = "rows.dead-lettered"
    REPLAYED = "dead-letters.replayed"
    PARTITION_HALTED = "partition.halted"
    SOURCE_PAUSED = "source.paused"
    SOURCE_RESUMED = "source.resumed"
    LOOK_UPS_RELOADED = "look-ups.reloaded"
    SOURCE_SILENT = "source.silent"
    SOURCE_RECOVERED = "source.recovered"
    TOO_MANY_DEAD_LETTERS = "dead-letters.too-many"
    DEAD_LETTERS_RECOVERED = "dead-letters.recovered"
    WAITING = "arrivals.waiting"
    WAITING_RECOVERED = "arrivals.recovered"
    HALTED = "partitions.halted"
    HALTED_RECOVERED = "partitions.recovered"
    RUN_STUCK = "run.stuck"
    RUN_RECOVERED = "run.recovered"
    DISK_ALMOST_FULL = "disk.almost-full"
    DISK_RECOVERED = "disk.recovered"
    WORKER_GONE = "worker.gone"
    WORKER_RECOVERED = "worker.recovered"


class Stage(StrEnum):
    """The stage at which a dead letter was set aside."""

    INTAKE = "intake"
    PARSE = "parse"
    ENRICH = "enrich"
    PERSIST = "persist"


class Reason(StrEnum):
    """Why an arrival was rejected, or a record became a dead letter. Stable words: tools count by them."""

    CONDITION = "condition"  # a skipped arrival: it does not meet `when=`
    # Reasons for whole arrivals.
    EMPTY = "empty"  # no bytes, or a byte order mark alone
    UNSAFE = "unsafe"  # a symbolic link: following it could leave the watched folder
    NOT_A_FILE = "not-a-file"  # a directory, FIFO, socket or device with a file's name
    REFUSED = "refused"  # the ledger could not store it: the database refuses a value
    UNKNOWN_FORMAT = "unknown-format"  # no reader for this extension
    UNDECODABLE = "undecodable"  # not text in the declared encoding, or not what its extension says
    COLUMNS = "columns"  # columns missing, unexpected or named twice
    TOO_LARGE = "too-large"  # over a limit of size or of expansion
    BOMB = "bomb"  # expands out of all proportion
    TRUNCATED = "truncated"  # ends in the middle of a compressed stream or of a value
    CRASH_LOOP = "crash-loop"  # the processes that worked on it died
    ATTEMPTS_USED_UP = "attempts-used-up"  # transient errors on every attempt
    LOST = "lost"  # the bytes taken in, or the messages of a range, are no longer there or no longer the same
    TOO_MANY_BAD = "too-many-bad"  # more bad records than its pipeline's `max_bad` allows
    MISCOUNTED = "miscounted"  # records read != rows + dead letters + skipped records: a bug in Headgate
    # Reasons for records.
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
    """Where a file stood in its source, and its size, time and content when it was taken in."""

    path: bytes  # relative to the source's root, exactly as the file system has it (may not be UTF-8)
    size: int  # bytes
    mtime_ns: int  # nanoseconds since 1970
    sha256: bytes  # of the content, 32 bytes; b"" for what has no content (a FIFO, a directory)


@dataclass(frozen=True, slots=True)
class RangePosition:
    """The messages of a partition from `first` up to but not including `end`. Some offsets in between have none."""

    cluster: str  # the Kafka cluster's id
    topic: str
    topic_id: str  # the broker's; a topic that was deleted and created again has another id, and starts at 0 again
    partition: int
    first: int  # offset
    end: int  # offset, exclusive
    size: int  # bytes, estimated: the messages are not read yet


@dataclass(frozen=True, slots=True)
class Envelope:
    """What came with a message besides its value."""

    offset: int
    timestamp_ms: int | None  # milliseconds since 1970
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]  # in their order; a name may occur more than once
    partition: int = 0
    tombstone: bool = False  # it had no value, which differs from an empty value

    def facts(self) -> dict[str, object]:
        """Return the envelope as values that JSON can hold: bytes in base64."""
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
        """Make an envelope from the result of `facts`."""
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
    identity: bytes  # sha256 of what identifies the arrival: opening it again with this value opens no second one
    name: str  # what people see; printable, escaped
    position: FilePosition | RangePosition
    content_key: bytes | None  # arrivals with equal keys are duplicates; None where the source keeps equal bytes
    spool: str | None  # path of the bytes, relative to the spool; None if there are none to keep
    reason: Reason | None = None  # if set, it is opened as rejected, for this reason
    detail: str | None = None  # one sentence on the reason, for a person
    replay_of: int | None = None  # the arrival that this one replays
    noticed_at: datetime | None = None  # when the listener first saw it in its present state
    continues: int | None = None  # as `replay_of`, if the bytes are the same: rows already committed stay committed
    ordered: bool = False  # for a range: it is worked on only when earlier ranges of its partition have ended


@dataclass(frozen=True, slots=True)
class Opened:
    """The ledger's answer to a `NewArrival`."""

    arrival_id: int
    state: State
    known: bool  # it was opened before: the earlier intake did not finish
    settled: bool = False  # for a known one: its bytes are settled already, so these are surplus
    lost: bool = False  # for a known one: it was given up, and none of its bytes are kept


@dataclass(frozen=True, slots=True)
class ClaimedArrival:
    """An arrival that a run has claimed."""

    arrival_id: int
    epoch: int  # raised by each claim; fences older claims
    attempt: int  # number of the attempt that this claim is, counted from 1
    source: str
    name: str  # what people see
    path: bytes  # relative to the source's root; its ending tells the format
    spool: str | None  # path of the bytes, relative to the spool
    size: int  # bytes
    sha256: bytes
    rows_committed: int  # rows up to this number are committed by earlier attempts
    arrived_at: datetime | None = None  # when it was opened
    range: RangePosition | None = None  # the messages to read; None for a file
    start_id: int = 0  # the start that it belongs to; 0 if none: it was claimable as soon as it came
    replay_of: int | None = None  # the arrival that it replays


def holder_of(flow_run_id: str) -> str:
    """Return a name for one execution of a flow run: the same run may be executed again after its process died."""
    return f"{flow_run_id}.{uuid4().hex[:12]}"


def flow_run_of(holder: str) -> str:
    """Return the id of the flow run that a holder's name contains."""
    return holder.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Claim:
    """Arrivals of one pipeline leased by one run."""

    pipeline: str
    holder: str  # who holds the lease, as `holder_of` names it
    arrivals: tuple[ClaimedArrival, ...]

    @property
    def start_id(self) -> int:
        """The start that all its arrivals belong to."""
        return self.arrivals[0].start_id

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


TOPIC_SOURCE = "kafka:"  # what the name of a source that is a topic begins with; the topic's name follows
MESSAGES = "messages"  # format of a dead letter's original: the value of a message
OFFSETS = "offsets"  # format of a dead letter's original: it says which messages to read again


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record set aside, with everything needed to understand it and to send it again."""

    arrival_id: int
    row: int  # number of the record in its arrival, counted from 1
    stage: Stage
    reason: Reason
    faults: tuple[Fault, ...]
    original: bytes  # the record as it came, to the byte
    # How `original` is written: "csv", "json" (an element of an array), "jsonl", "parquet" (one row), "messages" (a
    # value) or "offsets" (what to read again).
    format: str
    preamble: bytes = b""  # what must stand before `original` to read it again: a CSV header line
    envelope: Envelope | None = None  # of a message


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
    rows_skipped: int | None  # messages that are not records, according to the topic's policy and the condition
    duplicate_of: int | None
    replay_of: int | None
    claimed_by: str | None  # as `holder_of` names it
    kept_at: str | None  # where its bytes are now, if they are kept
    arrived_at: datetime
    claimed_at: datetime | None
    finished_at: datetime | None
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Places:
    """The folders in which Headgate keeps its files, all absolute."""

    spool: Path  # bytes of arrivals in progress
    archive: Path  # bytes of done arrivals, where the source archives them
    rejected: Path  # bytes of rejected arrivals, each with a note beside it
    work: Path  # frames between the stages of a run; worth nothing once the run is over
