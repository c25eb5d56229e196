"""Put back what a killed worker left: Prefect's server would show such runs as Running for ever."""

import os
import socket
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
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import AwaitingRetry, Cancelled, Crashed

# A run that was begun so often, and took its worker with it each time, is not begun again.
MOST_STARTS = 3
PAGE = 200
LONGEST_START = timedelta(minutes=5)  # from Pending until it is known where a run is executed

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run is executed: what the server keeps as its `infrastructure_pid`."""

    host: str  # hosts that see different processes must not share a name
    pid: int
    started: int  # ticks since the host's start: tells a process from a later one of the same id

    @classmethod
    def of(cls, pid: int) -> Self:
        """The place of a process here."""
        return cls(socket.gethostname(), pid, _started(pid) or 0)

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """Read it again; None if it was not written by us."""
        host, _, rest = (text or "").rpartition("/")
        pid, _, started = rest.partition("@")
        return cls(host, int(pid), int(started)) if host and pid.isdecimal() and started.isdecimal() else None

    def __str__(self) -> str:
        return f"{self.host}/{self.pid}@{self.started}"

    def is_gone(self) -> bool:
        """Whether this was a process of this host that is no more."""
        return self.host == socket.gethostname() and _started(self.pid) != self.started


async def reclaim(
    client: PrefectClient, pool: str, *, in_hand: AbstractSet[UUID] = frozenset(), at_rest: timedelta = timedelta(0)
) -> int:
    """Put back the runs of a pool whose process on this host is gone, or that never had one.

    Args:
        client: to the server.
        pool: the work pool.
        in_hand: runs that are the caller's own.
        at_rest: runs whose state is younger are left alone: another worker may be about to say where they are.

    Returns:
        How many there were.

    """
    unfinished = FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING, StateType.CANCELLING])
    found: list[FlowRun] = []
    while page := await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=unfinished)),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
        limit=PAGE,
        offset=len(found),
    ):
        found += page
    lost = [run for run in found if run.id not in in_hand and _age(run) >= at_rest and _is_lost(run)]
    for run in lost:
        if run.state_type is StateType.CANCELLING:
            state: State[None] = Cancelled(message="Its worker ended before it could say so.")
        elif run.run_count < MOST_STARTS:
            state = AwaitingRetry(message="Its worker was killed.")
        else:
            state = Crashed(message=f"It was begun {run.run_count} times, and its worker was killed each time.")
        await client.set_flow_run_state(run.id, state, force=True)
        log.warning("a run of a killed worker is put back", action="reclaim", flow_run_id=str(run.id), state=state.name)
    return len(lost)


def _age(run: FlowRun) -> timedelta:
    return timedelta(0) if run.state is None else datetime.now(UTC) - run.state.timestamp


def _is_lost(run: FlowRun) -> bool:
    place = Place.parse(run.infrastructure_pid)
    if place is not None:
        return place.is_gone()
    # Its worker was killed between taking it and saying where it is.
    return run.state_type is StateType.PENDING and not run.infrastructure_pid and _age(run) >= LONGEST_START


def _started(pid: int) -> int | None:
    """When a process was started, in ticks since the host's start; None if there is none, or only its remains."""
    try:
        # proc(5): "pid (name) state ...": the name may hold anything; the start time is the 20th after it
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    except OSError:
        return None
    return None if fields[0] in b"ZX" else int(fields[19])


def here() -> str:
    """Name this process, for a worker that has none."""
    return f"headgate {socket.gethostname()} {os.getpid()}"
