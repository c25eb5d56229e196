"""A deployment for rules: send dead letters again."""

import asyncio

from prefect import flow
from prefect.artifacts import acreate_table_artifact
from prefect.client.schemas.objects import State

from headgate.app import App
from headgate.flows.answering import answer
from headgate.flows.parameters import Since, Text, Whole, Why
from headgate.operations.requests import Asked
from headgate.operations.rule_replay import Wanted, replay_wanted


@flow(name="replay-dead-letters", persist_result=False)
async def replay_dead_letters(  # noqa: PLR0913, PLR0917 - the fields of the UI's form
    pipeline: Text = "",
    reason: Why = "",
    since: Since = "",
    at_most: Whole = 1000,
    rounds: Whole = 1,
    event: Text = "",
) -> State[None]:
    """Send dead letters again.

    Started by a rule without parameters, it takes pipeline and reason from the event.

    Args:
        pipeline: the pipeline's name; empty: the event's pipeline.
        reason: only those set aside for this reason; empty: all, or the event's reason if the pipeline is also the
            event's.
        since: only those set aside since then: a span such as 24h, or a time such as 2026-05-01T12:00Z.
        at_most: at most this many, the newest first.
        rounds: how often a record is sent again at most; with 1, a record that fails again stays a dead letter.
        event: the event's id, {{ event.id | string }}; with it, the run need not ask which event it was.

    """

    async def do(app: App, asked: Asked) -> str:
        named = asked.pipeline(app, pipeline)
        why = reason or (asked.origin.reason if asked.origin and not pipeline else None)
        done = await asyncio.to_thread(
            replay_wanted, app, Wanted(named, why or None, since or None, at_most, rounds or 1)
        )
        rows = [
            {"arrival": each.replay_of, "name": each.name, "records": each.records, "goes as": each.arrival_id}
            for each in done.sent
        ]
        await acreate_table_artifact(table=rows, key=f"replay-{named}", description=done.sentence())
        return done.sentence()

    given = {"pipeline": pipeline, "reason": reason, "since": since, "at_most": at_most, "rounds": rounds}
    return await answer("replay-dead-letters", given, event, do)
