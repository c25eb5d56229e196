"""The end of a claim: each of its arrivals that is still ours gets its next attempt, or is given up."""

from contextlib import suppress
from datetime import timedelta

import structlog

from headgate.app import App
from headgate.errors import ArrivalRejected, Fenced, HomeUnavailable, KafkaUnavailable, NotTried
from headgate.flows.held import is_permanent
from headgate.flows.workbench import Workbench
from headgate.model import ClaimedArrival, Stage

# Between two looks for a broker or a home that is unavailable. A run that looks for a broker takes 10 s.
AGAIN_AFTER = timedelta(seconds=20)

log = structlog.get_logger()


def put_back(bench: Workbench, error: Exception | None = None) -> None:
    """Give up what cannot become records, and put back what could not be read or committed now.

    Args:
        bench: with what is known of each arrival.
        error: what ended the work on all of them; None if nothing did.

    Raises:
        LedgerUnavailable: the database does not answer; the leases run out then.

    """
    if error is None and not bench.left_out:
        return
    trouble = _trouble(bench.app)
    for arrival in bench.claim.arrivals:
        mine = bench.rejected.get(arrival.arrival_id) or bench.unread.get(arrival.arrival_id) or error
        if mine is None:
            continue
        if trouble is not None and arrival.range is None:
            mine = trouble  # whatever came of its file: it was read from a folder that is not its home
        # Those that a chunk before the error has ended, or that another run has taken, are not ours to put back.
        with suppress(Fenced):
            _put_back_one(bench, arrival, mine)


def _put_back_one(bench: Workbench, arrival: ClaimedArrival, error: Exception) -> None:
    if isinstance(error, ArrivalRejected):
        bench.app.claims.reject(arrival, Stage.PARSE, error)
        return
    delay = _again(bench, arrival, error)
    log.warning(
        "attempt failed",
        action="retry",
        arrival_id=arrival.arrival_id,
        attempt=arrival.attempt,
        error=str(error),
        again_in_seconds=None if delay is None else round(delay.total_seconds(), 1),
    )


def _trouble(app: App) -> HomeUnavailable | None:
    """Why the home of this process cannot be used; None if it can."""
    try:
        app.homes.check()
    except HomeUnavailable as error:
        return error
    return None


def _again(bench: Workbench, arrival: ClaimedArrival, error: Exception) -> timedelta | None:
    """Put an arrival back; when it comes due, or None if it was given up."""
    if isinstance(error, NotTried):
        # Where something could be read, more can: the next claim begins with these. Else brokers may all be down.
        delay = timedelta(0) if len(bench.unread) < len(bench.claim.arrivals) else AGAIN_AFTER / 2
    elif isinstance(error, KafkaUnavailable | HomeUnavailable) or is_permanent(error):
        delay = AGAIN_AFTER
    else:
        return bench.app.claims.retry(bench.pipeline, arrival, bench.stage, error)
    bench.app.claims.postpone(arrival, bench.stage, error, delay)
    return delay
