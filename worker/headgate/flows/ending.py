"""The end of a claim: each arrival that is still ours is put back for another attempt, or given up."""

from contextlib import suppress
from datetime import timedelta

import structlog

from headgate.app import App
from headgate.errors import ArrivalRejected, Fenced, HomeUnavailable, KafkaUnavailable, NotTried
from headgate.flows.held import is_permanent
from headgate.flows.workbench import Workbench
from headgate.model import ClaimedArrival, Stage

# Until the next try, if a broker or the home is unavailable or the cause is permanent. A run takes 10 s to find that a
# broker is down.
AGAIN_AFTER = timedelta(seconds=20)

log = structlog.get_logger()


def put_back(bench: Workbench, error: Exception | None = None) -> None:
    """Reject arrivals that cannot become records, and put back those that could not be read or committed now.

    Args:
        bench: the claim, with what is known of each arrival.
        error: what ended the work on the whole claim, or None.

    Raises:
        LedgerUnavailable: the database does not answer; the leases then run out by themselves.

    """
    if error is None and not bench.left_out:
        return
    trouble = _trouble(bench.app)
    for arrival in bench.claim.arrivals:
        mine = bench.rejected.get(arrival.arrival_id) or bench.unread.get(arrival.arrival_id) or error
        if mine is None:
            continue
        if trouble is not None and arrival.range is None:
            mine = trouble  # overrides any result: the file was read from a folder that is not its home
            if bench.rejected.pop(arrival.arrival_id, None) is not None:
                bench.unread[arrival.arrival_id] = trouble
        # Fenced: a chunk committed before the error has ended the arrival, or another run holds it.
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
    """Return why the home of this process cannot be used, or None if it can."""
    try:
        app.homes.check()
    except HomeUnavailable as error:
        return error
    return None


def _again(bench: Workbench, arrival: ClaimedArrival, error: Exception) -> timedelta | None:
    """Put an arrival back; return how long until it is due again, or None if it was given up."""
    if isinstance(error, NotTried):
        # If anything could be read, these are due at once, and the next claim begins with them. Otherwise all brokers
        # may be down.
        delay = timedelta(0) if len(bench.unread) < len(bench.claim.arrivals) else AGAIN_AFTER / 2
    elif isinstance(error, KafkaUnavailable | HomeUnavailable) or is_permanent(error):
        delay = AGAIN_AFTER
    else:
        return bench.app.claims.retry(bench.pipeline, arrival, bench.stage, error)
    bench.app.claims.postpone(arrival, bench.stage, error, delay)
    return delay
