"""The warm worker: it hands a run to a process that is ready for it within tens of milliseconds."""

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from typing import Any, Self
from uuid import UUID

import httpx
import structlog
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse

from headgate.execution.executed_run import ExecutedRun
from headgate.execution.hooks import Hooks
from headgate.execution.orders import MakeRoom, Run, Suspend
from headgate.execution.pool import Pool
from headgate.execution.prefect_internals.claiming import ClaimingWorker
from headgate.execution.prefect_internals.runs_in_hand import RunsInHand
from headgate.execution.reclaim import Place
from headgate.execution.serving import drain, serve
from headgate.execution.stream import CANCELLING, SUSPENDED, listen
from headgate.execution.warm_process import Warm
from headgate.setting_groups import WorkerSettings

DEPLOYMENT_HOLDS = 5.0  # seconds that a deployment is cached
TELL_AGAIN = 1.0  # seconds until the place of a run is told again, if the server did not take it
LOOK_AT_RUNS = 2.0  # seconds between two checks of the runs in hand, in case a Cancel was missed

log = structlog.get_logger()


class WarmWorker(ClaimingWorker):
    """A worker that executes flow runs in warm processes: a run begins within a tenth of a second.

    A run whose deployment needs something that a warm process cannot provide (code that is pulled first, job
    variables) is executed in a separate process, as by Prefect's process worker.
    """

    type = "headgate"
    _display_name = "Headgate"
    _description = (
        "Execute flow runs in processes that are kept warm, so that a run begins within a tenth of a second. "
        "For deployments whose flow is given by its module path."
    )

    preload: Sequence[str] = ()  # modules that all processes share
    modules: Sequence[str] = ()  # modules that each process imports when it starts

    async def __aenter__(self) -> Self:
        """Start the processes, connect to the server, and listen to its events."""
        self.settings = WorkerSettings()
        self._limit = self._limit or self.settings.limit
        self.room = asyncio.Event()
        self._deployments: dict[UUID, tuple[DeploymentResponse, float]] = {}
        self._held: dict[UUID, Warm] = {}
        self._asked: set[UUID] = set()  # of these, the runs that were asked to make room
        self._tasks: set[asyncio.Task[None]] = set()
        async with AsyncExitStack() as stack:
            self._pool = await stack.enter_async_context(
                Pool(
                    size=self._limit,
                    preload=self.preload,
                    modules=self.modules,
                    most_runs=self.settings.process_runs,
                    most_memory=self.settings.process_memory_mb * 1024**2,
                    rest=self.settings.process_rest_seconds,
                )
            )
            await super().__aenter__()
            stack.push_async_exit(super().__aexit__)
            hooks = Hooks(pool=self._pool, entrypoint=self._entrypoint)
            self.runs_in_hand = await stack.enter_async_context(RunsInHand(client=self.client, hooks=hooks))
            stack.push_async_callback(self._stop_tasks)
            self._in_background(self._hear())
            self._in_background(self._look_at_runs())
            self._own = stack.pop_all()
        return self

    async def __aexit__(self, *how: object) -> None:
        """End the runs still in hand, then the processes."""
        await self._own.aclose()

    async def start(
        self,
        run_once: bool = False,  # noqa: FBT001, FBT002 - Prefect's signature
        with_healthcheck: bool = False,  # noqa: FBT001, FBT002 - Prefect's signature
        printer: Callable[..., None] = print,
    ) -> None:
        """Work until SIGTERM or SIGINT, then drain; `prefect worker start` calls this."""
        if run_once or with_healthcheck:
            await super().start(run_once=run_once, with_healthcheck=with_healthcheck, printer=printer)
            return
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with self:
            printer(f"Worker {self.name!r} started!")
            await serve(self, stop, pause=timedelta(seconds=self.settings.query_seconds))
            await drain(self, grace=timedelta(seconds=self.settings.grace_seconds))
        printer(f"Worker {self.name!r} stopped!")

    @property
    def processes(self) -> list[int]:
        """Return the ids of its warm processes."""
        return self._pool.processes

    async def is_warm(self, flow_run: FlowRun) -> bool:
        """Return whether the flow's entry point is a module path and the deployment asks for nothing else."""
        if flow_run.deployment_id is None or flow_run.job_variables:
            return False
        found = await self._deployment(flow_run.deployment_id)
        return ":" not in (found.entrypoint or ":") and not found.pull_steps and not found.job_variables

    async def execute(self, flow_run: FlowRun) -> None:
        """Execute a run that is Pending in our name, and return when it is over."""
        if flow_run.deployment_id is None:
            return
        deployment = await self._deployment(flow_run.deployment_id)
        environment = {
            "PREFECT__FLOW_RUN_ID": str(flow_run.id),
            "PREFECT__DEPLOYMENT_ID": str(deployment.id),
            "PREFECT__DEPLOYMENT_NAME": deployment.name,
            "PREFECT__WORKER_NAME": self.name,
            **({"PREFECT__WORKER_ID": str(self.backend_id)} if self.backend_id else {}),
        }

        async def begin(control: dict[str, str]) -> ExecutedRun:
            warm = self._held[flow_run.id] = await self._pool.acquire()
            order = Run(flow_run.model_dump_json(), deployment.entrypoint or "", {**environment, **control})
            return warm.begin(order)

        def begun(pid: int) -> None:
            self._in_background(self._tell_place(flow_run.id, pid))

        try:
            await self.runs_in_hand.execute(flow_run, begin, begun)
        finally:
            self._asked.discard(flow_run.id)
            if warm := self._held.pop(flow_run.id, None):
                self._pool.release(warm)

    def make_room(self) -> None:
        """Ask the run that has held its place longest, among those not asked yet."""
        for flow_run_id, warm in self._held.items():
            if flow_run_id not in self._asked:
                self._asked.add(flow_run_id)
                warm.send(MakeRoom())
                break

    async def _tell_place(self, flow_run_id: UUID, pid: int) -> None:
        """Record where the run is, while it begins: for people, for Cancel, and for whoever reclaims it.

        Without it, or with the place of an earlier process, a run that is alive could be taken for lost, or a lost one
        for alive.
        """
        while flow_run_id in self._held:
            try:
                await self.client.update_flow_run(flow_run_id, infrastructure_pid=str(Place.of(pid)))
            except httpx.HTTPError:
                await asyncio.sleep(TELL_AGAIN)
            else:
                return

    async def _deployment(self, deployment_id: UUID) -> DeploymentResponse:
        known = self._deployments.get(deployment_id)
        if known is None or time.monotonic() - known[1] > DEPLOYMENT_HOLDS:
            known = await self.client.read_deployment(deployment_id), time.monotonic()
            self._deployments[deployment_id] = known
        return known[0]

    async def _entrypoint(self, deployment_id: UUID) -> str:
        return (await self._deployment(deployment_id)).entrypoint or ""

    async def _hear(self) -> None:
        while self.pool_id is None:  # noqa: ASYNC110 - the server was unavailable at the start; Prefect notifies nobody
            await asyncio.sleep(1)
        await listen(self.pool_id, connected=self.room.set, happened=self._happened)

    def _happened(self, state: str, flow_run_id: UUID) -> None:
        if state not in {CANCELLING, SUSPENDED}:
            self.room.set()
        elif flow_run_id in self.runs_in_hand.in_hand:
            self._in_background(self._see_to(flow_run_id))

    async def _look_at_runs(self) -> None:
        """Check the runs in hand for requests that were missed."""
        while True:
            await asyncio.sleep(LOOK_AT_RUNS)
            if ids := self.runs_in_hand.in_hand:
                wanted = FlowRunFilter(id=FlowRunFilterId(any_=list(ids)))
                with suppress(httpx.HTTPError):  # the next check is soon
                    for flow_run in await self.client.read_flow_runs(flow_run_filter=wanted):
                        self._do_as_asked(flow_run)

    async def _see_to(self, flow_run_id: UUID) -> None:
        with suppress(httpx.HTTPError):  # the next check of all runs is soon
            self._do_as_asked(await self.client.read_flow_run(flow_run_id))

    def _do_as_asked(self, flow_run: FlowRun) -> None:
        """Cancel or suspend a run in hand whose state on the server says so."""
        state = flow_run.state
        if state is not None and state.is_cancelling():
            self._in_background(self.runs_in_hand.cancel(flow_run.id))
        elif state is not None and state.is_paused() and state.name == SUSPENDED and flow_run.id in self._held:
            self._held[flow_run.id].send(Suspend(str(flow_run.id), state.model_dump_json()))

    def _in_background(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("something in the background failed", action="work", error=repr(error))

    async def _stop_tasks(self) -> None:
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
