"""Room: a worker without a free place asks a run to end soon, because another run waits for a place.

A run that goes on from claim to claim, or waits for the next arrival, complies; all other runs go on.
"""

import threading

_asked = threading.Event()


def ask() -> None:
    """Ask the run in hand to make room."""
    _asked.set()


def forget() -> None:
    """Clear the request before another run begins."""
    _asked.clear()


def is_asked() -> bool:
    """Return whether another run waits for the place of the run in hand."""
    return _asked.is_set()
