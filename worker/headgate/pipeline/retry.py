"""How often and when a transient error is tried again."""

from dataclasses import dataclass
from datetime import timedelta

from headgate.pipeline.checks import require


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and when an arrival is tried again after a transient error.

    Args:
        attempts: claims in all, the first one included.
        first_delay: the wait after the first attempt; it doubles with each further one.
        longest_delay: the wait never grows beyond this.

    """

    attempts: int = 5
    first_delay: timedelta = timedelta(seconds=10)
    longest_delay: timedelta = timedelta(minutes=15)

    def __post_init__(self) -> None:
        require(1 <= self.attempts <= 100, f"Retry(attempts={self.attempts}): write 1 to 100.")  # noqa: PLR2004
        require(self.first_delay > timedelta(0), f"Retry(first_delay={self.first_delay}): write more than 0.")
        require(
            self.longest_delay >= self.first_delay,
            f"Retry(longest_delay={self.longest_delay}): write at least first_delay, {self.first_delay}.",
        )
