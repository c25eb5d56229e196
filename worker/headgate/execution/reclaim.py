"""Put back the runs of a killed worker: Prefect's server would show them as Running for ever."""

import os
import socket
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self
from uuid import UUID

import structlog
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterParentTaskRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterId,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, StateType, TaskRun
from prefect.states import AwaitingRetry, Cancelled, Crashed

# A run that was begun this often, and killed its worker each time, is not begun again.
MOST_STARTS = 3
PAGE = 200
ENDED = FlowRunFilterStateType(any_=[StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED])
UNFINISHED = FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING, StateType.CANCELLING])
AT_REST = timedelta(seconds=20)  # minimum age of a state before we check the run; also the interval
LONGEST_START = timedelta(minutes=5)  # from Pending until a run is executed
# A subflow in the process of its parent has no deployment. `run_deployment` makes runs that have a parent too, but live
# elsewhere.
IN_PROCESS = FlowRunFilterDeploymentId(is_null_=True)
TAKEN = "Taken by "  # the start of a Pending run's message; the place of its worker follows

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Place:
    """The place where a run is executed, which the server stores as `infrastructure_pid`."""

    host: str  # hosts that see different processes must not share a name
    pid: int
    started: int  # ticks since boot: distinguishes a process from a later one with the same id

    @classmethod
    def of(cls, pid: int) -> Self:
        """Return the place of a process on this host."""
        return cls(socket.gethostname(), pid, _started(pid) or 0)

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """Parse a stored place; return None if we did not write it."""
        host, _, rest = (text or "").rpartition("/")
        pid, _, started = rest.partition("@")
        return cls(host, int(pid), int(started)) if host and pid.isdecimal() and started.isdecimal() else None

    def __str__(self) -> str:
        return f"{self.host}/{self.pid}@{self.started}"

    def is_gone(self) -> bool:
        """Return whether this was a process of this host that no longer exists."""
        return self.host == socket.gethostname() and _started(self.pid) != self.started


def claim(pid: int) -> str:
    """Return the message of a Pending state, which names the worker that has taken the run."""
    return f"{TAKEN}{Place.of(pid)}"


async def reclaim(
    client: PrefectClient, pool: str, *, in_hand: AbstractSet[UUID] = frozenset(), at_rest: timedelta = timedelta(0)
) -> int:
    """Put back the runs of a pool whose process on this host is gone or never existed.

    Args:
        client: the client of the server.
        pool: the name of the work pool.
        in_hand: runs that the caller executes itself.
        at_rest: leave runs alone whose state is younger: another worker may be about to record their place.

    Returns:
        The number of runs put back.

    """
    found: list[FlowRun] = []
    while page := await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=UNFINISHED)),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
        limit=PAGE,
        offset=len(found),
    ):
        found += page
    lost = [run for run in found if run.id not in in_hand and _age(run) >= at_rest and _is_lost(run)]
    await _crash_subflows(client, [run.id for run in lost])  # first: a run that is put back may soon have new ones
    for run in lost:
        if run.state_type is StateType.CANCELLING:
            state: State[None] = Cancelled(message="Its worker ended before it could say so.")
        elif run.run_count < MOST_STARTS:
            state = AwaitingRetry(message="Its worker was killed.")
        else:
            state = Crashed(message=f"It was begun {run.run_count} times, and its worker was killed each time.")
        await client.set_flow_run_state(run.id, state, force=True)
        log.warning("a run of a killed worker is put back", action="reclaim", flow_run_id=str(run.id), state=state.name)
    await _crash_orphans(client, pool, at_rest)
    return len(lost)


async def _crash_subflows(client: PrefectClient, parents: Sequence[UUID]) -> None:
    """End the subflows that died with their runs: they belong to no work pool and would stay Running for ever."""
    for start in range(0, len(parents), PAGE):
        of = FlowRunFilterParentFlowRunId(any_=list(parents[start : start + PAGE]))
        asked = FlowRunFilter(
            parent_flow_run_id=of, deployment_id=IN_PROCESS, state=FlowRunFilterState(type=UNFINISHED)
        )
        found: list[FlowRun] = []
        while page := await client.read_flow_runs(flow_run_filter=asked, limit=PAGE, offset=len(found)):
            found += page
        for run in found:
            state: State[None] = Crashed(message="The process of its parent was killed.")
            await client.set_flow_run_state(run.id, state, force=True)


async def _crash_orphans(client: PrefectClient, pool: str, at_rest: timedelta) -> None:
    """End the subflows whose parents ended without them, because the run's process was killed but not its worker.

    Their parents show which pool they belong to.
    """
    asked = FlowRunFilter(
        state=FlowRunFilterState(type=UNFINISHED),
        deployment_id=IN_PROCESS,
        parent_task_run_id=FlowRunFilterParentTaskRunId(is_null_=False),
    )
    subflows: list[FlowRun] = []
    while page := await client.read_flow_runs(flow_run_filter=asked, limit=PAGE, offset=len(subflows)):
        subflows += page
    by_task = {run.parent_task_run_id: run for run in subflows if run.parent_task_run_id and _age(run) >= at_rest}
    for chunk in _pages(list(by_task)):
        tasks: list[TaskRun] = await client.read_task_runs(
            task_run_filter=TaskRunFilter(id=TaskRunFilterId(any_=chunk)), limit=PAGE
        )
        parents = {task.id: task.flow_run_id for task in tasks if task.flow_run_id}
        ended = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                id=FlowRunFilterId(any_=list(parents.values())), state=FlowRunFilterState(type=ENDED)
            ),
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
            limit=PAGE,
        )
        over = {run.id for run in ended if _age(run) >= at_rest}
        for task, parent in parents.items():
            if parent in over:
                state: State[None] = Crashed(message="Its parent has ended without it: the process was killed.")
                await client.set_flow_run_state(by_task[task].id, state, force=True)


def _pages(ids: list[UUID]) -> list[list[UUID]]:
    return [ids[start : start + PAGE] for start in range(0, len(ids), PAGE)]


def _age(run: FlowRun) -> timedelta:
    return timedelta(0) if run.state is None else datetime.now(UTC) - run.state.timestamp


def _is_lost(run: FlowRun) -> bool:
    if run.state_type is not StateType.PENDING:
        place = Place.parse(run.infrastructure_pid)
        return place is not None and place.is_gone()
    # The recorded place may be that of an earlier attempt, or still unknown. The worker that took the run, or its host,
    # may be gone.
    taker = Place.parse(_message(run).removeprefix(TAKEN)) if _message(run).startswith(TAKEN) else None
    if taker is None and run.infrastructure_pid:
        taker = Place.parse(run.infrastructure_pid)
        return taker is not None and taker.is_gone()  # a run taken by another type of worker belongs to that worker
    return (taker is not None and taker.is_gone()) or _age(run) >= LONGEST_START


def _message(run: FlowRun) -> str:
    return (run.state.message if run.state is not None else None) or ""


def _started(pid: int) -> int | None:
    """Return when a process was started, in ticks since boot, or None if it does not exist or is a zombie."""
    try:
        # proc(5): "pid (name) state ...": the name may hold anything; the start time is the 20th after it
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    except OSError:
        return None
    return None if fields[0] in b"ZX" else int(fields[19])


def here() -> str:
    """Return a name for this process, for a worker without one."""
    return f"headgate {socket.gethostname()} {os.getpid()}"
