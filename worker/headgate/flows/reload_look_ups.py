"""A deployment for rules: read a pipeline's look-ups again."""

import asyncio

from prefect import flow
from prefect.client.schemas.objects import State

from headgate.app import App
from headgate.flows.answering import answer
from headgate.flows.parameters import Text
from headgate.operations.look_ups import reload_look_ups as reload
from headgate.operations.requests import Asked


@flow(name="reload-look-ups", persist_result=False)
async def reload_look_ups(pipeline: Text = "", event: Text = "") -> State[None]:
    """Read and check the references of a pipeline's look-ups now, and publish an event about it.

    Args:
        pipeline: the pipeline's name; empty: the event's pipeline.
        event: the event's id, {{ event.id | string }}; with it, the run need not ask which event it was.

    """

    async def do(app: App, asked: Asked) -> str:
        named = asked.pipeline(app, pipeline)
        loaded = await asyncio.to_thread(reload, app, named)
        told = ", ".join(f"{each.name} ({each.rows:,} rows)" for each in loaded)
        return f"The look-ups of {named} are read: {told}."

    return await answer("reload-look-ups", {"pipeline": pipeline}, event, do)
