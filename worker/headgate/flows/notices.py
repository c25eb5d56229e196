"""Deliver the notices that alerts owe, through blocks of the Prefect server."""

import asyncio

import structlog

from headgate.app import App
from headgate.errors import NotFound, NotificationFailed
from headgate.flows.blocks import notify

log = structlog.get_logger()


async def send_owed(app: App) -> int:
    """Deliver the notices that are due, and return how many were delivered.

    A notice that fails stays owed and is tried again later; later notices of its block wait for it. If the process is
    killed between delivering a notice and recording that, the notice is delivered again.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    sent = 0
    while notices := await asyncio.to_thread(app.alerts.take):
        for notice in notices:
            try:
                await notify(notice.block, subject=notice.subject, body=notice.body)
            except (NotFound, NotificationFailed) as error:
                delay = await asyncio.to_thread(app.alerts.failed, notice, str(error))
                log.error(  # noqa: TRY400 - the text says it all
                    "a notice was not delivered",
                    action="notify",
                    block=notice.block,
                    why=str(error),
                    again_in_seconds=delay.total_seconds(),
                )
            else:
                await asyncio.to_thread(app.alerts.sent, notice)
                log.info("told", action="notify", block=notice.block, subject=notice.subject)
                sent += 1
    return sent
