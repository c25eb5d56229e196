"""How a worker takes a run: Prefect's process worker, with its claim of a run taken apart."""

import asyncio
from abc import abstractmethod
from typing import Any
from uuid import UUID

import structlog
from prefect.client.schemas.objects import FlowRun
from prefect.workers.process import ProcessWorker

from worker.execution.prefect_internals.attempts import Attempts

log = structlog.get_logger()


class ClaimingWorker(ProcessWorker):
    """Prefect's process worker with two requests before a run starts, where it makes seven."""

    type = "headgate-claiming"  # Prefect registers each class; this one must not take the place of its base
    attempts: Attempts
    room: asyncio.Event  # set when there may be a run to take

    def __init__(self, work_pool_name: str, *args: Any, **options: Any) -> None:
        super().__init__(work_pool_name, *args, **options)
        self._claims: dict[UUID, asyncio.Event] = {}

    @property
    def pool_name(self) -> str:
        """The work pool."""
        return self._work_pool_name

    @property
    def pool_id(self) -> UUID | None:
        """Of the work pool; None until the server was reached."""
        return None if self._work_pool is None else self._work_pool.id

    @abstractmethod
    async def is_warm(self, flow_run: FlowRun) -> bool:
        """Whether a warm process can execute the run; if not, Prefect's process worker starts a process for it."""

    @abstractmethod
    async def execute(self, flow_run: FlowRun) -> None:
        """Execute a run that is Pending in our name, and return when it is over."""

    async def announce_start(self) -> None:
        """Tell the server that the worker is up; the worker tells itself when it ends."""
        self._started_event = await self._emit_worker_started_event()

    async def drained(self) -> None:
        """Wait until no run is in hand."""
        while self.limiter.borrowed_tokens:  # noqa: ASYNC110 - the limiter has no event to wait for
            await asyncio.sleep(0.05)

    def abandon(self) -> None:
        """Wait no longer for what is still in hand: runs in processes of their own, which end with us."""
        if self._runs_task_group is not None:
            self._runs_task_group.cancel_scope.cancel()

    async def sync(self) -> None:
        """Heartbeat, and what the server says of the pool."""
        await self._sync_and_initialize()

    async def take(self) -> bool:
        """Take the runs that are ready, up to our limit; whether there were any.

        The server counts runs against the limits of pool and queue from Pending on: so none is asked for while another
        is on its way there.
        """
        taken = await self.get_and_submit_flow_runs()
        await asyncio.gather(*(self._claimed(run.id).wait() for run in taken))
        return bool(taken)

    def _claimed(self, flow_run_id: UUID) -> asyncio.Event:
        return self._claims.setdefault(flow_run_id, asyncio.Event())

    async def _submit_run(self, flow_run: FlowRun) -> None:
        claimed = self._claimed(flow_run.id)
        try:
            if not await self.is_warm(flow_run):
                claimed.set()
                await super()._submit_run(flow_run)  # returns when the run has begun; it gives its place back itself
                return
            if await self._propose_pending_state(flow_run):
                claimed.set()
                await self.execute(flow_run)
        except Exception:  # an error here would end the worker with all its runs
            log.exception("a run was given up", action="work", flow_run_id=str(flow_run.id))
        finally:
            claimed.set()
            self._claims.pop(flow_run.id, None)
        self._submitting_flow_run_ids.discard(flow_run.id)
        self._release_limit_slot(flow_run.id)

    def _release_limit_slot(self, flow_run_id: UUID) -> None:
        full = not self.limiter.available_tokens
        super()._release_limit_slot(flow_run_id)
        if full:  # else nothing waits for it
            self.room.set()
