"""Which messages of a block meet the condition of their pipeline."""

import polars as pl

from headgate.pipeline import When
from headgate.records.messages import last


def meets(when: When, messages: pl.DataFrame) -> pl.Series:
    """Return for each message whether its headers and the size of its value meet a condition.

    Args:
        when: the condition; its requirement on the topic was checked before.
        messages: a block of messages.

    """
    met = pl.repeat(value=True, n=messages.height, dtype=pl.Boolean, eager=True)
    for name in when.header:
        values = last(messages["headers"], name)
        # Check each distinct value once: a header that conditions look at has few.
        taken = [value for value in values.unique() if when.takes_header(name, value)]
        met &= values.is_in([value for value in taken if value is not None]).fill_null(None in taken)
    low, high = when.bounds
    sizes = messages["value"].bin.size().fill_null(0)
    if low is not None:
        met &= sizes > low
    if high is not None:
        met &= sizes < high
    return met
