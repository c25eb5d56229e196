"""The watchdog: ends the process if a call never returns; its supervisor starts it again."""

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
    """Dump the stack of every thread, and end the process: a call that hangs inside a library cannot be interrupted."""
    log.critical("a call to Kafka did not return; the process ends, to be started again", action="listen", doing=doing)
    faulthandler.dump_traceback(sys.stderr)
    os._exit(70)


class Watchdog:
    """Watches over the calls of one thread.

    Args:
        patience: how many seconds a call may take, counted in ticks of a separate thread, so that the time for which
            the whole process was suspended does not count.
        bite: called when a call takes longer, with a description of the call.

    """

    def __init__(self, *, patience: float, bite: Callable[[str], None] = end_process) -> None:
        self._patience = patience
        self._bite = bite
        self._doing: str | None = None
        self._waited = 0.0
        self._stop = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Run the thread that watches."""
        thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    @contextmanager
    def over(self, doing: str) -> Iterator[None]:
        """Watch over the block."""
        self.begin(doing)
        try:
            yield
        finally:
            self.end()

    def begin(self, doing: str) -> None:
        """Watch over everything from now on until `end`."""
        self._waited = 0.0
        self._doing = doing

    def end(self) -> None:
        """Stop watching until the next `begin`."""
        self._doing = None

    def _watch(self) -> None:
        while not self._stop.wait(TICK):
            self.tick()

    def tick(self) -> None:
        """Count one tick, and bite if the call has taken too long."""
        doing = self._doing
        self._waited += TICK
        if doing is not None and self._waited > self._patience:
            self._bite(doing)
            self._doing = None
