"""The spool: bytes of arrivals on their way, each in a token folder of its own that mirrors its path in the inbox.

The place is `<spool>/<pipeline>/<source>/<token>/<path in the inbox>`. A file comes here with one atomic rename, so it
is either in the inbox or here, and its place alone tells what to open in the ledger. A rename cannot cross file
systems, so a file on another one is first renamed into an *outpost*, a hidden folder beside it. That makes it ours just
as atomically, and it is copied to the spool afterwards.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

import structlog

from headgate.errors import FileUnsettled
from headgate.listeners.files.disk import (
    digest,
    entries_beneath,
    flush,
    folder_beneath,
    has_writer,
    opened,
    prune,
)
from headgate.listeners.files.readiness import Stamp, marker_of, wanted
from headgate.listeners.files.source import Source
from headgate.model import FilePosition, Places, Reason

OUTPOST = b".headgate-outpost"
COPY = b".copy"  # an unfinished copy; hidden, so no file that is taken in can have this name

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Held:
    """A file that is not in the ledger yet: taken out of the inbox, or read where it is."""

    source: Source
    path: bytes  # relative to the source's root
    token: str
    root: bytes  # the spool; the source's root for a file in an outpost or still in the inbox
    inside: bytes  # where it is, relative to `root`
    noticed: datetime | None = None  # when it was first seen in this state; None if an earlier process took it in

    @property
    def place(self) -> str:
        """The token folder of its bytes, now or later, relative to the spool."""
        return f"{self.source.place}/{self.token}"

    @property
    def moved(self) -> bool:
        """Whether it has left the inbox."""
        return (self.root, self.inside) != (self.source.root, self.path)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A file whose bytes can no longer change, because only we have them; or something that is not a regular file."""

    held: Held
    position: FilePosition
    problem: Reason | None = None  # why it is rejected unread
    kind: str = "regular file"

    @property
    def kept(self) -> bool:
        """Whether any of it is in the spool."""
        return self.held.moved or self.problem is None


