"""The flag that tells runs of a worker to leave after the claim in hand."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def drained(flag: Path) -> Iterator[None]:
    """Show the flag while the worker waits for its runs. On a full disk it cannot be shown: then runs take longer."""
    with suppress(OSError):
        flag.touch()
    try:
        yield
    finally:
        lower(flag)


def lower(flag: Path) -> None:
    """Remove the flag, which a worker that was killed while it drained left behind."""
    with suppress(OSError):
        flag.unlink(missing_ok=True)
