"""A stream of the state changes of a pool's runs, as they happen on the server.

Treat each event as a hint only: the server drops events when many come at once, does not announce runs that it
scheduled itself, and announces a new run before others can see it.
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
SHORTEST_PAUSE, LONGEST_PAUSE = 0.25, 2.0  # seconds before the next try to connect; doubles

log = structlog.get_logger()


async def listen(pool_id: UUID, *, connected: Callable[[], None], happened: Callable[[str, UUID], None]) -> None:
    """Listen until cancelled; reconnect when the connection is lost.

    Args:
        pool_id: the id of the work pool.
        connected: called at each connection, because earlier events were missed.
        happened: called with the name of a run's new state and the run's id.

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
