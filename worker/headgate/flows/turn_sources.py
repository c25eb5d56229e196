"""Two deployments for rules: pause a source, and resume a source."""

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
    """Take in nothing from a source until it is resumed: files wait in their folder, messages in their topic.

    Started by a rule without parameters, it takes pipeline and source from the event.

    Args:
        pipeline: the pipeline's name; empty: the event's pipeline.
        source: the source's name; empty: the event's source if the pipeline is also the event's, otherwise all sources
            of the pipeline.
        why: shown while the source is paused.
        event: the event's id, {{ event.id | string }}; with it, the run need not ask which event it was.

    """
    return await _turn("pause", pipeline, source, why, event)


@flow(name="resume-source", persist_result=False)
async def resume_source(pipeline: Text = "", source: Text = "", why: Text = "", event: Text = "") -> State[None]:
    """Take in from a paused source again.

    Started by a rule without parameters, it takes pipeline and source from the event.

    Args:
        pipeline: the pipeline's name; empty: the event's pipeline.
        source: the source's name; empty: the event's source if the pipeline is also the event's, otherwise all sources
            of the pipeline.
        why: recorded in the event.
        event: the event's id, {{ event.id | string }}; with it, the run need not ask which event it was.

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
            # In the same transaction as the answer: otherwise the same event could pause a source again that was
            # resumed meanwhile.
            turned = turn(app, connection, change, named, meant, by=asked.by, reason=reason)
            app.requests.end(connection, asked.key, turned.sentence())
            return turned.sentence()

        return await transacted(app, both)

    return await answer(deployment, {"pipeline": pipeline, "source": source}, event, do)
