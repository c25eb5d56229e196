"""A program to run and to keep running, and what it wrote last."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

LOG_LIMIT = 4 * 1024**2  # bytes; a longer log is set aside as `.1` when its child starts
LAST_LINES = 15  # of the log, in the error about a child that did not start


def _at_once() -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A program to run and to keep running."""

    name: str  # what people are shown
    argv: tuple[str, ...]
    log: Path  # where its output goes, appended
    env: Mapping[str, str]  # its whole environment: nothing is inherited
    shares: bool = False  # whether it may be a fork of what has Prefect imported; then argv is `python -m module ...`
    cwd: Path | None = None
    user: str | None = None  # who it runs as, if not us
    ready: Callable[[], bool] = _at_once  # called in a thread until it says yes
    ready_within: float = 60  # seconds
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 10  # seconds from the stop signal to SIGKILL
    tier: int = 0  # what others need is of a lower one, and is stopped after them, whichever was started first

    def open_log(self) -> int:
        """Make the log, or set an overlong one aside; give its size: what comes now starts at that byte."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_name(self.log.name + ".1"))
        self.log.touch(mode=0o600)
        return self.log.stat().st_size

    def words(self, began: int) -> str:
        """Give what stands in its log from byte `began` on."""
        with self.log.open("rb") as log:
            log.seek(began)
            return log.read().decode(errors="replace").strip()

    def last_words(self, began: int) -> list[str]:
        """Give the last lines of its log from byte `began` on."""
        return self.words(began).splitlines()[-LAST_LINES:]
