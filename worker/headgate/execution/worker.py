"""The worker that Prefect finds as type `headgate` and that `headgate work` runs."""

import asyncio
from datetime import timedelta

import structlog
from prefect.workers.process import ProcessWorker

from headgate.execution import PRELOAD, process
from headgate.execution.draining import drained, lower
from headgate.forking import fork_server
from headgate.private_names import Use, usable
from headgate.settings import Settings

log = structlog.get_logger()


def _worker_class() -> type[ProcessWorker]:
    if usable(Use.RUNS):
        from headgate.execution.warm import WarmWorker  # noqa: PLC0415 - another Prefect may lack what it imports

        return WarmWorker

    class PlainWorker(ProcessWorker):
        """Prefect's process worker under our type."""

        type = "headgate"

    return PlainWorker


HeadgateWorker = _worker_class()


def prepare() -> None:
    """Prepare for fast forks of warm processes; call before this process starts a thread."""
    if usable(Use.RUNS):
        from headgate.execution.prefect_internals import tls  # noqa: PLC0415 - another Prefect may lack what it imports

        tls.share()
        fork_server.start(PRELOAD)


async def work(settings: Settings, stop: asyncio.Event, queue: str) -> bool:
    """Execute runs of a queue of our work pool until asked to stop, then until those in hand are over.

    Args:
        settings: hold the pool's name, the limit, the pauses and the grace.
        stop: set by the caller to stop.
        queue: the queue of the home: runs start where their files are.

    Returns:
        Whether all runs ended within the grace.

    """
    if not usable(Use.RUNS):
        return await process.work(settings, stop, HeadgateWorker, queue)
    from headgate.execution.serving import drain, serve  # noqa: PLC0415 - another Prefect may lack what it imports
    from headgate.execution.warm import WarmWorker  # noqa: PLC0415 - another Prefect may lack what it imports

    chosen = settings.worker
    lower(settings.draining)
    worker = WarmWorker(work_pool_name=chosen.pool, work_queues=[queue], limit=chosen.limit, prefetch_seconds=1)
    worker.preload = PRELOAD
    worker.modules = (settings.pipelines.partition(":")[0],)
    async with worker:
        log.info("worker at work", action="work", pool=chosen.pool, queue=queue, limit=chosen.limit)
        await serve(worker, stop, pause=timedelta(seconds=chosen.query_seconds))
        with drained(settings.draining):
            return await drain(worker, grace=timedelta(seconds=chosen.grace_seconds))
