"""How a worker takes a run: Prefect's process worker, with its claim of a run taken apart."""

import asyncio
from abc import abstractmethod
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
    draining = False

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

    async def _submit_run(self, flow_run: FlowRun) -> None:
        try:
            if not await self.is_warm(flow_run):
                await super()._submit_run(flow_run)
                return
        except Exception as error:  # noqa: BLE001 - an error here would end the worker with all its runs
            log.warning("a run was not started", action="work", flow_run_id=str(flow_run.id), error=str(error))
            self._over(flow_run)
            return
        try:
            if not self.draining and await self._propose_pending_state(flow_run):
                await self.execute(flow_run)
        except Exception:
            log.exception("a run was given up", action="work", flow_run_id=str(flow_run.id))
        finally:
            self._over(flow_run)

    def _over(self, flow_run: FlowRun) -> None:
        self._submitting_flow_run_ids.discard(flow_run.id)
        self._release_limit_slot(flow_run.id)
        self.room.set()

    def _release_limit_slot(self, flow_run_id: UUID) -> None:
        super()._release_limit_slot(flow_run_id)
        self.room.set()
