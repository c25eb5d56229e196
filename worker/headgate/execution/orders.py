"""The messages between a worker and its warm processes, pickled and sent over a pipe."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Run:
    """From the worker: execute this flow run."""

    flow_run: str  # as JSON
    entrypoint: str  # package.module.flow
    environment: Mapping[str, str]  # set for this run alone


@dataclass(frozen=True, slots=True)
class RunHooks:
    """From the worker: run the hooks of a flow whose own process is gone or was ended."""

    flow_run: str  # as JSON
    entrypoint: str
    state: str  # as JSON; its type selects on_cancellation or on_crashed


@dataclass(frozen=True, slots=True)
class Stop:
    """From the worker: end the run in hand; the control channel has already told Prefect's engine the reason."""


@dataclass(frozen=True, slots=True)
class Suspend:
    """From the worker: the run in hand was suspended on the server and must leave at its next step."""

    flow_run_id: str
    state: str  # as JSON


@dataclass(frozen=True, slots=True)
class MakeRoom:
    """From the worker: another run waits for a place; a run in hand that could go on for ever must end soon."""


@dataclass(frozen=True, slots=True)
class Leave:
    """From the worker: take no more runs, write out pending logs and events, and end."""


@dataclass(frozen=True, slots=True)
class Over:
    """From the process: the order is complete. The first one, with code 0, says that the process is warm."""

    code: int = 0  # an exit code: nonzero means that it ended in a way that Prefect's engine has not reported
    leaving: bool = False  # this process takes no more orders
    memory: int = 0  # resident, bytes
    sources: Mapping[str, int] = field(default_factory=dict)  # users' modules in use: file -> mtime in nanoseconds


Order = Run | RunHooks | Stop | Suspend | MakeRoom | Leave
