"""A program to run and to keep running, and the last lines of its log."""

import os
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

LOG_LIMIT = 4 * 1024**2  # bytes; a longer log is set aside as `.1`
WORDS_LIMIT = 64 * 1024  # bytes that are read of the end of a log
LAST_LINES = 15  # of the log, in the error about a child that did not start


def _at_once() -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A program to run and to keep running."""

    name: str  # shown to people
    argv: tuple[str, ...]
    log: Path  # where its output goes, appended
    env: Mapping[str, str]  # its whole environment: nothing is inherited
    shares: bool = False  # whether it may be a fork of a process with Prefect imported; argv: `python -m module ...`
    cwd: Path | None = None
    user: str | None = None  # the user it runs as, if not our own
    ready: Callable[[], bool] = _at_once  # called in a thread until it returns True
    ready_within: float = 60  # seconds it may be idle before it is ready; then it is restarted
    permanent: frozenset[int] = frozenset()  # exit codes that mean another start would fail the same way
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 10  # seconds from the stop signal to SIGKILL
    tier: int = 0  # a child that others need has a lower tier and is stopped after them, whatever the start order

    def open_log(self) -> int:
        """Create the log, or set an overlong one aside; return its size, the byte at which new output starts."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.trim_log()
        self.log.touch(mode=0o600)
        return self.log.stat().st_size

    def trim_log(self) -> None:
        """Copy an overlong log to `.1` and empty it: its child may write to it, and goes on at its new end.

        What the child writes between the copy and the emptying is lost, as with `copytruncate` of logrotate.
        """
        if self.written() > LOG_LIMIT:
            shutil.copy(self.log, self.log.with_name(self.log.name + ".1"))
            os.truncate(self.log, 0)

    def written(self) -> int:
        """Return the size of its log in bytes."""
        return self.log.stat().st_size if self.log.exists() else 0

    def words(self, began: int) -> str:
        """Return its log from byte `began` on, or the end of that if it is long."""
        if not self.log.exists():  # somebody deleted it
            return ""
        size = self.written()
        with self.log.open("rb") as log:
            log.seek(max(0 if began > size else began, size - WORDS_LIMIT))  # it was emptied if it is shorter now
            return log.read().decode(errors="replace").strip()

    def last_words(self, began: int) -> list[str]:
        """Return the last lines of its log from byte `began` on."""
        return self.words(began).splitlines()[-LAST_LINES:]
