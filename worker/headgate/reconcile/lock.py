"""One `apply` at a time, if there is a ledger to lock in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from headgate.errors import HeadgateError
from headgate.ledger import Database
from headgate.ledger.locks import Lock
from headgate.settings import Settings

LONGEST = 30  # seconds to wait for another `apply`; the listener allows one 60

log = structlog.get_logger()


@asynccontextmanager
async def alone(settings: Settings) -> AsyncIterator[None]:
    """Wait until no other `apply` of this ledger is under way, and keep others out until the end of the block.

    Without a database, while it is unavailable, or if another one hangs, `apply` goes on without the lock: what two of
    them create twice is found by its key.
    """
    async with AsyncExitStack() as stack:
        if settings.database_url is not None:
            held = Database(settings.require_database()).alone(Lock.APPLY, wait=LONGEST)
            try:
                await asyncio.to_thread(held.__enter__)
                stack.push(held.__exit__)
            except HeadgateError as error:
                log.warning("applying without a lock", action="apply", reason=str(error))
        yield
