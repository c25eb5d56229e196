"""Two deployments for rules: pause a source, and resume it."""

from typing import Literal

from prefect import flow
from prefect.client.schemas.objects import State

from headgate.app import App
from headgate.flows.answering import answer, transacted
from headgate.flows.parameters import Text
from headgate.ledger.database import Connection
from headgate.operations.requests import Asked
from headgate.operations.sources import turn


@flow(name="pause-source", persist_result=False)
async def pause_source(pipeline: Text = "", source: Text = "", why: Text = "", event: Text = "") -> State[None]:
    """Take nothing in from a source until it is resumed: files wait in their folder, messages in their topic.

    Started by a rule without parameters, it takes pipeline and source from the event.

    Args:
        pipeline: its name; empty: the event's.
        source: its name; empty: the event's if the pipeline is the event's too, else all of the pipeline's.
        why: shown while it is paused.
        event: the event's id, {{ event.id | string }}: then the run need not look for it.

    """
    return await _turn("pause", pipeline, source, why, event)


@flow(name="resume-source", persist_result=False)
async def resume_source(pipeline: Text = "", source: Text = "", why: Text = "", event: Text = "") -> State[None]:
    """Take in from a source again that was paused.

    Started by a rule without parameters, it takes pipeline and source from the event.

    Args:
        pipeline: its name; empty: the event's.
        source: its name; empty: the event's if the pipeline is the event's too, else all of the pipeline's.
        why: written down in the event.
        event: the event's id, {{ event.id | string }}: then the run need not look for it.

    """
    return await _turn("resume", pipeline, source, why, event)


async def _turn(
    change: Literal["pause", "resume"], pipeline: str | None, source: str | None, why: str | None, event: str | None
) -> State[None]:
    deployment = f"{change}-source"

    async def do(app: App, asked: Asked) -> str:
        named = asked.pipeline(app, pipeline)
        meant = source or None
        if not meant and asked.origin and not pipeline:
            meant = asked.origin.source
        reason = why or (asked.origin.event if asked.origin else "no reason given")

        def both(connection: Connection) -> str:
            # With its answer, or the same event could pause again what was resumed meanwhile.
            turned = turn(app, connection, change, named, meant, by=asked.by, reason=reason)
            app.requests.end(connection, asked.key, turned.sentence())
            return turned.sentence()

        return await transacted(app, both)

    return await answer(deployment, {"pipeline": pipeline, "source": source}, event, do)
