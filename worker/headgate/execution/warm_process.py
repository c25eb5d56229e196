"""A warm process, as its worker sees it."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from headgate.execution.executed_run import ExecutedRun
from headgate.execution.orders import Order, Run, Stop
from headgate.forking.fork_server import Forked


@dataclass(eq=False)
class Warm:
    """A warm process, as its worker sees it."""

    process: Forked
    connection: Connection
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    executed: ExecutedRun | None = None
    leaving: bool = False
    code: int = 0  # its exit code, once it is gone
    runs: int = 0
    memory: int = 0  # bytes, after the last run
    rests_since: float = 0.0  # monotonic time in seconds of the last run's end; 0 before the first run
    sources: Mapping[str, int] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self.process.pid

    def send(self, order: Order) -> None:
        """Send an order to it; do nothing if it is gone."""
        with suppress(OSError):
            self.connection.send(order)

    def begin(self, order: Order) -> ExecutedRun:
        """Send an order; return the executed run, which reports when it is over."""
        self.runs += isinstance(order, Run)
        self.executed = ExecutedRun(pid=self.pid, ask=lambda: self.send(Stop()))
        self.send(order)
        return self.executed

    def is_outdated(self) -> bool:
        """Return whether a module that it imported has changed since."""
        return any(_changed_at(file) != changed for file, changed in self.sources.items())


def _changed_at(file: str) -> int | None:
    try:
        return Path(file).stat().st_mtime_ns
    except OSError:
        return None
