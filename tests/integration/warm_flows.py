"""Flows for the tests of the warm worker; each leaves a line in the file that is named by its parameter `trail`."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from prefect import flow, get_run_logger, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.events import emit_event
from prefect.exceptions import PrefectHTTPStatusError
from prefect.flow_runs import apause_flow_run, asuspend_flow_run
from prefect.flows import Flow


def leave(trail: str, word: str) -> None:
    """Write a line."""
    if trail:
        with Path(trail).open("a", encoding="ascii") as file:
            file.write(f"{word} {os.getpid()}\n")


def on_crashed(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    leave(flow_run.parameters["trail"], f"crashed:{flow.name}:{state.name}")


def on_cancellation(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    leave(flow_run.parameters["trail"], f"cancelled:{flow.name}:{state.name}")


HOOKS: dict[str, Any] = {"on_crashed": [on_crashed], "on_cancellation": [on_cancellation]}


@flow(**HOOKS)
async def a_sleeps(seconds: float = 0, trail: str = "") -> None:
    leave(trail, "begun")
    await asyncio.sleep(seconds)
    leave(trail, "done")


@flow
async def a_parent(seconds: float = 0) -> None:
    """Run a subflow."""
    await a_sleeps(seconds)


@flow(**HOOKS)
def sleeps(seconds: float = 0, trail: str = "") -> None:
    leave(trail, "begun")
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        time.sleep(0.05)
    leave(trail, "done")


@flow(**HOOKS)
async def a_blocks(seconds: float = 0, trail: str = "") -> None:
    """An async flow that never lets its loop go."""
    leave(trail, "begun")
    time.sleep(seconds)  # noqa: ASYNC251 - what this one is for
    leave(trail, "done")


@task
def tells() -> None:
    get_run_logger().info("from the task")


@flow
def logs(trail: str = "") -> None:
    get_run_logger().info("from the flow")
    tells()
    emit_event("warm.happened", resource={"prefect.resource.id": f"warm.{os.getpid()}"})
    leave(trail, "done")


@flow(retries=1, retry_delay_seconds=1)
async def fails_once(trail: str) -> None:
    leave(trail, "begun")
    if len(Path(trail).read_text(encoding="ascii").splitlines()) == 1:
        message = "the first time"
        raise RuntimeError(message)


@flow
def fails() -> None:
    message = "always"
    raise RuntimeError(message)


@flow(timeout_seconds=0.5)
def takes_too_long(seconds: float = 30) -> None:
    time.sleep(seconds)


@flow(timeout_seconds=0.5)
async def a_takes_too_long(seconds: float = 30) -> None:
    await asyncio.sleep(seconds)


@flow
async def pauses(trail: str) -> None:
    leave(trail, "begun")
    await apause_flow_run(timeout=60, poll_interval=1)
    leave(trail, "done")


@flow(persist_result=True)
async def suspends(trail: str) -> None:
    leave(trail, "begun")
    await asuspend_flow_run(timeout=60)
    leave(trail, "done")


@task
async def waits() -> None:
    await asyncio.sleep(0.1)


@flow
async def steps(count: int, trail: str) -> None:
    """Many steps, at each of which it can be suspended."""
    leave(trail, "begun")
    for _ in range(count):
        await waits()
    leave(trail, "done")


HELD: list[bytes] = []


@flow
def eats(megabytes: int, trail: str) -> None:
    HELD.append(os.urandom(megabytes * 1024**2))
    leave(trail, "done")


@flow(flow_run_name="nested {word}", retries=1)
async def nested(word: str, trail: str) -> str:
    leave(trail, word)
    if word == "fails" and Path(trail).read_text(encoding="ascii").count("fails") == 1:
        message = "the first time"
        raise RuntimeError(message)
    return word


@flow(flow_run_name="nests for {trail}")
async def nests(trail: str) -> None:
    """Subflows one after the other and at once, and what the server says of one when it is over."""
    first: State[str] = await nested("first", trail, return_state=True)
    await asyncio.gather(nested("second", trail), nested("fails", trail))
    async with get_client() as client:
        seen = await client.read_flow_run(first.state_details.flow_run_id)  # type: ignore[arg-type]
        leave(trail, f"seen:{seen.state_name}:{await first.aresult()}")
        for refused in (client.set_flow_run_name(uuid4(), "nobody"), client.update_flow_run(uuid4(), name="nobody")):
            try:
                await refused
            except PrefectHTTPStatusError:
                leave(trail, "refused")
