"""Settling: the bytes of ended arrivals go to the archive or the rejected folder, or are deleted."""

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
    """Settles the bytes of ended arrivals, and tells the ledger where they are. Safe to repeat, even in parallel."""

    def __init__(self, *, places: Places, ledger: Ledger, pipelines: Iterable[Pipeline]) -> None:
        self._places = places
        self._ledger = ledger
        self._after: dict[tuple[str, str], Afterwards] = {
            (pipeline.name, folder.name): folder.after for pipeline in pipelines for folder in pipeline.folders
        }
        # Files of messages that were sent again: the ledger keeps their content, with the original dead letters.
        self._after |= {(pipeline.name, topic.name): "delete" for pipeline in pipelines for topic in pipeline.topics}

    def settle(self, ids: Sequence[int] | None = None) -> int:
        """Settle the ended arrivals among these ids, or all that the ledger has if no ids are given.

        An arrival that cannot be settled (a full disk) is logged, and left for the next call.

        Returns:
            How many were settled.

        Raises:
            LedgerUnavailable: the ledger does not answer; the next call finds the bytes that were moved.

        """
        rested: dict[int, Path | None] = {}
        for ended in self._ledger.unsettled(ids):
            try:
                rested[ended.arrival_id] = self.put(ended)
            except OSError as error:
                log.warning("arrival not settled", action="settle", arrival_id=ended.arrival_id, error=str(error))
        if rested:
            # Flush before the ledger forgets the place in the spool: otherwise a power cut could lose the bytes.
            for root in (self._places.archive, self._places.rejected, self._places.spool):
                flush([os.fsencode(place.parent) for place in rested.values() if place and place.is_relative_to(root)])
            self._ledger.settled(rested)
        return len(rested)

    def put(self, ended: Ended) -> Path | None:
        """Move the bytes of one ended arrival to where they belong, or delete them.

        Returns:
            Where they are now, or None if they are not kept.

        Raises:
            OSError: the bytes cannot be moved; they are still in the spool.

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
            # Already moved: by a process that died before it told the ledger, or by a concurrent one.
            place = next((target for target in reversed(targets) if os.path.lexists(target)), None)
        prune(os.path.dirname(spooled), until=os.path.dirname(token))
        return Path(os.fsdecode(place)) if place else None

    def _targets(self, ended: Ended) -> tuple[bytes, ...]:
        """Return where the bytes belong, and other places if that name is taken; nothing if they are deleted."""
        if ended.state is State.REJECTED:
            folder = self._places.rejected / ended.pipeline / str(ended.arrival_id)
            return (os.path.join(os.fsencode(folder), os.path.basename(ended.path)),)
        # The bytes of a source that is no longer declared are kept.
        if self._after.get((ended.pipeline, ended.source), "archive") != "archive":
            return ()
        archive = os.fsencode(self._places.archive / ended.pipeline / slug(ended.source))
        where, name = os.path.split(os.path.join(archive, ended.path))
        # A later file may be called like an earlier one with its number; no file is called like a token.
        endings = f".{ended.arrival_id}", f".{ended.arrival_id}.{os.path.basename(str(ended.spool))}"
        names = [name[: LONGEST_NAME - len(ending)] + ending.encode() for ending in endings]
        return tuple(os.path.join(where, each) for each in (name, *names))

    def _explain(self, ended: Ended) -> None:
        folder = self._places.rejected / ended.pipeline
        folder.mkdir(parents=True, exist_ok=True)
        again = f"\nOnce the cause is mended: headgate dead-letters replay --arrival {ended.arrival_id}\n"
        if ended.reason in {Reason.UNSAFE, Reason.NOT_A_FILE}:
            again = ""  # no bytes exist that could be sent again
        # Beside the arrival's folder, because in it the arrival's own file could have this name.
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
    """Rename to the first free name. The last name is unique to the arrival, so it replaces only its earlier copy."""
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
    """Move a file between file systems: the target is complete, or does not exist.

    Raises:
        FileNotFoundError: the file was already moved, or is moved meanwhile.

    """
    # A link or a FIFO has no bytes to move: the note says what it was.
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
        # A unique name: another process that settles the same arrival must not write into our copy.
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
        flush([folder])  # otherwise, after a power cut, the original is gone and the copy may have lost its name
        os.unlink(source)
    finally:
        os.close(file)


def _lock(file: int) -> bool:
    """Lock a file against other processes that move it, until it is closed; return False if it cannot be locked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def _remove_left_over(folder: bytes, ticket: str) -> None:
    """Remove the copies that killed processes left of the same arrival."""
    for name in os.listdir(folder):
        if re.fullmatch(rb"\.%s(\.[0-9a-f]{32})?\.copy" % ticket.encode(), name):
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, name))
