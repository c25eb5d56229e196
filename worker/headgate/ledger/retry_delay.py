"""When a failed arrival is tried again: exponential backoff, with full jitter on the upper half of each wait."""

import random
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it imports polars, which not every user of the ledger needs
    from headgate.pipeline import Retry


def delay_after(attempt: int, policy: "Retry", *, jitter: float | None = None) -> timedelta | None:
    """Decide when the next attempt is due.

    The wait doubles with each attempt up to the longest one. A random part, up to half of it, is subtracted, so that
    arrivals that failed together do not all come back together.

    Args:
        attempt: the number of the attempt that failed, counted from 1.
        policy: the pipeline's retry policy.
        jitter: 0 to 1; random if left out.

    Returns:
        The wait, or None when the attempts are used up.

    """
    if attempt >= policy.attempts:
        return None
    # The exponent is bounded, because a timedelta cannot hold 2**1000 seconds.
    full: timedelta = min(policy.first_delay * 2.0 ** min(attempt - 1, 20), policy.longest_delay)
    share = random.random() if jitter is None else jitter  # noqa: S311 - spreads load, keeps no secret
    return full * (1 - share / 2)
