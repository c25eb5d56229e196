"""Prefect's own process worker, made to drain: when asked to stop, it takes no new run and waits for those it has.

Prefect's `worker.start()` ends by cancelling, which leaves the runs in flight Crashed. So this module calls its parts
one by one, in a loop that never gives up.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import httpx
import structlog
from prefect.settings import PREFECT_WORKER_HEARTBEAT_SECONDS
from prefect.workers.process import ProcessWorker

from headgate.execution.draining import drained, lower
from headgate.settings import Settings

LONGEST_PAUSE = 2.0  # seconds between two tries when the server is unavailable

log = structlog.get_logger()


async def work(settings: Settings, stop: asyncio.Event, kind: type[ProcessWorker], queue: str) -> bool:
    """Execute runs of a queue of our work pool until asked to stop, then until those in hand are over.

    Args:
        settings: hold the pool's name, the limit, the pauses and the grace.
        stop: set by the caller to stop.
        kind: Prefect's process worker, under the type of our pool.
        queue: the queue of the home.

    Returns:
        Whether all runs ended within the grace.

    """
    chosen = settings.worker
    lower(settings.draining)
    async with kind(
        work_pool_name=chosen.pool,
        work_queues=[queue],
        limit=chosen.limit,
        prefetch_seconds=1,
        create_pool_if_not_found=True,
    ) as worker:
        await worker.sync_with_backend()
        log.info("worker at work", action="work", pool=chosen.pool, queue=queue, limit=chosen.limit)
        loops = [
            asyncio.create_task(_again(worker.get_and_submit_flow_runs, chosen.query_seconds, stop)),
            asyncio.create_task(_again(worker.sync_with_backend, PREFECT_WORKER_HEARTBEAT_SECONDS.value(), stop)),
        ]
        await asyncio.gather(*loops)
        with drained(settings.draining):
            return await _drained(worker, chosen.grace_seconds)


async def _again(do: Callable[[], Awaitable[object]], pause: float, stop: asyncio.Event) -> None:
    """Do something repeatedly; if the server is unavailable, retry with growing pauses."""
    wait = pause
    while not stop.is_set():
        try:
            await do()
            wait = pause
        except httpx.HTTPError as error:
            wait = min(max(wait, 0.5) * 2, LONGEST_PAUSE)
            log.warning("the Prefect server does not answer", action="work", error=str(error), next_try_seconds=wait)
        try:
            await asyncio.wait_for(stop.wait(), wait)
        except TimeoutError:
            continue


async def _drained(worker: ProcessWorker, grace: float) -> bool:
    """Wait until no run is in hand; return whether that happened within the grace."""
    deadline = time.monotonic() + grace
    if worker.limiter.borrowed_tokens:
        log.info("draining", action="drain", runs=worker.limiter.borrowed_tokens, grace_seconds=grace)
    while worker.limiter.borrowed_tokens and time.monotonic() < deadline:  # noqa: ASYNC110 - see below
        await asyncio.sleep(0.05)  # the limiter has no event to wait for
    if worker.limiter.borrowed_tokens:
        log.warning("runs are stopped before their end", action="drain", runs=worker.limiter.borrowed_tokens)
        return False
    return True
