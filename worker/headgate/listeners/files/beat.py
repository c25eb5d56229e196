"""The beat of a home: the ledger learns that a listener serves it."""

import threading
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Self

import structlog

from headgate.errors import HomeUnavailable, LedgerUnavailable
from headgate.listeners.files.ledger import Homes

log = structlog.get_logger()


class Beat:
    """Records, from a thread, that the home is served, and at the end that it no longer is.

    Args:
        homes: the ledger's homes; the listener serves one of them.
        every: pause between two beats.

    """

    def __init__(self, homes: Homes, every: timedelta) -> None:
        self._homes = homes
        self._every = every.total_seconds()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="beat", daemon=True)
        self._lost: HomeUnavailable | None = None  # the error of the last beat

    def __enter__(self) -> Self:
        """Start to beat."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop to beat, and leave the home."""
        self._over.set()
        self._thread.join()
        with suppress(HomeUnavailable, LedgerUnavailable):
            self._homes.leave()

    def look(self) -> None:
        """Check that the home is still ours.

        Raises:
            HomeUnavailable: the last beat found that it is not.

        """
        if self._lost is not None:
            raise self._lost

    def _run(self) -> None:
        while not self._over.wait(self._every):
            try:
                self._homes.beat()
            except LedgerUnavailable:
                continue
            except HomeUnavailable as error:
                self._lost = error
            except Exception:
                log.exception("beat failed; tried again", action="beat")
