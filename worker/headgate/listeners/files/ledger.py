"""The ledger as the listeners use it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from headgate.home import Mark
from headgate.model import NewArrival, Opened, State


class Ended(Protocol):
    """An ended arrival whose bytes are not settled."""

    @property
    def arrival_id(self) -> int:
        """Its number."""

    @property
    def pipeline(self) -> str:
        """Its pipeline's name."""

    @property
    def source(self) -> str:
        """Its source's name."""

    @property
    def name(self) -> str:
        """The name that people see."""

    @property
    def path(self) -> bytes:
        """The path relative to the source's root."""

    @property
    def spool(self) -> str | None:
        """Where the bytes are, relative to the spool, or None if there are none to keep."""

    @property
    def state(self) -> State:
        """A terminal state."""

    @property
    def reason(self) -> str | None:
        """Why it was rejected."""

    @property
    def detail(self) -> str | None:
        """One sentence on the reason."""

    @property
    def finished_at(self) -> datetime:
        """When it ended."""


class Homes(Protocol):
    """The homes of the ledger. Each method may raise `HomeUnavailable`, and all but `look` also `LedgerUnavailable`."""

    def join(self) -> Mark:
        """Serve the folder's home from now on; a folder that was never a home becomes one."""

    def look(self, mark: Mark) -> None:
        """Make sure that the folder is still this home."""

    def beat(self) -> None:
        """Record that a listener still serves the home."""

    def leave(self) -> None:
        """Record that no listener serves the home any more."""


class Ledger(Protocol):
    """The part of the ledger that listeners see: the files of one home.

    Every method may raise `LedgerUnavailable` and `HomeUnavailable`.
    """

    def open(self, arrivals: Sequence[NewArrival]) -> Sequence[Opened]:
        """Open arrivals in one transaction; return the answers in the same order."""

    def seen(self, pipeline: str, source: str, files: Sequence[tuple[bytes, int, int]]) -> set[tuple[bytes, int, int]]:
        """Return those of these files (path, size, mtime_ns) that were opened before."""

    def spooled(self, spools: Sequence[str]) -> set[str]:
        """Return those of these places in the spool that belong to an arrival."""

    def adopt(self, has: Callable[[str, bytes], bool]) -> int:
        """Assign files from before homes existed to this home if `has(place, path)` says that it has their bytes."""

    def found_again(self, arrival_id: int, spool: str) -> bool:
        """Record that the bytes of an arrival given up as lost are in the spool; return False if it was not."""

    def unsettled(self, ids: Sequence[int] | None = None) -> Sequence[Ended]:
        """Return the ended arrivals whose bytes are not settled: all, or those among these ids."""

    def settled(self, places: Mapping[int, Path | None]) -> None:
        """Record where the bytes of ended arrivals are now; None if they are not kept."""
