"""The watchdog: a call that never returns ends the process, and whoever supervises it starts it again."""

import faulthandler
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

TICK = 1.0  # seconds

log = structlog.get_logger()


def end_process(doing: str) -> None:
    """Show where every thread is, and end the process: a call that hangs inside a library cannot be interrupted."""
    log.critical("a call to Kafka did not return; the process ends, to be started again", action="listen", doing=doing)
    faulthandler.dump_traceback(sys.stderr)
    os._exit(70)


class Watchdog:
    """Watches over calls of one thread.

    Args:
        patience: so many seconds a call may take. They are counted in ticks of a thread of our own, so a process that
            was stopped for a while is not ended for it.
        bite: called, with what was being done, when a call took longer.

    """

    def __init__(self, *, patience: float, bite: Callable[[str], None] = end_process) -> None:
        self._patience = patience
        self._bite = bite
        self._doing: str | None = None
        self._waited = 0.0
        self._stop = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch from a thread of our own."""
        thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    @contextmanager
    def over(self, doing: str) -> Iterator[None]:
        """Watch over what is done inside."""
        self.begin(doing)
        try:
            yield
        finally:
            self.end()

    def begin(self, doing: str) -> None:
        """Watch over what is done from now on, until `end`."""
        self._waited = 0.0
        self._doing = doing

    def end(self) -> None:
        """Watch over nothing."""
        self._doing = None

    def _watch(self) -> None:
        while not self._stop.wait(TICK):
            self.tick()

    def tick(self) -> None:
        """Count a second, and bite if it was one too many."""
        doing = self._doing
        self._waited += TICK
        if doing is not None and self._waited > self._patience:
            self._bite(doing)
            self._doing = None
