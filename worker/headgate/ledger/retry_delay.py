"""When a failed arrival is tried again: exponential back-off with full jitter on its upper half."""

import random
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it holds polars, and not all who use the ledger need that
    from headgate.pipeline import Retry


def delay_after(attempt: int, policy: "Retry", *, jitter: float | None = None) -> timedelta | None:
    """Decide when the next attempt is due.

    The wait doubles with each attempt up to the longest one; a random part of it, up to a half, is taken off, so that
    many arrivals that failed together do not come back together.

    Args:
        attempt: the number of the attempt that failed, counted from 1.
        policy: of the pipeline.
        jitter: 0 to 1, random if left out.

    Returns:
        The wait, or None when the attempts are used up.

    """
    if attempt >= policy.attempts:
        return None
    # The exponent is bounded: 2**1000 seconds is no timedelta.
    full: timedelta = min(policy.first_delay * 2.0 ** min(attempt - 1, 20), policy.longest_delay)
    share = random.random() if jitter is None else jitter  # noqa: S311 - spreads load, keeps no secret
    return full * (1 - share / 2)
