"""Prefect's client in a warm process: what it knows is not asked for, and what nobody waits for is told later.

Prefect's engine makes eight requests for a subflow, each after the other; with this client it waits for two. What the
server is told in the end is the same, in the same order for each run.
"""

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any
from uuid import UUID, uuid4

import httpx
import structlog
from prefect.client import orchestration
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State, TaskRun
from prefect.client.schemas.responses import OrchestrationResult, SetStateStatus, StateAcceptDetails
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Running

MADE = ("/flows/", "/task_runs/", "/flow_runs/")  # what is made does not depend on what is still to be told

_AHEAD: ContextVar[bool] = ContextVar("ahead", default=False)  # of what is still to be told

log = structlog.get_logger()


def use() -> None:
    """Have Prefect's engine use this client in this process."""
    orchestration.PrefectClient = AwareClient  # type: ignore[misc]


class AwareClient(PrefectClient):
    """Prefect's client that remembers the subflows which it made itself."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._flows: dict[str, httpx.Response] = {}  # by name
        self._fresh: set[UUID] = set()  # task runs made here for subflows that are not made yet
        self._subflows: dict[UUID, FlowRun] = {}  # made here as Running; their engine has not said so yet
        self._unread: dict[UUID, FlowRun] = {}  # made here, and nobody else knows of them
        self._told: set[asyncio.Task[None]] = set()
        self._given: FlowRun | None = None

    def expect(self, flow_run: FlowRun) -> None:
        """Know a run that is to be executed, as the worker has just read it."""
        self._given = flow_run

    async def request(
        self,
        method: Any,
        path: Any,
        params: dict[str, Any] | None = None,
        path_params: dict[str, Any] | None = None,
        **options: Any,
    ) -> httpx.Response:
        """Ask the server, after all that it was to be told has been told."""
        if path == "/flows/" and (known := self._flows.get(options["json"]["name"])):
            return known
        if path not in MADE and not _AHEAD.get():
            while self._told:
                await asyncio.wait(set(self._told))
        answer = await super().request(method, path, params=params, path_params=path_params, **options)
        if path == "/flows/":
            self._flows[options["json"]["name"]] = answer
        return answer

    async def create_task_run(self, *args: Any, **options: Any) -> TaskRun:
        """Make a task run; the server answers with another id if it has it from an earlier attempt of the flow run."""
        asked = options["id"] = options.get("id") or uuid4()
        made = await super().create_task_run(*args, **options)
        if made.id == asked:
            self._fresh.add(asked)
        return made

    async def read_flow_runs(self, **options: Any) -> list[FlowRun]:
        """Find flow runs; a task run that was made just now has none."""
        wanted = options.get("flow_run_filter")
        parents = getattr(getattr(wanted, "parent_task_run_id", None), "any_", None) or [None]
        if len(parents) == 1 and parents[0] in self._fresh:
            return []
        return await super().read_flow_runs(**options)

    async def create_flow_run(self, flow: Any, *args: Any, **options: Any) -> FlowRun:
        """Make a flow run; a subflow is Running from the start, for nothing stands between the two."""
        parent = options.get("parent_task_run_id")
        if parent not in self._fresh:
            return await super().create_flow_run(flow, *args, **options)
        self._fresh.discard(parent)
        pending = options["state"]
        options |= {"state": Running(), "name": _name(flow, options["parameters"])}
        try:
            made = await super().create_flow_run(flow, *args, **options)
        except PrefectHTTPStatusError:
            self._flows.clear()  # somebody may have deleted the flow
            made = await super().create_flow_run(flow, *args, **options)
        self._subflows[made.id] = self._unread[made.id] = made
        return made.model_copy(
            update={"state": pending, "state_type": pending.type, "state_name": pending.name, "state_id": pending.id}
        )

    def _begins(self, flow_run_id: UUID) -> bool:
        """Whether this is the engine's doing, about a run that it begins; what a flow itself asks for is waited for."""
        return flow_run_id in self._unread or (self._given is not None and self._given.id == flow_run_id)

    async def update_flow_run(self, flow_run_id: UUID, *args: Any, **options: Any) -> httpx.Response:
        """Tell what a flow run is made of; a run that begins does not wait for it."""
        telling = super().update_flow_run(flow_run_id, *args, **options)
        if not self._begins(flow_run_id):
            return await telling
        self._later(telling)
        return httpx.Response(httpx.codes.NO_CONTENT)

    async def set_flow_run_name(self, flow_run_id: UUID, name: str) -> httpx.Response:
        """Name a flow run; a run that begins does not wait for it."""
        if not self._begins(flow_run_id):
            return await super().set_flow_run_name(flow_run_id, name)
        known = self._unread.get(flow_run_id)
        if known is None or known.name != name:
            self._later(super().set_flow_run_name(flow_run_id, name))
        return httpx.Response(httpx.codes.NO_CONTENT)

    async def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        """Read a flow run; one that was made just now is known."""
        return self._unread.pop(flow_run_id, None) or await super().read_flow_run(flow_run_id)

    async def set_flow_run_state(
        self,
        flow_run_id: UUID | str,
        state: State[Any],
        force: bool = False,  # noqa: FBT001, FBT002 - Prefect's signature
    ) -> OrchestrationResult[Any]:
        """Propose a state; that a subflow made here is Running is known, and that it is Completed nobody refuses."""
        mine = UUID(str(flow_run_id))
        made = self._subflows.get(mine)
        if made is None or made.state is None or force:
            self._subflows.pop(mine, None)
            return await self._propose(mine, state, force=force)
        if state.is_running() and mine in self._unread:
            return _accepted(made.state)
        del self._subflows[mine]
        if not state.is_completed():
            return await super().set_flow_run_state(mine, state)
        self._later(super().set_flow_run_state(mine, state))
        told = state.model_copy(deep=False)
        told.state_details = state.state_details.model_copy(update={"flow_run_id": mine})
        return _accepted(told)

    async def _propose(self, flow_run_id: UUID, state: State[Any], *, force: bool) -> OrchestrationResult[Any]:
        if not state.is_running():
            return await super().set_flow_run_state(flow_run_id, state, force=force)
        ahead = _AHEAD.set(True)  # how a run is called need not be known before it is Running
        try:
            result = await super().set_flow_run_state(flow_run_id, state, force=force)
        finally:
            _AHEAD.reset(ahead)
        given, self._given = self._given, None
        if given is not None and given.id == flow_run_id and result.status is SetStateStatus.ACCEPT and result.state:
            # As the server would tell it now.
            self._unread[flow_run_id] = given.model_copy(
                update={
                    "state": result.state,
                    "state_id": result.state.id,
                    "state_type": result.state.type,
                    "state_name": result.state.name,
                    "run_count": given.run_count + 1,
                    "start_time": given.start_time or result.state.timestamp,
                }
            )
        return result

    def _later(self, telling: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(_tell(telling))
        self._told.add(task)
        task.add_done_callback(self._told.discard)


async def _tell(telling: Coroutine[Any, Any, object]) -> None:
    _AHEAD.set(True)
    try:
        await telling
    except httpx.HTTPError as error:  # what the run itself says at its end meets the same fate, and is not passed over
        log.warning("the Prefect server was not told of a subflow", action="work", error=str(error))


def _name(flow: Any, parameters: dict[str, Any]) -> str | None:
    """The name that the engine will give the run, where that takes no more than its parameters."""
    template = flow.flow_run_name
    try:
        return template.format(**parameters) if isinstance(template, str) else None
    except (LookupError, ValueError, AttributeError):
        return None


def _accepted(state: State[Any]) -> OrchestrationResult[Any]:
    return OrchestrationResult(state=state, status=SetStateStatus.ACCEPT, details=StateAcceptDetails())
