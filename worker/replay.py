"""Replay: dead letters go back on the road, as new arrivals that are linked to the old ones."""

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from uuid import uuid4

import orjson

from worker.app import App
from worker.errors import NotFound
from worker.ledger.dead_letters import DeadLetterRecord, Selection
from worker.model import OFFSETS, FilePosition, NewArrival, RangePosition
from worker.records.batch import Original
from worker.records.messages import again, spooled
from worker.records.originals import together

# Below the spool, and no source's place: what a replay that died leaves here is nobody's arrival.
PLACE = ".replay"


@dataclass(frozen=True, slots=True)
class Replay:
    """Dead letters that go back together."""

    pipeline: str
    source: str
    replay_of: int  # the arrival that they came in
    name: str  # of the new arrival
    records: int  # 0: the whole arrival
    dead_letters: tuple[int, ...]
    arrival_id: int | None = None  # of the new arrival; None while it is only planned


def replay(app: App, selection: Selection, *, dry_run: bool = False) -> list[Replay]:
    """Send the open dead letters of a selection again.

    Records of one arrival go together in a new arrival of the same format; a whole arrival goes with its kept file.
    The new arrival and the closing of its dead letters are one transaction: called twice, nothing goes twice.

    Args:
        app: what to work with.
        selection: which dead letters are meant; those that are not open are left out.
        dry_run: only say what would go.

    Raises:
        NotFound: a rejected arrival's file is no longer where it was kept.
        LedgerUnavailable: the database does not answer.

    """
    letters = [letter for letter in app.dead_letters.find(selection) if letter.state == "open"]
    done = []
    for _, group in groupby(sorted(letters, key=_together_order), key=_together):
        chosen = list(group)
        planned = _plan(chosen)
        done.append(planned if dry_run else _send(app, planned, chosen))
    return done


def _together(letter: DeadLetterRecord) -> tuple[int, bool, str, bytes, int]:
    """Dead letters with the same of these go in one new arrival; messages that nobody could read each in their own."""
    alone = letter.dead_letter_id if letter.format == OFFSETS else 0
    return letter.arrival_id, letter.row_number is None, letter.format or "", letter.preamble, alone


def _together_order(letter: DeadLetterRecord) -> tuple[tuple[int, bool, str, bytes, int], int]:
    return _together(letter), letter.row_number or 0


def _plan(letters: Sequence[DeadLetterRecord]) -> Replay:
    first = letters[0]
    whole = first.row_number is None
    return Replay(
        pipeline=first.pipeline,
        source=first.source,
        replay_of=first.arrival_id,
        name=first.name if whole or first.format == OFFSETS else f"{first.name}.replay.{first.format}",
        records=0 if whole else len(letters),
        dead_letters=tuple(letter.dead_letter_id for letter in letters),
    )


def _send(app: App, planned: Replay, letters: Sequence[DeadLetterRecord]) -> Replay:
    first = letters[0]
    # Of the dead letters, not of the bytes: two commands at the same time ask for the same arrival.
    identity = hashlib.sha256(b"replay" + ",".join(map(str, planned.dead_letters)).encode()).digest()
    messages = _range(first)
    position, spool = _spooled(app, planned, letters) if messages is None else (messages, None)
    arrival = NewArrival(
        pipeline=planned.pipeline,
        source=planned.source,
        identity=identity,
        name=planned.name,
        position=position,
        content_key=None,
        spool=spool,
        replay_of=planned.replay_of,
        continues=planned.replay_of if first.row_number is None else None,
    )
    return replace(planned, arrival_id=app.arrivals.replay(arrival, planned.dead_letters).arrival_id)


def _range(letter: DeadLetterRecord) -> RangePosition | None:
    """The messages to be read again; None where the dead letters themselves hold what is to be sent."""
    if letter.range is None or (letter.row_number is not None and letter.format != OFFSETS):
        return None
    if letter.original is None:
        return letter.range
    return replace(letter.range, **orjson.loads(letter.original))


def _spooled(app: App, planned: Replay, letters: Sequence[DeadLetterRecord]) -> tuple[FilePosition, str]:
    """Put the bytes to send again into the spool."""
    first = letters[0]
    # Not made of the first name: replayed again and again, it would outgrow what a file system takes.
    path = first.path if first.row_number is None else f"{first.arrival_id}.replay.{first.format}".encode()
    spool = f"{planned.pipeline}/{PLACE}/{uuid4().hex}"
    content = _content(letters)
    place = app.settings.places.spool / spool / os.fsdecode(path)
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    with place.open("rb") as file:
        os.fsync(file.fileno())
    sha256 = hashlib.sha256(content).digest()
    return FilePosition(path, len(content), place.stat().st_mtime_ns, sha256), spool


def _content(letters: Iterable[DeadLetterRecord]) -> bytes:
    """The bytes to send again: the records with what must stand before them, or the kept file."""
    originals = []
    messages = []
    for letter in letters:
        if letter.original is not None and letter.envelope is not None:
            messages.append((letter.original, letter.envelope))
            continue
        if letter.original is None:
            return _kept(letter)
        originals.append(Original(letter.original, letter.format or "", letter.preamble))
    return spooled(again(messages)) if messages else together(originals)


def _kept(letter: DeadLetterRecord) -> bytes:
    """The bytes of a rejected arrival. A link is not followed here either: it may lead to anything."""
    what = f"arrival {letter.arrival_id} ({letter.name})"
    if letter.kept_at is None:
        raise NotFound(f"Nothing is kept of {what}: {letter.reason}; drop a regular file in its place.")
    try:
        descriptor = os.open(letter.kept_at, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise NotFound(f"The file of {what} cannot be read at {letter.kept_at}: {error.strerror}.") from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotFound(f"What is kept of {what} is no regular file; drop one in its place.")
        return file.read()
