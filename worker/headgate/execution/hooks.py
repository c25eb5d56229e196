"""Hooks of runs that could not run them themselves; a warm process runs them, so the worker executes no user code."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import FlowRun, State

from headgate.execution.orders import RunHooks
from headgate.execution.pool import Pool


class Hooks:
    """Runs on_cancellation and on_crashed hooks.

    Args:
        pool: the processes that run the hooks.
        entrypoint: returns the entry point of a deployment's flow.

    """

    def __init__(self, *, pool: Pool, entrypoint: Callable[[UUID], Awaitable[str]]) -> None:
        self._pool = pool
        self._entrypoint = entrypoint

    async def run_cancellation_hooks(self, flow_run: FlowRun, state: State[Any]) -> None:
        """Run the flow's on_cancellation hooks."""
        await self._run(flow_run, state)

    async def run_crashed_hooks(self, flow_run: FlowRun, state: State[Any]) -> None:
        """Run the flow's on_crashed hooks after its process died."""
        await self._run(flow_run, state)

    async def _run(self, flow_run: FlowRun, state: State[Any]) -> None:
        if flow_run.deployment_id is None:
            return
        entrypoint = await self._entrypoint(flow_run.deployment_id)
        warm = await self._pool.acquire()
        try:
            await warm.begin(RunHooks(flow_run.model_dump_json(), entrypoint, state.model_dump_json())).over.wait()
        finally:
            self._pool.release(warm)
