"""What the listeners need of the ledger."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from headgate.home import Mark
from headgate.model import NewArrival, Opened, State


class Ended(Protocol):
    """An ended arrival whose bytes have not come to rest."""

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
        """What people are shown."""

    @property
    def path(self) -> bytes:
        """Relative to the source's root."""

    @property
    def spool(self) -> str | None:
        """Where the bytes are, relative to the spool; None if there are none to keep."""

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
    """The homes of the ledger. Every method may raise `HomeUnavailable`, and those but `look` `LedgerUnavailable`."""

    def join(self) -> Mark:
        """Serve the folder's home from now on; a folder that never was a home becomes one."""

    def look(self, mark: Mark) -> None:
        """See that the folder is this home still."""

    def beat(self) -> None:
        """Say that a listener serves the home still."""

    def leave(self) -> None:
        """Say that no listener serves the home any more."""


class Ledger(Protocol):
    """The ledger's side that listeners see: the files of one home.

    Every method may raise `LedgerUnavailable` and `HomeUnavailable`.
    """

    def open(self, arrivals: Sequence[NewArrival]) -> Sequence[Opened]:
        """Open arrivals in one transaction; the answers stand in the same order."""

    def seen(self, pipeline: str, source: str, files: Sequence[tuple[bytes, int, int]]) -> set[tuple[bytes, int, int]]:
        """Of these files (path, size, mtime_ns), find those that were opened before."""

    def spooled(self, spools: Sequence[str]) -> set[str]:
        """Of these places in the spool, find those that an arrival knows."""

    def adopt(self, has: Callable[[str, bytes], bool]) -> int:
        """Take files from before there were homes for those of this home, if it has their bytes (place, path)."""

    def found_again(self, arrival_id: int, spool: str) -> bool:
        """Record that the bytes of an arrival that was given up as lost are in the spool; whether it was."""

    def unsettled(self, ids: Sequence[int] | None = None) -> Sequence[Ended]:
        """Find the ended arrivals whose bytes have not come to rest; all of them, or of these ids."""

    def settled(self, places: Mapping[int, Path | None]) -> None:
        """Record where the bytes of ended arrivals came to rest; None if they are kept nowhere."""
