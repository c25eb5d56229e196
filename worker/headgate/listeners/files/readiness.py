"""When a file may be taken in: pure functions of the results of `lstat`; nothing here touches the disk."""

import os
import stat
from dataclasses import dataclass

from headgate.pipeline import Folder, Marker, Quiet

TEMPORARY = (b"~", b".tmp", b".part", b".partial", b".crdownload", b".swp", b".lock", b".lck")
SHORTEST_WAIT = 0.05  # seconds; checking a file with a writer more often would only burn CPU


@dataclass(frozen=True, slots=True)
class Stamp:
    """What must stay the same for a file to count as unchanged."""

    device: int
    inode: int
    mode: int
    size: int  # bytes
    mtime_ns: int
    ctime_ns: int  # set by the kernel at each change, so it also shows a writer that sets mtime back

    @classmethod
    def of(cls, found: os.stat_result) -> "Stamp":
        """Make the stamp from a result of `lstat` or `fstat`."""
        if stat.S_ISDIR(found.st_mode):
            # A folder's size and times change with its content, and say nothing about the folder itself.
            return cls(found.st_dev, found.st_ino, found.st_mode, 0, 0, 0)
        return cls(found.st_dev, found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    @property
    def regular(self) -> bool:
        """Whether it is a regular file, the only thing that is read."""
        return stat.S_ISREG(self.mode)

    @property
    def folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)


@dataclass(frozen=True, slots=True)
class Sighting:
    """A file that was seen, and how long it has been unchanged."""

    stamp: Stamp
    seen: float  # seconds on the monotonic clock
    since: float  # unchanged since, on the same clock; before `seen` if its modification time says so

    @property
    def told(self) -> bool:
        """Whether only its modification time says how long it has been unchanged; we did not watch it."""
        return self.since < self.seen


def sight(before: Sighting | None, stamp: Stamp, now: float, age: float = 0) -> Sighting:
    """Return the earlier sighting if nothing has changed since; otherwise start the wait again.

    Args:
        before: the earlier sighting.
        stamp: the stamp seen now.
        now: seconds on the monotonic clock.
        age: seconds since the file's modification time. A file that was moved in may have been unchanged for long, but
            this counts only if the kernel says that no process has it open for writing.

    """
    if before is not None and before.stamp == stamp:
        return before
    return Sighting(stamp, now, now - max(0, age) if stamp.regular else now)


def due(rule: Quiet | Marker, sighting: Sighting) -> float:
    """Return when a file may be taken in, on the monotonic clock, if it is unchanged until then and has no writer."""
    return sighting.since + (rule.seconds if isinstance(rule, Quiet) else 0)


def put_off(rule: Quiet | Marker, sighting: Sighting, now: float) -> Sighting:
    """Start the wait again, because a process is writing to the file."""
    wait = rule.seconds if isinstance(rule, Quiet) else 0
    return Sighting(sighting.stamp, sighting.seen, now + max(0, SHORTEST_WAIT - wait))


def ignored(name: bytes, rule: Quiet | Marker) -> bool:
    """Return whether a name is never taken in, whatever the patterns: hidden, temporary, a lock or a marker."""
    return (
        name.startswith((b".", b"~$"))
        or name.lower().endswith(TEMPORARY)
        or (isinstance(rule, Marker) and name.endswith(os.fsencode(rule.suffix)))
    )


def wanted(name: bytes, folder: Folder) -> bool:
    """Return whether a file of this base name is taken in from this folder."""
    return not ignored(name, folder.ready) and folder.takes(os.fsdecode(name))


def marker_of(path: bytes, rule: Quiet | Marker) -> bytes | None:
    """Return the marker that must be beside a file, or None if the rule requires none."""
    return path + os.fsencode(rule.suffix) if isinstance(rule, Marker) else None


def marked_by(path: bytes, rule: Quiet | Marker) -> bytes:
    """Return the file that a marker belongs to; for any other path, the path itself."""
    return path.removesuffix(os.fsencode(rule.suffix)) if isinstance(rule, Marker) else path
