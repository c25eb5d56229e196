"""A deployment for rules and schedules: a digest of what arrived."""

import asyncio

from prefect import flow
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.schemas.objects import State

from headgate.app import App
from headgate.flows.answering import answer
from headgate.flows.blocks import notify
from headgate.flows.parameters import Since, Text
from headgate.operations.digest import digest
from headgate.operations.requests import Asked
from headgate.operations.rule_replay import moment


@flow(name="send-digest", persist_result=False)
async def send_digest(pipeline: Text = "", since: Since = "24h", block: Text = "", event: Text = "") -> State[None]:
    """Report what became of everything that arrived: as an artifact in the UI, and through a notification block.

    Args:
        pipeline: only this pipeline; empty: all.
        since: a span such as 24h, or a time such as 2026-05-01T12:00Z.
        block: <type>/<name> of a notification block, such as slack-webhook/ops; empty: those of HEADGATE_ALERTS_BLOCKS.
        event: the event's id, {{ event.id | string }}; with it, the run need not ask which event it was.

    """

    async def do(app: App, _: Asked) -> str:
        named = app.pipeline(pipeline).name if pipeline else None
        begin = moment(since or "24h")
        text = await asyncio.to_thread(digest, app, begin, named)
        await acreate_markdown_artifact(markdown=text, key="digest", description="What became of what arrived.")
        blocks = app.settings.alerts.to if not block else (block,)
        for name in blocks:
            await notify(name, subject=f"Headgate: what arrived since {begin:%Y-%m-%d %H:%M}", body=text)
        sent = f"it went through {', '.join(blocks)}" if blocks else "it was not sent, for no block is named"
        return f"The digest is an artifact of this run; {sent}."

    given = {"pipeline": pipeline, "since": since, "block": block}
    return await answer("send-digest", given, event, do)
