"""Prefect's client in a warm process: it requests nothing that it knows, and delays requests that nobody waits for.

Prefect's engine makes eight requests for a subflow, one after the other; with this client it waits for two. The server
ends up with the same runs, names and final states.
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

MADE = ("/flows/", "/task_runs/", "/flow_runs/")  # creating these does not depend on delayed requests

_AHEAD: ContextVar[bool] = ContextVar("ahead", default=False)  # whether a request may overtake delayed ones

log = structlog.get_logger()


def use() -> None:
    """Have Prefect's engine use this client in this process."""
    orchestration.PrefectClient = AwareClient  # type: ignore[misc]


class AwareClient(PrefectClient):
    """A Prefect client that remembers the subflows that it created."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._flows: dict[str, httpx.Response] = {}  # by name
        self._fresh: set[UUID] = set()  # task runs created here for subflows that do not exist yet
        self._subflows: dict[UUID, FlowRun] = {}  # created here as Running, until their engine proposes another state
        self._unread: dict[UUID, FlowRun] = {}  # created or begun here; their first read needs no request
        self._told: set[asyncio.Task[None]] = set()
        self._given: FlowRun | None = None

    def expect(self, flow_run: FlowRun) -> None:
        """Remember a run that is about to be executed, as the worker has just read it."""
        self._given = flow_run

    async def request(
        self,
        method: Any,
        path: Any,
        params: dict[str, Any] | None = None,
        path_params: dict[str, Any] | None = None,
        **options: Any,
    ) -> httpx.Response:
        """Send a request to the server, after all delayed requests have been sent."""
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
        """Create a task run; the server returns another id if an earlier attempt of the flow run created it."""
        asked = options["id"] = options.get("id") or uuid4()
        made = await super().create_task_run(*args, **options)
        if made.id == asked:
            self._fresh.add(asked)
        return made

    async def read_flow_runs(self, **options: Any) -> list[FlowRun]:
        """Find flow runs; a task run that was just created has none."""
        wanted = options.get("flow_run_filter")
        parents = getattr(getattr(wanted, "parent_task_run_id", None), "any_", None) or [None]
        if len(parents) == 1 and parents[0] in self._fresh:
            return []
        return await super().read_flow_runs(**options)

    async def create_flow_run(self, flow: Any, *args: Any, **options: Any) -> FlowRun:
        """Create a flow run; create a subflow as Running, because it does nothing while Pending."""
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
        """Return whether the engine is beginning this run; a flow's own requests must not be delayed."""
        return flow_run_id in self._unread or (self._given is not None and self._given.id == flow_run_id)

    async def update_flow_run(self, flow_run_id: UUID, *args: Any, **options: Any) -> httpx.Response:
        """Update a flow run; a run that begins does not wait for it."""
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
        """Return a flow run; one that was just created is known without a request."""
        return self._unread.pop(flow_run_id, None) or await super().read_flow_run(flow_run_id)

    async def set_flow_run_state(
        self,
        flow_run_id: UUID | str,
        state: State[Any],
        force: bool = False,  # noqa: FBT001, FBT002 - Prefect's signature
    ) -> OrchestrationResult[Any]:
        """Propose a state; a subflow created here is already Running, and the server never refuses its Completed."""
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
        ahead = _AHEAD.set(True)  # a run's name need not reach the server before it is Running
        try:
            result = await super().set_flow_run_state(flow_run_id, state, force=force)
        finally:
            _AHEAD.reset(ahead)
        given, self._given = self._given, None
        if given is not None and given.id == flow_run_id and result.status is SetStateStatus.ACCEPT and result.state:
            # As the server would return it now.
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
    except httpx.HTTPError as error:  # the run's own final state fails the same way, and that error is not ignored
        log.warning("the Prefect server was not told of a subflow", action="work", error=str(error))


def _name(flow: Any, parameters: dict[str, Any]) -> str | None:
    """Return the name that the engine will give the run, if it depends on the parameters alone."""
    template = flow.flow_run_name
    try:
        return template.format(**parameters) if isinstance(template, str) else None
    except (LookupError, ValueError, AttributeError):
        return None


def _accepted(state: State[Any]) -> OrchestrationResult[Any]:
    return OrchestrationResult(state=state, status=SetStateStatus.ACCEPT, details=StateAcceptDetails())
