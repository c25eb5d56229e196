"""Where bytes come to rest once their arrival has ended: the archive, the rejected folder, or nowhere."""

import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import structlog

from headgate.listeners.files.disk import FILE, digest, flush, prune, rename_new
from headgate.listeners.files.ledger import Ended, Ledger
from headgate.listeners.files.source import slug
from headgate.model import Places, Reason, State
from headgate.pipeline import Afterwards, Pipeline

LONGEST_NAME = 255  # bytes, on every Linux file system

log = structlog.get_logger()


class Settler:
    """Brings the bytes of ended arrivals to rest, and tells the ledger where. Safe to do twice, also at once."""

    def __init__(self, *, places: Places, ledger: Ledger, pipelines: Iterable[Pipeline]) -> None:
        self._places = places
        self._ledger = ledger
        self._after: dict[tuple[str, str], Afterwards] = {
            (pipeline.name, folder.name): folder.after for pipeline in pipelines for folder in pipeline.folders
        }
        # Messages that were sent again: what they hold stays in the ledger, with the dead letters they were.
        self._after |= {(pipeline.name, topic.name): "delete" for pipeline in pipelines for topic in pipeline.topics}

    def settle(self, ids: Sequence[int] | None = None) -> int:
        """Settle the ended arrivals among these; all that the ledger knows of if no ids are given.

        One that cannot be settled (a full disk) is logged, and stays for the next time.

        Returns:
            How many were settled.

        Raises:
            LedgerUnavailable: the ledger does not answer; what was moved is found at the next call.

        """
        rested: dict[int, Path | None] = {}
        for ended in self._ledger.unsettled(ids):
            try:
                rested[ended.arrival_id] = self.put(ended)
            except OSError as error:
                log.warning("arrival not settled", action="settle", arrival_id=ended.arrival_id, error=str(error))
        if rested:
            # Before the ledger forgets the place in the spool: after a power cut nobody else would find the bytes.
            for root in (self._places.archive, self._places.rejected, self._places.spool):
                flush([os.fsencode(place.parent) for place in rested.values() if place and place.is_relative_to(root)])
            self._ledger.settled(rested)
        return len(rested)

    def put(self, ended: Ended) -> Path | None:
        """Bring the bytes of one ended arrival to where they belong.

        Returns:
            Where they are now; None if nothing is kept.

        Raises:
            OSError: they cannot be moved; they are in the spool still.

        """
        if ended.state is State.REJECTED:
            self._explain(ended)
        if ended.spool is None:
            return None
        token = os.path.join(os.fsencode(self._places.spool), os.fsencode(ended.spool))
        spooled = os.path.join(token, ended.path)
        targets = self._targets(ended)
        try:
            place = _move(spooled, targets, str(ended.arrival_id)) if targets else None
            if place is None:
                os.unlink(spooled)
        except FileNotFoundError:
            # Moved before: by a process that died before the ledger was told, or by one at the same time.
            place = next((target for target in reversed(targets) if os.path.lexists(target)), None)
        prune(os.path.dirname(spooled), until=os.path.dirname(token))
        return Path(os.fsdecode(place)) if place else None

    def _targets(self, ended: Ended) -> tuple[bytes, ...]:
        """Where the bytes belong, and where else if that name is taken."""
        if ended.state is State.REJECTED:
            folder = self._places.rejected / ended.pipeline / str(ended.arrival_id)
            return (os.path.join(os.fsencode(folder), os.path.basename(ended.path)),)
        # A source that is not declared any more loses nothing: its bytes are kept.
        if self._after.get((ended.pipeline, ended.source), "archive") != "archive":
            return ()
        archive = os.fsencode(self._places.archive / ended.pipeline / slug(ended.source))
        where, name = os.path.split(os.path.join(archive, ended.path))
        ending = f".{ended.arrival_id}".encode()
        return os.path.join(where, name), os.path.join(where, name[: LONGEST_NAME - len(ending)] + ending)

    def _explain(self, ended: Ended) -> None:
        folder = self._places.rejected / ended.pipeline
        folder.mkdir(parents=True, exist_ok=True)
        again = f"\nOnce the cause is mended: headgate dead-letters replay --arrival {ended.arrival_id}\n"
        if ended.reason in {Reason.UNSAFE, Reason.NOT_A_FILE}:
            again = ""  # there is nothing that could be sent again
        # Beside the arrival's folder, not in it: there the name could be the file's own.
        (folder / f"{ended.arrival_id}.why.txt").write_text(
            f"{ended.name}\n"
            f"rejected: {ended.finished_at.isoformat(timespec='seconds')}\n"
            f"source:   {ended.source} of pipeline {ended.pipeline}\n"
            f"reason:   {ended.reason}\n"
            f"detail:   {ended.detail}\n{again}",
            encoding="utf-8",
            errors="backslashreplace",
        )


def _move(source: bytes, targets: tuple[bytes, ...], ticket: str) -> bytes:
    """Rename to the first name that is free. The last name is the arrival's own: what is there is its earlier copy."""
    for target in targets:
        rename = os.rename if target == targets[-1] else rename_new
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            rename(source, target)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with suppress(FileExistsError):
                _carry(source, target, ticket, rename)
                return target
        else:
            return target
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), targets[-1])


def _carry(source: bytes, target: bytes, ticket: str, rename: Callable[[bytes, bytes], None]) -> None:
    """Move between file systems: the target is there in full or not at all.

    Raises:
        FileNotFoundError: it was moved before, or meanwhile.

    """
    # A link or a FIFO has no bytes to carry: the note says what it was.
    if not stat.S_ISREG(os.lstat(source).st_mode):
        os.unlink(source)
        return
    file = os.open(source, FILE)
    try:
        alone = _lock(file)
        if not os.path.samestat(os.fstat(file), os.lstat(source)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), source)
        folder = os.path.dirname(target)
        if alone:
            _remove_left_over(folder, ticket)
        # A name of our own: who settles the same arrival at the same time must not write into our copy.
        copy = os.path.join(folder, f".{ticket}.{uuid4().hex}.copy".encode())
        into = os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            sha256 = digest(file, into)
            os.fsync(into)
            os.lseek(into, 0, os.SEEK_SET)
            if digest(into) != sha256:
                raise OSError(errno.EIO, "the copy is not what was copied", copy)  # noqa: TRY301 - cleaned up below
            rename(copy, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(copy)
            raise
        finally:
            os.close(into)
        flush([folder])  # or a power cut could take the copy's name, after the original's
        os.unlink(source)
    finally:
        os.close(file)


def _lock(file: int) -> bool:
    """Be the only one that carries a file, until it is closed; False where the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def _remove_left_over(folder: bytes, ticket: str) -> None:
    """Remove what carriers of the same arrival left when they were killed."""
    for name in os.listdir(folder):
        if re.fullmatch(rb"\.%s(\.[0-9a-f]{32})?\.copy" % ticket.encode(), name):
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, name))
