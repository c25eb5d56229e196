"""What happens on the server to runs of a pool, heard as it happens.

Only a hint, and to be treated so: the server drops events when many come at once, says nothing of runs that it
scheduled itself, and tells of a new run before others can see it.
"""

import asyncio
from collections.abc import Callable
from uuid import UUID

import structlog
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter

EVENT = "prefect.flow-run."
RESOURCE = "prefect.flow-run."
READY = ("Scheduled", "Late", "AwaitingRetry", "AwaitingConcurrencySlot", "Resuming")
CANCELLING, SUSPENDED = "Cancelling", "Suspended"
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 5.0  # seconds before the next try to connect; doubles

log = structlog.get_logger()


async def listen(pool_id: UUID, *, connected: Callable[[], None], happened: Callable[[str, UUID], None]) -> None:
    """Listen until cancelled; a lost connection is made again.

    Args:
        pool_id: of the work pool.
        connected: called at each connection: what happened before was not heard.
        happened: called with the name of the state that a run came to, and the run's id.

    """
    pause = SHORTEST_PAUSE
    while True:
        names = [EVENT + state for state in (*READY, CANCELLING, SUSPENDED)]
        wanted = EventFilter(
            event=EventNameFilter(name=names),
            any_resource=EventAnyResourceFilter(id=[f"prefect.work-pool.{pool_id}"]),
        )
        try:
            async with get_events_subscriber(filter=wanted, reconnect_on_clean_close=True) as subscriber:
                connected()
                pause = SHORTEST_PAUSE
                async for event in subscriber:
                    happened(event.event.removeprefix(EVENT), UUID(event.resource.id.removeprefix(RESOURCE)))
        except Exception as error:  # noqa: BLE001 - websockets, HTTP, the server's refusals: without it, runs start later
            log.debug("the event stream is lost", action="work", error=str(error), next_try_seconds=pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)
