"""What a worker and its warm processes say to each other, pickled, over a pipe."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Run:
    """Worker: execute this flow run."""

    flow_run: str  # as JSON
    entrypoint: str  # package.module.flow
    environment: Mapping[str, str]  # set for this run alone


@dataclass(frozen=True, slots=True)
class RunHooks:
    """Worker: run the hooks of a flow whose own process is gone or was ended."""

    flow_run: str  # as JSON
    entrypoint: str
    state: str  # as JSON; on_cancellation or on_crashed, by its type


@dataclass(frozen=True, slots=True)
class Stop:
    """Worker: end the run in hand; what for, the control channel has told Prefect's engine before."""


@dataclass(frozen=True, slots=True)
class Suspend:
    """Worker: the run in hand was suspended on the server; it is to leave at its next step."""

    flow_run_id: str
    state: str  # as JSON


@dataclass(frozen=True, slots=True)
class Leave:
    """Worker: no more runs for you; write what is to be written, and end."""


@dataclass(frozen=True, slots=True)
class Over:
    """Process: what was ordered is over. The first one, with code 0, says that the process is warm."""

    code: int = 0  # as an exit code: not 0 means that it ended in a way that Prefect's engine has not reported
    leaving: bool = False  # this process takes nothing more
    memory: int = 0  # resident, bytes
    sources: Mapping[str, int] = field(default_factory=dict)  # users' modules in use: file -> mtime in nanoseconds


Order = Run | RunHooks | Stop | Suspend | Leave
