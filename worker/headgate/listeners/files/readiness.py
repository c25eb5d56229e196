"""When a file may be taken in. Pure decisions on what `lstat` said; nothing here touches the disk."""

import os
import stat
from dataclasses import dataclass

from headgate.pipeline import Folder, Marker, Quiet

TEMPORARY = (b"~", b".tmp", b".part", b".partial", b".crdownload", b".swp", b".lock", b".lck")
SHORTEST_WAIT = 0.05  # seconds; looking more often than this at a file with a writer would only burn the processor


@dataclass(frozen=True, slots=True)
class Stamp:
    """What must stand still for a file to be the same, unchanged file."""

    device: int
    inode: int
    mode: int
    size: int  # bytes
    mtime_ns: int
    ctime_ns: int  # the kernel's own clock of changes: a writer that sets mtime back cannot hide

    @classmethod
    def of(cls, found: os.stat_result) -> "Stamp":
        """Read the stamp off what `lstat` or `fstat` said."""
        if stat.S_ISDIR(found.st_mode):
            # A folder's size and times change with what is in it, and say nothing about the folder.
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
    """A file that was seen, and since when it stands still."""

    stamp: Stamp
    seen: float  # seconds on the monotonic clock
    since: float  # the same; before `seen` if that is what its modification time says

    @property
    def told(self) -> bool:
        """Whether it stands still by its own word, and not under our eyes."""
        return self.since < self.seen


def sight(before: Sighting | None, stamp: Stamp, now: float, age: float = 0) -> Sighting:
    """Keep the earlier sighting if nothing changed since, else begin to wait anew.

    Args:
        before: the earlier sighting.
        stamp: what was seen now.
        now: seconds on the monotonic clock.
        age: seconds since the file was modified, by its own word. A file that was moved in may have stood still for
            long; that is to be believed only where the kernel says that nobody has it open for writing.

    """
    if before is not None and before.stamp == stamp:
        return before
    return Sighting(stamp, now, now - max(0, age) if stamp.regular else now)


def due(rule: Quiet | Marker, sighting: Sighting) -> float:
    """When a file may be taken in, on the monotonic clock, if it stands still until then and has no writer."""
    return sighting.since + (rule.seconds if isinstance(rule, Quiet) else 0)


def put_off(rule: Quiet | Marker, sighting: Sighting, now: float) -> Sighting:
    """Wait anew because somebody is writing to the file."""
    wait = rule.seconds if isinstance(rule, Quiet) else 0
    return Sighting(sighting.stamp, sighting.seen, now + max(0, SHORTEST_WAIT - wait))


def ignored(name: bytes, rule: Quiet | Marker) -> bool:
    """Whether a name is never taken in, whatever the patterns: hidden, temporary, a lock or a marker."""
    return (
        name.startswith((b".", b"~$"))
        or name.lower().endswith(TEMPORARY)
        or (isinstance(rule, Marker) and name.endswith(os.fsencode(rule.suffix)))
    )


def wanted(name: bytes, folder: Folder) -> bool:
    """Whether a file of this base name is taken in from this folder."""
    return not ignored(name, folder.ready) and folder.takes(os.fsdecode(name))


def marker_of(path: bytes, rule: Quiet | Marker) -> bytes | None:
    """Name the marker that must stand beside a file; None if the rule asks for none."""
    return path + os.fsencode(rule.suffix) if isinstance(rule, Marker) else None


def marked_by(path: bytes, rule: Quiet | Marker) -> bytes:
    """Name the file that a marker speaks of; anything else speaks of itself."""
    return path.removesuffix(os.fsencode(rule.suffix)) if isinstance(rule, Marker) else path