class Spool:
    """Takes files out of the inbox. It does not know the ledger."""

    def __init__(self, *, places: Places) -> None:
        self.root = os.fsencode(places.spool)

    def take(self, source: Source, path: bytes) -> Held:
        """Take a file out of the inbox with one atomic rename, then remove its marker.

        Folders, and the files of a source with `after="leave"`, stay where they are.

        Raises:
            OSError: the file no longer exists, or cannot be moved and stays where it is.

        """
        held = Held(source, path, uuid4().hex, source.root, path)
        folder, name = os.path.split(path)
        with folder_beneath(source.root, folder) as inbox:
            found = os.lstat(name, dir_fd=inbox)
            if source.folder.after == "leave" or stat.S_ISDIR(found.st_mode):
                return held
            spooled = Held(source, path, held.token, self.root, os.path.join(os.fsencode(held.place), path))
            target = os.path.join(self.root, spooled.inside)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            try:
                os.rename(name, target, src_dir_fd=inbox)
            except OSError as error:
                # A network file system may report an error of a rename that took place: what is in the spool is ours,
                # and may be the only copy. So only empty folders are removed.
                if not os.path.lexists(target):
                    self._prune(held)
                    if error.errno != errno.EXDEV:
                        raise
                    if not stat.S_ISREG(found.st_mode):
                        return held
                    spooled = self._to_outpost(held, inbox)
            if marker := marker_of(name, source.folder.ready):
                # Now, not after the commit: a marker left by a crash would declare a later, half-written file complete.
                _remove_marker(marker, inbox)
        return spooled

    def _to_outpost(self, held: Held, inbox: int) -> Held:
        folder, name = os.path.split(held.path)
        inner = os.path.join(OUTPOST, held.token.encode())
        with suppress(FileExistsError):
            os.mkdir(OUTPOST, 0o700, dir_fd=inbox)
        with opened(OUTPOST, inbox, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW) as outpost:
            os.mkdir(held.token, 0o700, dir_fd=outpost)
            os.rename(name, os.path.join(held.token.encode(), name), src_dir_fd=inbox, dst_dir_fd=outpost)
        return Held(held.source, held.path, held.token, held.source.root, os.path.join(folder, inner, name))

    def seal(self, held: Held) -> Sealed:
        """Make sure that nobody else can change a taken file, and hash it.

        A file that was renamed into the spool and has no other hard link is hashed in place; any other is copied into
        the spool.

        Raises:
            FileUnsettled: a process still writes to it, or it changed meanwhile; try again later.
            OSError: the file cannot be read, or there is no room for the copy.

        """
        folder, name = os.path.split(held.inside)
        with folder_beneath(held.root, folder) as descriptor:
            found = os.lstat(name, dir_fd=descriptor)
            if not stat.S_ISREG(found.st_mode):
                problem = Reason.UNSAFE if stat.S_ISLNK(found.st_mode) else Reason.NOT_A_FILE
                return Sealed(held, FilePosition(held.path, 0, 0, b""), problem, _kind(found.st_mode))
            with opened(name, descriptor) as file:
                before = os.fstat(file)
                if has_writer(file):
                    raise FileUnsettled(f"{held.place}: somebody still writes to {name!r}; it is looked at again.")
                copied = held.root != self.root or before.st_nlink > 1
                sha256 = self._copy(held, file, before) if copied else digest(file)
                if has_writer(file) or Stamp.of(os.fstat(file)) != Stamp.of(before):
                    raise FileUnsettled(f"{held.place}: {name!r} changed while it was read; it is looked at again.")
            if copied:
                os.replace(self._at(held, COPY), self._at(held, held.path))
        return Sealed(held, FilePosition(held.path, before.st_size, before.st_mtime_ns, sha256))

    def _copy(self, held: Held, file: int, found: os.stat_result) -> bytes:
        copy = self._at(held, COPY)
        os.makedirs(os.path.dirname(self._at(held, held.path)), exist_ok=True)
        with open(copy, "wb", buffering=0) as into:
            sha256 = digest(file, into.fileno())
        os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))
        return sha256

    def flush(self, sealed: Iterable[Sealed]) -> None:
        """Write sealed files to disk: the ledger must never know bytes that a power cut could still lose."""
        places = []
        for one in sealed:
            if one.kept:
                file = self._at(one.held, one.held.path)
                folder = os.path.dirname(file)
                places += [file] if one.problem is None else []
                while folder.startswith(self.root):
                    places.append(folder)
                    folder = os.path.dirname(folder)
        flush(places)

    def acknowledge(self, held: Held) -> None:
        """Remove a file's original from its outpost, once the ledger knows its copy in the spool, or it is settled."""
        if held.moved and held.root != self.root:
            place = os.path.join(held.root, held.inside)
            with suppress(FileNotFoundError):
                os.unlink(place)
            prune(os.path.dirname(place), until=os.path.dirname(os.path.join(held.root, held.path)))

    def drop(self, held: Held) -> None:
        """Remove a file and its token folder from the spool."""
        for name in (COPY, held.path):
            with suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(self._at(held, name))
        self._prune(held)

    def _prune(self, held: Held) -> None:
        prune(os.path.dirname(self._at(held, held.path)), until=os.path.join(self.root, os.fsencode(held.source.place)))

    def has(self, place: str, path: bytes) -> bool:
        """Return whether a file is in the spool."""
        return os.path.lexists(os.path.join(self.root, os.fsencode(place), path))

    def strays(self, sources: Iterable[Source]) -> Iterator[str]:
        """Yield the places of files that belong to none of these sources."""
        declared = {source.place for source in sources}
        for pipeline in _folders(self.root):
            for source in _folders(os.path.join(self.root, pipeline)):
                place = os.fsdecode(os.path.join(pipeline, source))
                if place not in declared and not source.startswith(b"."):
                    yield from (
                        f"{place}/{os.fsdecode(token)}"
                        for token in _folders(os.path.join(self.root, os.fsencode(place)))
                    )

    def left_over(self, sources: Iterable[Source]) -> Iterator[Held]:
        """Yield the files that an earlier process took in: everything in the spool and in outposts.

        Call this before taking anything in, because it also removes unfinished copies.
        """
        sources = list(sources)
        for source in sources:
            tokens = {held.token: held for held in self._spooled(source)}
            # If a file is in both, use the outpost's, the original: a crash may have cut the copy short.
            tokens |= {held.token: held for held in _outposts(source) if not _others(held, sources)}
            for held in tokens.values():
                if marker := marker_of(held.path, source.folder.ready):
                    beside = os.path.join(source.root, held.path)
                    if not os.path.lexists(beside):  # otherwise the marker belongs to the newer file
                        with suppress(OSError):
                            os.unlink(os.path.join(source.root, marker))
                yield held

    def _spooled(self, source: Source) -> Iterator[Held]:
        base = os.path.join(self.root, os.fsencode(source.place))
        for token in os.listdir(base) if os.path.isdir(base) else ():
            found = None
            for path, entry in entries_beneath(os.path.join(base, token), b"", recursive=True):
                if path == COPY:
                    os.unlink(os.path.join(base, token, path))
                elif not entry.is_dir(follow_symlinks=False):
                    found = path
            if found is not None:
                inside = os.path.join(os.fsencode(source.place), token, found)
                yield Held(source, found, token.decode(), self.root, inside)
            else:
                _prune_all(os.path.join(base, token))

    def _at(self, held: Held, path: bytes) -> bytes:
        return os.path.join(self.root, os.fsencode(held.place), path)


def _outposts(source: Source) -> Iterator[Held]:
    for place, entry in entries_beneath(source.root, b"", recursive=source.folder.recursive):
        folder, name = os.path.split(place)
        if name != OUTPOST or not entry.is_dir(follow_symlinks=False):
            continue
        for inner, file in entries_beneath(source.root, place, recursive=True):
            token, name = inner.split(b"/")[-2:]
            if not file.is_dir(follow_symlinks=False):
                yield Held(source, os.path.join(folder, name), token.decode(), source.root, inner)


def _others(held: Held, sources: Sequence[Source]) -> bool:
    """Return whether a file in an outpost was taken in for another source, which watches the same folder."""
    name, place = os.path.basename(held.path), os.path.join(held.root, held.path)
    return not wanted(name, held.source.folder) and any(
        wanted(name, other.folder) for other in sources if place.startswith(os.path.join(other.root, b""))
    )


def _remove_marker(marker: bytes, inbox: int) -> None:
    """Remove a marker; if that fails, only log it, because its file is in the spool already."""
    try:
        os.unlink(marker, dir_fd=inbox)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("marker not removed; remove it by hand", action="take", marker=repr(marker), error=str(error))


def _folders(place: bytes) -> list[bytes]:
    try:
        with os.scandir(place) as entries:
            return [os.fsencode(entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _prune_all(folder: bytes) -> None:
    for path, folders, _ in os.walk(folder, topdown=False):
        for name in folders:
            with suppress(OSError):
                os.rmdir(os.path.join(path, name))
    with suppress(OSError):
        os.rmdir(folder)


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "folder",
        stat.S_IFLNK: "symbolic link",
        stat.S_IFIFO: "FIFO",
        stat.S_IFSOCK: "socket",
        stat.S_IFCHR: "device",
        stat.S_IFBLK: "device",
    }
    return kinds.get(stat.S_IFMT(mode), "no regular file")
