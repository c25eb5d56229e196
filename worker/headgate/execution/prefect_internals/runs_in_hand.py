"""What Prefect does around the execution of a run, once for all runs of a worker.

Prefect's own collection of these parts, `FlowRunExecutorContext`, is made for one run. If it were shared, it would run
the hooks of the flow that started last. And its observer misses every Cancel after the server closes the connection.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Any, Self, cast
from uuid import UUID

import anyio.abc
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.runner._cancellation_manager import CancellationManager
from prefect.runner._control_channel import ControlChannel, ControlSignalStatus
from prefect.runner._event_emitter import EventEmitter
from prefect.runner._flow_run_executor import FlowRunExecutor
from prefect.runner._hook_runner import FlowRunHookRunner
from prefect.runner._process_manager import ProcessHandle, ProcessManager
from prefect.runner._state_proposer import StateProposer
from prefect.states import AwaitingRetry
from prefect.utilities.engine import propose_state

from headgate.execution.executed_run import ExecutedRun

CONNECTED_WITHIN = 3.0  # seconds from the order until the engine of a run listens to requests
GRACE = 30.0  # seconds from a Cancel to SIGKILL


class _Processes(ProcessManager):
    """Prefect's list of running processes, without its 3 s between two checks whether a process has ended."""

    async def kill(self, flow_run_id: UUID, grace_seconds: float = GRACE, *, force: bool = False) -> None:
        handle = self.get(flow_run_id)
        if handle is None:
            return
        executed = cast("ExecutedRun", handle.raw_process)
        if force:
            executed.kill()
        else:
            await executed.end(grace_seconds)


class _Scope:
    """The interface that Prefect's process handle requires of what it holds; `_Processes` asks the run itself."""

    wait_after_graceful_kill = True

    def __init__(self, executed: ExecutedRun) -> None:
        self._run = executed

    def is_alive(self, pid: int) -> bool:  # noqa: ARG002 - Prefect's signature
        return not self._run.over.is_set()

    def graceful_kill(self, pid: int) -> None: ...

    def hard_kill(self, pid: int) -> None:  # noqa: ARG002 - Prefect's signature
        self._run.kill()

    def close(self) -> None: ...


class RunsInHand:
    """Prefect's own machinery around the runs in hand, shared by all of them: states, hooks, cancelling.

    Args:
        client: the client of the server.
        hooks: runs on_cancellation and on_crashed hooks.

    """

    def __init__(self, *, client: PrefectClient, hooks: FlowRunHookRunner) -> None:
        self._client = client
        self._hooks = hooks
        self._channel = ControlChannel()
        self._processes = _Processes(on_remove=self._forget)
        self._states = StateProposer(client=client)
        self._events = EventEmitter(runner_name="headgate", client=client)
        self._begun: dict[UUID, asyncio.Event] = {}
        self._ending: set[UUID] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._processes)
        await self._stack.enter_async_context(self._events)
        await self._stack.enter_async_context(self._channel)
        self._cancelling = CancellationManager(
            process_manager=self._processes,
            hook_runner=self._hooks,
            state_proposer=self._states,
            event_emitter=self._events,
            client=self._client,
            control_channel=self._channel,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def in_hand(self) -> set[UUID]:
        """Return the runs that have begun and are not over."""
        return set(self._begun)

    async def execute(
        self, flow_run: FlowRun, begin: Callable[[dict[str, str]], Awaitable[ExecutedRun]], begun: Callable[[int], None]
    ) -> None:
        """Execute a run that is Pending, and set its final state if its process does not.

        Args:
            flow_run: the run to execute.
            begin: starts it with these variables in its environment.
            begun: called with the process id.

        """

        class Starter:
            async def start(
                self, flow_run: FlowRun, task_status: anyio.abc.TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED
            ) -> None:
                port, token = channel.register(flow_run.id)
                executed = await begin({"PREFECT__CONTROL_PORT": str(port), "PREFECT__CONTROL_TOKEN": token})
                begun(executed.pid)
                has_begun.set()
                task_status.started(ProcessHandle(cast("Any", executed), termination_scope=_Scope(executed)))
                await executed.over.wait()

        channel = self._channel
        has_begun = self._begun[flow_run.id] = asyncio.Event()
        executor = FlowRunExecutor(
            flow_run=flow_run,
            starter=Starter(),
            process_manager=self._processes,
            state_proposer=self._states,
            hook_runner=self._hooks,
            get_attempt_conclusion=channel.get_conclusion,
            propose_submitting=False,
        )
        try:
            await executor.submit()
        finally:
            has_begun.set()
            del self._begun[flow_run.id]

    async def cancel(self, flow_run_id: UUID) -> None:
        """End a run that is Cancelling on the server, run its hooks, and make it Cancelled."""
        begun = self._begun.get(flow_run_id)
        if flow_run_id in self._ending or begun is None:
            return
        self._ending.add(flow_run_id)
        try:
            flow_run = await self._cancelled(flow_run_id)
            if flow_run is not None:
                await begun.wait()
                await self._connected(flow_run_id)
                await self._cancelling.cancel(flow_run)
            # A run cancelled before its engine reported Running has left without reporting a state.
            flow_run = await self._cancelled(flow_run_id)
            if flow_run is not None:
                await self._states.propose_cancelled(flow_run, {"message": "Flow run was cancelled before it began."})
        finally:
            self._ending.discard(flow_run_id)

    async def _cancelled(self, flow_run_id: UUID) -> FlowRun | None:
        flow_run = await self._client.read_flow_run(flow_run_id)
        return flow_run if flow_run.state is not None and flow_run.state.is_cancelling() else None

    async def hand_back(self, flow_run_id: UUID) -> None:
        """End a run so that another worker executes it again."""
        handle = self._processes.get(flow_run_id)
        if handle is None:
            return
        self._ending.add(flow_run_id)
        executed = cast("ExecutedRun", handle.raw_process)
        await self._connected(flow_run_id)
        signalled = await self._channel.signal(flow_run_id, "reschedule")
        if signalled is ControlSignalStatus.ALREADY_CONCLUDED:
            await executed.over.wait()
            return
        executed.handed_back = True
        await propose_state(self._client, AwaitingRetry(), flow_run_id=flow_run_id)
        # A run that did not hear that it is handed back would report itself Crashed.
        await self._processes.kill(flow_run_id, force=signalled is not ControlSignalStatus.ACKNOWLEDGED)

    async def _connected(self, flow_run_id: UUID) -> None:
        """Wait until the engine listens: an earlier signal would make the run Crashed."""
        registration = self._channel._registrations.get(flow_run_id)  # noqa: SLF001 - what this module is for
        if registration is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(registration.connected.wait(), CONNECTED_WITHIN)

    async def _forget(self, flow_run_id: UUID) -> None:
        self._channel.unregister(flow_run_id)
