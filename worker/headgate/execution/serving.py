"""The life cycle of a warm worker: it takes runs until asked to stop, then drains.

It does not use Prefect's own loops: those give up when the server is unavailable for minutes, and end by cancelling,
which leaves the runs in hand Crashed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

import httpx
import structlog

from headgate.execution.prefect_internals.claiming import ClaimingWorker
from headgate.execution.reclaim import AT_REST, reclaim

T = TypeVar("T")

LOOK_AGAIN_AFTER = (0.03, 0.07, 0.15, 0.3)  # seconds: the server announces a run before it commits its transaction
SHORTEST_PAUSE, LONGEST_PAUSE = 0.25, 2.0  # seconds between two tries when the server is unavailable
END_WITHIN = 10.0  # seconds to hand back runs that did not end within the grace

log = structlog.get_logger()


async def serve(worker: ClaimingWorker, stop: asyncio.Event, *, pause: timedelta) -> None:
    """Take runs until asked to stop.

    Args:
        worker: the worker, already entered as a context manager.
        stop: set by the caller to stop.
        pause: time between two looks for runs that the server does not announce.

    """
    await worker.announce_start()
    stopped = asyncio.create_task(stop.wait())
    loops = [
        asyncio.create_task(_take_all(worker, pause.total_seconds())),
        asyncio.create_task(_again(worker.sync, worker.heartbeat_interval_seconds)),
        asyncio.create_task(_again(lambda: _put_back(worker, AT_REST), AT_REST.total_seconds())),
    ]
    await asyncio.wait([stopped, *loops], return_when=asyncio.FIRST_COMPLETED)  # a loop ends only by an error
    for task in (stopped, *loops):
        task.cancel()
    for ended in await asyncio.gather(*loops, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended


async def drain(worker: ClaimingWorker, *, grace: timedelta) -> bool:
    """Let the runs in hand end; hand back those that do not end in time, so that another worker executes them again.

    Args:
        worker: a worker that takes no more runs.
        grace: how long the runs may go on.

    Returns:
        Whether all runs ended.

    """
    if await _within(grace.total_seconds(), worker.drained()):
        return True
    left = worker.runs_in_hand.in_hand
    log.warning("runs are handed back before their end", action="drain", runs=len(left))
    await _within(END_WITHIN, *(worker.runs_in_hand.hand_back(flow_run_id) for flow_run_id in left))
    if not await _within(END_WITHIN, worker.drained()):
        worker.abandon()
    return False


async def _take_all(worker: ClaimingWorker, pause: float) -> None:
    await _patiently(lambda: _put_back(worker, timedelta(0)))  # our predecessor's runs: nobody else has them
    await _again(lambda: _take(worker, pause), 0)


async def _put_back(worker: ClaimingWorker, at_rest: timedelta) -> None:
    if await reclaim(worker.client, worker.pool_name, in_hand=worker.runs_in_hand.in_hand, at_rest=at_rest):
        worker.room.set()


async def _take(worker: ClaimingWorker, pause: float) -> None:
    """Wait until runs may be ready, and take them."""
    with suppress(TimeoutError):
        await asyncio.wait_for(worker.room.wait(), pause)
    woken = worker.room.is_set()
    worker.room.clear()
    taken = await worker.take()
    for wait in LOOK_AGAIN_AFTER if woken and not taken else ():
        await asyncio.sleep(wait)
        if await worker.take():
            break


async def _again(do: Callable[[], Awaitable[None]], pause: float) -> None:
    while True:
        await _patiently(do)
        await asyncio.sleep(pause)


async def _patiently(do: Callable[[], Awaitable[T]]) -> T:
    """Do something; if the server is unavailable, retry with growing pauses."""
    wait = SHORTEST_PAUSE
    while True:
        try:
            return await do()
        except httpx.HTTPError as error:
            wait = min(wait * 2, LONGEST_PAUSE)
            log.warning("the Prefect server does not answer", action="work", error=str(error), next_try_seconds=wait)
            await asyncio.sleep(wait)


async def _within(seconds: float, *waited: Awaitable[None]) -> bool:
    """Wait for all of these; return whether they finished in time."""
    try:
        await asyncio.wait_for(asyncio.gather(*waited), seconds)
    except TimeoutError:
        return False
    return True
