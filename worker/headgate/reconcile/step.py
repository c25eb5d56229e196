"""One thing that the server should have: what would be done to it, and how."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from headgate.reconcile.change import Change


@dataclass(frozen=True, slots=True)
class Step:
    """What is done to one thing; nothing is written before all steps are known."""

    change: Change
    write: Callable[[], Awaitable[None]] | None = None  # None: there is nothing to do
