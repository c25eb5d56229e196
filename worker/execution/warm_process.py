"""A warm process, as its worker sees it."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from worker.execution.attempt import Attempt
from worker.execution.orders import Order, Run, Stop


@dataclass(eq=False)
class Warm:
    """A warm process, as its worker sees it."""

    process: ForkServerProcess
    connection: Connection
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    attempt: Attempt | None = None
    leaving: bool = False
    runs: int = 0
    memory: int = 0  # bytes, after the last run
    rests_since: float = 0.0  # monotonic seconds of the last run's end; 0 before the first
    sources: Mapping[str, int] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid or 0

    def send(self, order: Order) -> None:
        """Say something to it; one that is gone hears nothing."""
        with suppress(OSError):
            self.connection.send(order)

    def begin(self, order: Order) -> Attempt:
        """Order something; the attempt tells when it is over."""
        self.runs += isinstance(order, Run)
        self.attempt = Attempt(pid=self.pid, ask=lambda: self.send(Stop()))
        self.send(order)
        return self.attempt

    def is_outdated(self) -> bool:
        """Whether a module that it has imported was changed since."""
        return any(_changed_at(file) != changed for file, changed in self.sources.items())


def _changed_at(file: str) -> int | None:
    try:
        return Path(file).stat().st_mtime_ns
    except OSError:
        return None
