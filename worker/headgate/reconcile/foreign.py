"""Whether changing an automation may lose events on this server: it may, unless the server is Headgate's own."""

from collections.abc import Sequence

from prefect.client.orchestration import PrefectClient

from headgate.reconcile.change import Change
from headgate.reconcile.server import find

MAY_BE_LOST = (
    "This Prefect server is not started by Headgate. While an automation is changed there, events that arrive may "
    "not fire it, and others may fire twice; windows, compounds and sequences that are under way begin again. "
    "Change {names} while little arrives."
)
SHOWN = 5  # names


async def what_may_be_lost(client: PrefectClient, changes: Sequence[Change]) -> str | None:
    """Say what changes of automations may lose; None if nothing."""
    names = [each.name for each in changes if each.kind == "automation" and each.action in {"updated", "removed"}]
    if not names:
        return None
    told = await find(client, "/headgate")
    if told is not None and told.get("changes_lose_nothing"):
        return None
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return MAY_BE_LOST.format(names=", ".join(names[:SHOWN]) + more)
