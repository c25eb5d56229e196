"""Prefect's flow engine in a process that executes one run after the other."""

import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from types import GeneratorType
from typing import Any, cast
from uuid import UUID

from prefect import Flow, flow_engine, results
from prefect._flow_run_suspension import FlowRunSuspensionRequest, mark_flow_run_suspension_requested
from prefect._internal import control_listener
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.flow_engine import run_flow
from prefect.runner._hook_runner import _run_hooks

from headgate.execution.prefect_internals import client, tls
from headgate.private_names import Use, usable


def become_child() -> None:
    """Tell Prefect's engine that this process has a worker that handles cancelling, suspending and crashes."""
    os.environ["PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS"] = "false"
    if usable(Use.SUSPENSION):
        # Prefect's observer starts a thread, a loop, a client and a websocket for each run and waits for them: 165 ms.
        flow_engine.observe_flow_run_suspension = _observe_nothing  # type: ignore[attr-defined]
    if usable(Use.HEARTBEATS):
        flow_engine._send_heartbeats = _send_heartbeats  # noqa: SLF001 - what this module is for
    if usable(Use.REQUESTS):
        client.use()
    tls.share()
    if usable(Use.STORAGE):
        results._read_server_default_result_storage_block_id = _default_storage.told  # noqa: SLF001 - what this module is for


@contextmanager
def _observe_nothing(
    flow_run_id: UUID,  # noqa: ARG001 - Prefect's signature
    suspension_request: FlowRunSuspensionRequest,  # noqa: ARG001 - Prefect's signature
    polling_interval: float = 10,  # noqa: ARG001 - Prefect's signature
) -> Generator[None, None, None]:
    yield


@contextmanager
def _send_heartbeats(engine: Any, join_on_exit: bool = True) -> Generator[None, None, None]:  # noqa: ARG001, FBT001, FBT002 - Prefect's signature
    """Send heartbeats like Prefect's own, without its one-second sleeps: a sync flow waits for the last of them."""
    if engine.heartbeat_seconds is None:
        yield
        return
    every = max(engine.heartbeat_seconds, flow_engine.MINIMUM_HEARTBEAT_INTERVAL)
    # A run beats at once; a subflow that ends before its first beat is due need not.
    first = 0 if engine.flow_run.parent_task_run_id is None else every
    resource, related = engine._build_heartbeat_event_template()  # noqa: SLF001 - what this module is for
    over = threading.Event()

    def beat() -> None:
        pause = first
        while not over.wait(pause):
            with suppress(Exception):  # the next one follows a lost heartbeat
                engine._emit_flow_run_heartbeat(resource, related)  # noqa: SLF001 - what this module is for
            pause = every

    threading.Thread(target=beat, daemon=True, name="heartbeats").start()
    try:
        yield
    finally:
        over.set()


class _DefaultStorage:
    """The server's default result storage, requested once per run while the engine does other work.

    The engine asks twice, and waits each time.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="results")
        self._asked: Future[UUID | None] | None = None
        self._ask = getattr(results, "_read_server_default_result_storage_block_id", lambda: None)

    def ask(self) -> None:
        self._asked = self._threads.submit(copy_context().run, self._ask)

    def told(self) -> UUID | None:
        return self._ask() if self._asked is None else self._asked.result()


_default_storage = _DefaultStorage()


def expect_run() -> None:
    """Have the engine of the next run listen to the worker; the environment holds the address."""
    control_listener.clear_intent()
    control_listener.stop()
    control_listener.configure_from_env()
    if usable(Use.STORAGE):
        _default_storage.ask()


def is_accounted_for() -> bool:
    """Return whether the engine has told the server how the run ended, or the worker will."""
    return control_listener.get_intent() is not None or control_listener.engine_outcome_is_handled()


def suspend(flow_run_id: str, state: State[Any]) -> None:
    """Have a run leave at its next step."""
    mark_flow_run_suspension_requested(UUID(flow_run_id), state)


def run_sync(flow: Flow[..., Any], flow_run: FlowRun) -> None:
    """Execute a flow run; call it in the main thread."""
    result = run_flow(flow, flow_run=flow_run)
    if isinstance(result, GeneratorType):
        for _ in result:
            pass


async def run_async(flow: Flow[..., Any], flow_run: FlowRun) -> None:
    """Execute a run of an async flow."""
    known = get_client()
    if isinstance(known, client.AwareClient):
        known.expect(flow_run)
    result = run_flow(flow, flow_run=flow_run)
    if isinstance(result, AsyncGenerator):
        async for _ in result:
            pass
    else:
        await cast("Awaitable[object]", result)


async def run_hooks(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Run the hooks of a flow for a state that its own process could not handle."""
    hooks = flow.on_crashed_hooks if state.is_crashed() else flow.on_cancellation_hooks
    await _run_hooks(hooks or [], flow_run, flow, state)
