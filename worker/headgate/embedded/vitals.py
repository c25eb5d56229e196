"""Signs that tell a child that is still starting from one that hangs."""

import os
import time
from contextlib import suppress
from pathlib import Path

from headgate.embedded.child import Child

AT_WORK = 0.005  # of a processor; a waiting Java uses less, and reading a log from disk uses more


class Vitals:
    """The activity of a child: the processor time of its group, and its log.

    Args:
        child: the child to watch.
        group: the id of its process group.

    """

    def __init__(self, child: Child, group: int) -> None:
        self._child = child
        self._group = group
        self._seen = self._look()

    def has_worked(self) -> bool:
        """Return whether it has used the processor or written to its log since the last call."""
        (began, used, size), self._seen = self._seen, self._look()
        now, used_now, size_now = self._seen
        return size_now > size or used_now - used > AT_WORK * (now - began)

    def _look(self) -> tuple[float, float, int]:
        return time.monotonic(), processor_seconds(self._group), self._child.written()


def processor_seconds(group: int) -> float:
    """Return the processor time in seconds that the processes of a group have used."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # the process ended while we looked
            # proc(5): "pid (name) state ppid pgrp ..."; utime and stime are the 12th and 13th after the name
            fields = stat.read_bytes().rpartition(b") ")[2].split()
            if int(fields[2]) == group:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
