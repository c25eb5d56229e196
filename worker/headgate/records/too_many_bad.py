"""Whether a file has so many bad records that it is rejected as a whole."""

from collections.abc import Sequence
from fractions import Fraction

from headgate.errors import ArrivalRejected
from headgate.model import Reason
from headgate.pipeline import Pipeline
from headgate.records.letters import Group
from headgate.words import count


def too_many_bad(pipeline: Pipeline, records: int, bad: Sequence[Group]) -> ArrivalRejected | None:
    """Return why a file breaks its pipeline's `max_bad=`, or None if it does not.

    Args:
        pipeline: says how many records may be bad.
        records: how many records were read from the file.
        bad: the bad records, in groups; the group with the first bad record comes first.

    """
    limit, found = pipeline.max_bad, sum(group.count for group in bad)
    if limit is None or found <= (limit if limit >= 1 else Fraction(str(limit)) * records):
        return None
    return ArrivalRejected(
        Reason.TOO_MANY_BAD,
        f"{found:,} of {count(records, 'record')} are bad, more than max_bad={limit} allows; "
        f"{bad[0].say(pipeline.schema)}. Nothing of it is committed; a replay takes what is good in it.",
    )
