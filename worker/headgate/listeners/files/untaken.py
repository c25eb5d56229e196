"""Why a file in a watched folder is not taken in: one sentence each, for the log, `doctor` and `why`."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from time import monotonic

import structlog

from headgate.listeners.files.disk import entries_beneath, folder_beneath, has_writer, opened
from headgate.listeners.files.readiness import TEMPORARY, Stamp, marker_of, wanted
from headgate.listeners.files.source import Source
from headgate.pipeline import Marker, Quiet
from headgate.words import duration

GRACE = 10.0  # seconds a file may wait before it is reported
MOST = 10_000  # files to remember
LINES = 100  # most lines in the log per folder and reason

log = structlog.get_logger()


class Why(StrEnum):
    """Why a file is not taken in."""

    HIDDEN = "hidden"
    TEMPORARY = "temporary"
    PATTERN = "pattern"
    DEEP = "deep"
    MARKER = "marker"
    OPEN = "open"
    MOVING = "moving"
    UNREADABLE = "unreadable"
    OVERDUE = "overdue"  # for no known reason


def name_refused(source: Source, path: bytes) -> Why | None:
    """Return why a file with this path is never taken in, or None if its name is wanted."""
    *folders, name = path.split(b"/")
    if any(part.startswith(b".") for part in (*folders, name)):
        return Why.HIDDEN
    if folders and not source.folder.recursive:
        return Why.DEEP
    if name.startswith(b"~$") or name.lower().endswith(TEMPORARY):
        return Why.TEMPORARY
    return None if wanted(name, source.folder) else Why.PATTERN


def refused(source: Source, path: bytes) -> tuple[Why, str] | None:
    """Return why a file is not taken in now, with one sentence, or None if nothing prevents it.

    Args:
        source: the watched folder.
        path: relative to it.

    """
    why = name_refused(source, path)
    if why is None:
        try:
            why = _state(source, path)
        except OSError as error:
            return Why.UNREADABLE, f"it cannot be read ({error.strerror}); give user {os.getuid()} the right to."
    return None if why is None else (why, sentence(source, path, why))


def untaken(source: Source, *, older_than: float = GRACE, overdue: float = 90) -> Iterator[tuple[str, Why, str]]:
    """Yield the files of a watched folder that are not taken in: the path, the reason, and one sentence.

    Args:
        source: the watched folder.
        older_than: seconds; younger files are left out, because they may still be taken in at any moment.
        overdue: seconds after which a file should have been taken in if nothing prevents it.

    """
    # Files in hidden folders are not yielded: they are not meant to be taken in.
    for path, entry in entries_beneath(source.root, b"", recursive=True):
        with suppress(OSError):
            if entry.is_dir(follow_symlinks=False) or _is_marker(source, path):
                continue
            age = time.time() - entry.stat(follow_symlinks=False).st_ctime
            if age < older_than:
                continue
            if found := refused(source, path):
                yield os.fsdecode(path), *found
            elif age > overdue and source.folder.after != "leave":
                yield os.fsdecode(path), Why.OVERDUE, f"nothing keeps it, and it has been there for {duration(age)}."


def sentence(source: Source, path: bytes, why: Why) -> str:  # noqa: PLR0911 - one for each reason
    """Return one sentence for people: what prevents the file from being taken in, and what to do."""
    name = os.fsdecode(os.path.basename(path))
    folder = source.folder
    match why:
        case Why.HIDDEN:
            return "its path has a name that begins with a dot: hidden files are never taken in; rename it."
        case Why.TEMPORARY:
            return "its name is that of a temporary file; rename it once it is complete."
        case Why.PATTERN:
            return f"its name matches none of {', '.join(folder.globs)}; rename it, or add a pattern to the Folder."
        case Why.DEEP:
            return "it is in a folder below the watched one, and recursive=False; move it up."
        case Why.MARKER:
            marker = os.fsdecode(marker_of(name.encode(errors="surrogateescape"), folder.ready) or b"")
            return f"its marker {marker} is missing; create it once the file is complete."
        case Why.OPEN:
            who = ", ".join(writers(os.path.join(source.root, path))) or "a process"
            return f"{who} has it open for writing; it is taken in once that closes it."
        case Why.MOVING:
            seconds = folder.ready.seconds if isinstance(folder.ready, Quiet) else 0
            return f"it changed less than {seconds:g} s ago; it is taken in once it stands still for that long."
        case _:
            return "it cannot be read."


def writers(path: bytes) -> list[str]:
    """Return the names of the processes that have a file open for writing, as far as we may see them."""
    target = os.stat(path)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    here = descriptor.stat()
                    if (here.st_dev, here.st_ino) == (target.st_dev, target.st_ino) and _writes(
                        process, descriptor.name
                    ):
                        name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
                        found.append(f"process {process.name} ({name})")
                        break
    return found


class Untaken:
    """Logs once for each file that it is not taken in, and why."""

    def __init__(self) -> None:
        self._since: dict[tuple[Source, bytes, Why], float] = {}
        self._told: set[tuple[Source, bytes, Why]] = set()
        self._lines: Counter[tuple[Source, Why]] = Counter()

    def note_name(self, source: Source, path: bytes, entry: "os.DirEntry[str]") -> None:
        """Note an entry whose name is not wanted."""
        why = name_refused(source, path)
        if why is not None and not _is_marker(source, path) and not entry.is_dir(follow_symlinks=False):
            self.note(source, path, why)

    def note(self, source: Source, path: bytes, why: Why) -> None:
        """Note a file that is not taken in now; it is logged once this has lasted for GRACE."""
        key = source, path, why
        if key in self._told:
            return
        if len(self._since) >= MOST:
            self._since.clear()
        if monotonic() - self._since.setdefault(key, monotonic()) < GRACE:
            return
        del self._since[key]
        if len(self._told) >= MOST:
            self._told.clear()
        self._told.add(key)
        self._lines[source, why] += 1
        if self._lines[source, why] > LINES:
            return
        if self._lines[source, why] == LINES:
            log.warning(
                "no more lines on files like the next; `headgate doctor` counts them", action="look", why=why.value
            )
        with suppress(OSError):
            log.warning(
                "file not taken in",
                action="look",
                pipeline=source.pipeline,
                source=source.name,
                file=os.fsdecode(path).encode(errors="backslashreplace").decode(),
                why=sentence(source, path, why),
            )


def _state(source: Source, path: bytes) -> Why | None:
    folder, name = os.path.split(path)
    with folder_beneath(source.root, folder) as descriptor:
        stamp = Stamp.of(os.lstat(name, dir_fd=descriptor))
        if marker := marker_of(name, source.folder.ready):
            try:
                os.lstat(marker, dir_fd=descriptor)
            except FileNotFoundError:
                return Why.MARKER
        if stamp.regular:
            with opened(name, descriptor) as file:
                if has_writer(file):
                    return Why.OPEN
    rule = source.folder.ready
    if isinstance(rule, Quiet) and time.time() - stamp.ctime_ns / 1e9 < rule.seconds:
        return Why.MOVING
    return None


def _is_marker(source: Source, path: bytes) -> bool:
    rule = source.folder.ready
    return isinstance(rule, Marker) and path.endswith(os.fsencode(rule.suffix))


def _writes(process: Path, descriptor: str) -> bool:
    """Return whether a process opened a file descriptor for writing."""
    flags = next(
        line.split()[1]
        for line in (process / "fdinfo" / descriptor).read_text().splitlines()
        if line.startswith("flags:")
    )
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY
