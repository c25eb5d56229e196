"""The worker that Prefect finds as type `headgate`, and `headgate work` runs."""

import asyncio
from datetime import timedelta
from importlib.metadata import version

import structlog
from prefect.workers.process import ProcessWorker

from worker import fork_server
from worker.execution import PRELOAD, process
from worker.execution.prefect_internals import VERSION
from worker.settings import Settings

log = structlog.get_logger()


def obstacle() -> str | None:
    """Why runs cannot be executed in warm processes with the Prefect at hand; None if they can."""
    if version("prefect") != VERSION:
        return f"this is Prefect {version('prefect')}, and the warm worker knows {VERSION}"
    try:
        import worker.execution.warm  # noqa: F401, PLC0415 - whether it can be imported is the question
    except (ImportError, AttributeError) as error:
        return f"this Prefect is not as {VERSION} was released: {error}"
    return None


def _worker_class() -> type[ProcessWorker]:
    why = obstacle()
    if why is None:
        from worker.execution.warm import WarmWorker  # noqa: PLC0415 - not with another version of Prefect

        return WarmWorker
    log.warning("each run gets a process of its own, which takes seconds", action="work", reason=why)

    class PlainWorker(ProcessWorker):
        """Prefect's process worker under our type."""

        type = "headgate"

    return PlainWorker


HeadgateWorker = _worker_class()


def prepare() -> None:
    """Have warm processes forked quickly; to be called before this process starts a thread."""
    if obstacle() is None:
        from worker.execution.prefect_internals import tls  # noqa: PLC0415 - not with another version of Prefect

        tls.share()
        fork_server.start(PRELOAD)


async def work(settings: Settings, stop: asyncio.Event) -> bool:
    """Execute runs of our work pool until asked to stop, then until those in hand are over.

    Args:
        settings: name the pool, the limit, the pauses and the grace.
        stop: set from outside.

    Returns:
        Whether all runs came to their end within the grace.

    """
    if obstacle() is not None:
        return await process.work(settings, stop, HeadgateWorker)
    from worker.execution.serving import drain, serve  # noqa: PLC0415 - not with another version of Prefect
    from worker.execution.warm import WarmWorker  # noqa: PLC0415 - not with another version of Prefect

    chosen = settings.worker
    settings.draining.unlink(missing_ok=True)
    worker = WarmWorker(work_pool_name=chosen.pool, limit=chosen.limit, prefetch_seconds=1)
    worker.preload = PRELOAD
    worker.modules = (settings.pipelines.partition(":")[0],)
    async with worker:
        log.info("worker at work", action="work", pool=chosen.pool, limit=chosen.limit)
        await serve(worker, stop, pause=timedelta(seconds=chosen.query_seconds))
        settings.draining.touch()  # runs leave after the claim in hand
        try:
            return await drain(worker, grace=timedelta(seconds=chosen.grace_seconds))
        finally:
            settings.draining.unlink(missing_ok=True)
