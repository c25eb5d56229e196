"""Replay: dead letters are sent again, as new arrivals that are linked to the old ones."""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from uuid import uuid4

import orjson

from headgate.app import App
from headgate.errors import ArrivalRejected, NotFound
from headgate.ledger.dead_letters import DeadLetterRecord, Selection
from headgate.listeners.files.disk import BLOCK, flush
from headgate.model import OFFSETS, FilePosition, NewArrival, RangePosition
from headgate.pipeline import Csv, Json
from headgate.records.batch import Original
from headgate.records.messages import again, spooled
from headgate.records.originals import together
from headgate.records.reading import form_of
from headgate.records.text import line_end

# Below the spool, in no source's folder: what a replay that dies leaves here does not become an arrival.
PLACE = ".replay"


@dataclass(frozen=True, slots=True)
class Replay:
    """Dead letters that are sent again together."""

    pipeline: str
    source: str
    replay_of: int  # the arrival that they came in
    name: str  # of the new arrival
    records: int  # 0: the whole arrival
    dead_letters: tuple[int, ...]
    arrival_id: int | None = None  # of the new arrival; None while it is only planned, or if it is left out
    left_out: str | None = None  # why these cannot be sent: their bytes are not there


def replay(app: App, selection: Selection, *, dry_run: bool = False) -> list[Replay]:
    """Send the open dead letters of a selection again.

    Records of one arrival go together in a new arrival of the same format; a whole arrival goes with its kept file.
    The new arrival and the closing of its dead letters are one transaction: a second call sends nothing twice. Those
    whose bytes are not there, such as a rejected link's, are left out and stay open.

    Args:
        app: the ledger, the pipelines and the spool.
        selection: which dead letters; those that are not open are left out.
        dry_run: only say what would go.

    Raises:
        NotFound: all are left out; the text says why the first is.
        LedgerUnavailable: the database does not answer.

    """
    letters = [letter for letter in app.dead_letters.find(selection) if letter.state == "open"]
    done = []
    for _, group in groupby(sorted(letters, key=_together_order), key=_together):
        chosen = list(group)
        try:
            sent = _checked(chosen) if dry_run else _send(app, chosen)
        except NotFound as error:
            sent = replace(_plan(chosen), left_out=str(error))
        if sent is not None:
            done.append(sent)
    reasons = [each.left_out for each in done if each.left_out]
    if reasons and len(reasons) == len(done):
        raise NotFound(reasons[0])
    return done


def _checked(letters: Sequence[DeadLetterRecord]) -> Replay:
    """Plan, and make sure that the bytes of a whole file are there."""
    if letters[0].original is None and _range(letters[0]) is None:
        next(_kept(letters[0]), None)
    return _plan(letters)


def _together(letter: DeadLetterRecord) -> tuple[int, bool, str, bytes, int]:
    """The key by which dead letters share a new arrival; each unreadable message gets its own."""
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


def _send(app: App, chosen: Sequence[DeadLetterRecord]) -> Replay | None:
    """Send dead letters that go together; None if others have closed them all meanwhile."""
    letters = chosen
    while letters:
        planned = _plan(letters)
        arrival = _arrival(app, planned, letters)
        opened = app.arrivals.replay(arrival, planned.dead_letters)
        if arrival.spool is not None and (opened is None or opened.known):
            shutil.rmtree(app.settings.places.spool / arrival.spool)
        if opened is not None:
            return replace(planned, arrival_id=opened.arrival_id)
        # Others have replayed or discarded some of them: send the rest.
        found = app.dead_letters.find(Selection(ids=planned.dead_letters, limit=len(letters)))
        open_ = {letter.dead_letter_id for letter in found}
        letters = [letter for letter in letters if letter.dead_letter_id in open_]
    return None


def _arrival(app: App, planned: Replay, letters: Sequence[DeadLetterRecord]) -> NewArrival:
    first = letters[0]
    whole = first.row_number is None
    # Made of the dead letters, not of the bytes, so that two concurrent commands ask for the same arrival.
    identity = hashlib.sha256(b"replay" + ",".join(map(str, planned.dead_letters)).encode()).digest()
    messages = _range(first)
    position, spool = _spooled(app, planned, letters) if messages is None else (messages, None)
    return NewArrival(
        pipeline=planned.pipeline,
        source=planned.source,
        identity=identity,
        name=planned.name,
        position=position,
        content_key=first.content_key if whole else None,  # dropped again, the same bytes are the same arrival
        spool=spool,
        replay_of=planned.replay_of,
        continues=planned.replay_of if whole else None,
    )


