"""How a worker takes a run: Prefect's process worker with a shorter claim of a run."""

import asyncio
import os
from abc import abstractmethod
from typing import Any
from uuid import UUID

import structlog
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.exceptions import Abort
from prefect.states import Pending
from prefect.utilities.engine import propose_state
from prefect.workers.process import ProcessWorker

from headgate.execution.prefect_internals.runs_in_hand import RunsInHand
from headgate.execution.reclaim import claim

log = structlog.get_logger()


class ClaimingWorker(ProcessWorker):
    """Prefect's process worker with two requests before a run starts instead of seven."""

    type = "headgate-claiming"  # Prefect registers each class; this one must not take the place of its base
    runs_in_hand: RunsInHand
    room: asyncio.Event  # set when a run may be ready

    def __init__(self, work_pool_name: str, *args: Any, **options: Any) -> None:
        super().__init__(work_pool_name, *args, **options)
        self._claims: dict[UUID, asyncio.Event] = {}
        self._scheduled: set[UUID] = set()  # the runs that were ready at the last look

    @property
    def pool_name(self) -> str:
        """The name of the work pool."""
        return self._work_pool_name

    @property
    def pool_id(self) -> UUID | None:
        """The id of the work pool; None until the server has been reached."""
        return None if self._work_pool is None else self._work_pool.id

    @abstractmethod
    async def is_warm(self, flow_run: FlowRun) -> bool:
        """Return whether a warm process can execute the run; if not, Prefect's process worker starts a process."""

    @abstractmethod
    async def execute(self, flow_run: FlowRun) -> None:
        """Execute a run that is Pending in our name, and return when it is over."""

    @abstractmethod
    def make_room(self) -> None:
        """Ask a run in hand to end soon, because others are ready and no place is free."""

    async def announce_start(self) -> None:
        """Tell the server that the worker is up; Prefect's worker reports its end itself."""
        self._started_event = await self._emit_worker_started_event()

    async def drained(self) -> None:
        """Wait until no run is in hand."""
        while self.limiter.borrowed_tokens:  # noqa: ASYNC110 - the limiter has no event to wait for
            await asyncio.sleep(0.05)

    def abandon(self) -> None:
        """Stop waiting for runs still in hand; they run in separate processes, which end with us."""
        if self._runs_task_group is not None:
            self._runs_task_group.cancel_scope.cancel()

    async def sync(self) -> None:
        """Send a heartbeat and read the pool's settings from the server."""
        await self._sync_and_initialize()

    async def take(self) -> bool:
        """Take the runs that are ready, up to our limit; return whether there were any.

        The server counts runs against the limits of pool and queue once they are Pending. So ask for none while another
        run is still becoming Pending.
        """
        taken = await self.get_and_submit_flow_runs()
        if self._scheduled - self._submitting_flow_run_ids:
            self.make_room()
        await asyncio.gather(*(self._claimed(run.id).wait() for run in taken))
        return bool(taken)

    async def _get_scheduled_flow_runs(self) -> list[WorkerFlowRunResponse]:
        found = await super()._get_scheduled_flow_runs()
        self._scheduled = {each.flow_run.id for each in found}
        return found

    def _claimed(self, flow_run_id: UUID) -> asyncio.Event:
        return self._claims.setdefault(flow_run_id, asyncio.Event())

    async def _submit_run(self, flow_run: FlowRun) -> None:
        claimed = self._claimed(flow_run.id)
        try:
            if not await self.is_warm(flow_run):
                claimed.set()
                await super()._submit_run(flow_run)  # returns once the run has begun; it releases its place itself
                return
            if await self._claim(flow_run):
                claimed.set()
                await self.execute(flow_run)
        except Exception:  # an error here would end the worker with all its runs
            log.exception("a run was given up", action="work", flow_run_id=str(flow_run.id))
        finally:
            claimed.set()
            self._claims.pop(flow_run.id, None)
        self._submitting_flow_run_ids.discard(flow_run.id)
        self._release_limit_slot(flow_run.id)

    async def _claim(self, flow_run: FlowRun) -> bool:
        """Make a run Pending in our name; return whether it is ours.

        The state's message records the place of this worker: it may be killed while the run waits for a process.
        """
        try:
            wanted: State[Any] = Pending(message=claim(os.getpid()))
            state = await propose_state(self.client, wanted, flow_run_id=flow_run.id)
        except Abort as error:
            log.info("a run was not given to us", action="work", flow_run_id=str(flow_run.id), why=str(error))
            return False
        return state.is_pending()

    def _release_limit_slot(self, flow_run_id: UUID) -> None:
        full = not self.limiter.available_tokens
        super()._release_limit_slot(flow_run_id)
        if full:  # otherwise no run waits for it
            self.room.set()
