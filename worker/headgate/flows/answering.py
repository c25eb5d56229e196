"""Shared by the deployments that rules start: each event is answered once, in one sentence."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeVar
from uuid import uuid4

import structlog
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from headgate.app import App, open_app
from headgate.flows.workbench import configure_logging
from headgate.ledger.database import Connection
from headgate.operations.requests import Asked, understand
from headgate.settings import Settings

T = TypeVar("T")

log = structlog.get_logger()


async def answer(
    deployment: str,
    parameters: Mapping[str, object],
    event: str | None,
    do: Callable[[App, Asked], Awaitable[str]],
) -> State[None]:
    """Do what a rule asks for, unless another run has done it for the same event.

    Args:
        deployment: the deployment's name.
        parameters: the run's parameters, without `event`.
        event: the event's id, if the rule passes it.
        do: does the work, and returns one sentence on what it did. It must be safe to repeat: a run may be killed
            before its answer is recorded.

    """
    settings = Settings.load()
    configure_logging(settings)
    run = str(flow_run.id or uuid4())
    with open_app(settings) as app:
        reads = "pipeline" in parameters and not parameters["pipeline"]
        what = _named(deployment, parameters)
        asked = await asyncio.to_thread(partial(understand, app, what, run, event, reads=reads))
        before = await asyncio.to_thread(app.requests.take, asked.key, by=run)
        if before is not None:
            done = before.answer or "it is at work"
            return Completed(name="Asked before", message=f"Flow run {before.asked_by} answers this event: {done}")
        try:
            sentence = await do(app, asked)
        except Exception:
            await asyncio.to_thread(app.requests.give_back, asked.key, by=run)  # the event may be answered again
            raise
        await transacted(app, lambda connection: app.requests.end(connection, asked.key, sentence))
    log.info("answered", action="answer", deployment=deployment, by=asked.by, answer=sentence)
    return Completed(message=sentence)


def _named(deployment: str, parameters: Mapping[str, object]) -> str:
    """Return a name of bounded length for a request."""
    given = sorted((name, str(value)) for name, value in parameters.items() if value not in {None, ""})
    return f"{deployment} {hashlib.sha256(repr(given).encode()).hexdigest()[:16]}"


async def transacted(app: App, do: Callable[[Connection], T]) -> T:
    """Call a function in one transaction, in a thread."""

    def whole() -> T:
        with app.database.transaction() as connection:
            return do(connection)

    return await asyncio.to_thread(whole)