def _range(letter: DeadLetterRecord) -> RangePosition | None:
    """The range of messages to read again; None if the dead letters themselves hold what to send."""
    if letter.range is None or (letter.row_number is not None and letter.format != OFFSETS):
        return None
    if letter.original is None:
        return letter.range
    return replace(letter.range, **orjson.loads(letter.original))


def _spooled(app: App, planned: Replay, letters: Sequence[DeadLetterRecord]) -> tuple[FilePosition, str]:
    """Put the bytes to send again into the spool."""
    first = letters[0]
    path = first.path if first.row_number is None else _name(app, first)
    spool = f"{planned.pipeline}/{PLACE}/{uuid4().hex}"
    folder = app.settings.places.spool / spool
    place = folder / os.fsdecode(path)
    place.parent.mkdir(parents=True)
    try:
        sha256 = _write(_content(app, letters), place)
        # Flush before the ledger knows: after a power cut it must not know bytes that the disk lacks.
        folders = [each for each in place.parents if each.is_relative_to(app.settings.places.spool)]
        flush([os.fsencode(each) for each in (place, *folders)])
    except BaseException:
        shutil.rmtree(folder)
        raise
    found = place.stat()
    return FilePosition(path, found.st_size, found.st_mtime_ns, sha256), spool


def _write(blocks: Iterator[bytes], place: Path) -> bytes:
    """Write a file; return its sha256."""
    sha256 = hashlib.sha256()
    with place.open("wb") as file:
        for block in blocks:
            file.write(block)
            sha256.update(block)
    return sha256.digest()


def _content(app: App, letters: Sequence[DeadLetterRecord]) -> Iterator[bytes]:
    """The bytes to send again: the records with what must stand before them, or the kept file."""
    if letters[0].original is None:
        return _kept(letters[0])
    messages = [(each.original, each.envelope) for each in letters if each.original is not None and each.envelope]
    if messages:
        return iter([spooled(again(messages))])
    records = [
        Original(each.original, each.format or "", each.preamble) for each in letters if each.original is not None
    ]
    return iter([together(records, _line_end(app, letters[0]))])


def _name(app: App, letter: DeadLetterRecord) -> bytes:
    """Name the file of records that are sent again, so that they are read as before."""
    name = _last(letter.path)
    bare = name[: -len(".gz")] if name.lower().endswith(".gz") else name
    folder = next((folder for folder in app.pipeline(letter.pipeline).folders if folder.name == letter.source), None)
    reader = folder.reader(name) if folder else None
    if isinstance(reader, Csv | Json) and letter.format in {"csv", "jsonl"}:
        return os.fsencode(bare)  # the name selects the reader
    # Not made of the first name: after many replays it would be longer than a file system allows.
    return f"{letter.arrival_id}.replay.{letter.format}".encode()


def _last(path: bytes) -> str:
    """The file's name alone; it may not be UTF-8."""
    return Path(os.fsdecode(path)).name


def _line_end(app: App, letter: DeadLetterRecord) -> bytes:
    """The line end that the file had."""
    if letter.format != "csv":
        return b"\n"
    try:
        form = form_of(_last(letter.path), app.pipeline(letter.pipeline), letter.source)
    except ArrivalRejected:  # its reader is no longer declared
        return b"\n"
    return line_end(form.encoding, letter.preamble) if isinstance(form, Csv) else b"\n"


def _kept(letter: DeadLetterRecord) -> Iterator[bytes]:
    """Read the kept file of a rejected arrival. Links are not followed here either: they may lead to anything."""
    what = f"arrival {letter.arrival_id} ({letter.name})"
    if letter.kept_at is None:
        raise NotFound(f"Nothing is kept of {what}: {letter.reason}; drop a regular file in its place.")
    # If the name is not UTF-8, `kept_at` is only a text for people; `path` has the name byte for byte.
    place = Path(letter.kept_at).parent / _last(letter.path)
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise NotFound(f"The file of {what} cannot be read at {letter.kept_at}: {error.strerror}.") from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotFound(f"What is kept of {what} is not a regular file; drop one in its place.")
        while block := file.read(BLOCK):
            yield block
