"""Headgate's automations that people switched off: they stay off, and each time is reported once."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

import structlog
from prefect.client.orchestration import PrefectClient

from headgate.events import catalog

log = structlog.get_logger()


async def tell(client: PrefectClient, disabled: Iterable[Mapping[str, Any]]) -> None:
    """Log a warning for each, and emit an event that rules can match.

    Args:
        client: of the server.
        disabled: automations, as the API returns them.

    """
    for each in disabled:
        log.warning("an automation of ours is switched off on the server", action="apply", name=each["name"])
        automation_id = UUID(each["id"])
        # The id stays the same until somebody changes the automation: the event is emitted once, whoever applies, and
        # again after a week, when the server no longer has it.
        event_id = uuid5(automation_id, f"disabled {each['updated']}")
        asked = {"filter": {"id": {"id": [str(event_id)]}, "occurred": {"since": each["updated"]}}, "limit": 1}
        if (await client.request("POST", "/events/filter", json=asked)).json()["total"]:
            continue
        event = catalog.automation_disabled(
            event_id, automation_id, str(each["name"]), since=datetime.fromisoformat(each["updated"])
        )
        await client.request("POST", "/events", json=[event.body()])
