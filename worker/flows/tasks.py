"""What our tasks have in common: nothing cached or persisted, transient errors tried again within the run."""

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from worker.errors import KafkaUnavailable, Transient

P = ParamSpec("P")
R = TypeVar("R")

# Seconds between the tries within a run; what takes longer is the ledger's to retry, with the lease given back.
TRY_AGAIN_AFTER = [0.5, 2, 5]


def stage_task(name: str) -> Callable[[Callable[P, Awaitable[R]]], Task[P, Awaitable[R]]]:
    """Make a task of an async function.

    Args:
        name: what people are shown.

    """

    def make(function: Callable[P, Awaitable[R]]) -> Task[P, Awaitable[R]]:
        return Task(
            function,
            name=name,
            retries=len(TRY_AGAIN_AFTER),
            retry_delay_seconds=TRY_AGAIN_AFTER,
            retry_condition_fn=_is_transient,
            cache_policy=NO_CACHE,
            persist_result=False,
        )

    return make


def _is_transient(_: Task[..., object], __: TaskRun, state: State[object]) -> bool:
    # A client of Kafka has waited by itself before it gave up; files are not to wait for it any longer.
    return isinstance(state.data, Transient) and not isinstance(state.data, KafkaUnavailable)
