"""The pulse of a loop: whether the loop still turns, for the heartbeat of its process."""

from time import monotonic


class Pulse:
    """The state that a loop reports of itself. Safe to use from several threads.

    Attributes:
        trouble: one sentence on what keeps the loop from its work, or None.

    """

    def __init__(self) -> None:
        self.trouble: str | None = None
        self._turned: float | None = None

    def turn(self) -> None:
        """Record that the loop turned."""
        self._turned = monotonic()

    def state(self, longest: float) -> str | None:
        """Return one sentence on what keeps the loop from its work, or None; ignore a loop that has never turned.

        Args:
            longest: seconds that one turn may take at most.

        """
        since = 0.0 if self._turned is None else monotonic() - self._turned
        if self.trouble is None and since > longest:
            return f"it has not finished a turn for {since:.0f} s: it is busy with a large file, or hangs"
        return self.trouble
