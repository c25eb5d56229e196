"""Automation changes that lose no events: a patch of Prefect's own server, applied in the server's process.

Prefect 3.8.8 forgets an automation, then reads it from the database, then loads it: an event that is evaluated
meanwhile does not fire it. The old automation is garbage-collected while another evaluation still uses it, so that
event is evaluated again and fires other automations twice. And each PUT gives all triggers new ids, so open windows,
compounds and sequences start over. The patch reads first and swaps without an await; an unchanged trigger keeps its id.

`make bench-automations` measures it against a server without the patch.
"""

import time
from collections import deque
from importlib import import_module
from typing import Any

from headgate.private_names import Use, usable

HELD = 60.0  # seconds: longer than any evaluation that is in progress while its automation is replaced

TRIGGERS = "prefect.server.events.triggers"
MODELS = "prefect.server.events.models.automations"


def lose_nothing() -> bool:
    """Patch the server of this process if its Prefect matches `private_names`; return whether it was patched."""
    if not usable(Use.CHANGES):
        return False
    _swap_at_once()
    _keep_ids()
    return True


def _swap_at_once() -> None:
    """Read first; then forget and load without an await between, so that no event is evaluated meanwhile."""
    triggers: Any = import_module(TRIGGERS)
    models: Any = import_module(MODELS)
    held: deque[tuple[float, object]] = deque()  # evaluations in progress hold only weak references to their automation

    def hold(*replaced: object) -> None:
        now = time.monotonic()
        while held and held[0][0] < now - HELD:
            held.popleft()
        held.extend((now, each) for each in replaced if each is not None)

    async def automation_changed(automation_id: object, event: str) -> None:
        async with triggers._automations_lock():  # noqa: SLF001 - listed in `private_names`
            async with triggers.automations_session() as session:
                gone = event == "automation__deleted"
                automation = None if gone else await triggers.read_automation(session, automation_id)
                snapshot = await triggers.read_automation_state_snapshot(session)
            hold(triggers.automations_by_id.get(automation_id))
            triggers.forget_automation(automation_id)
            triggers.load_automation(automation)
            triggers.automation_state_snapshot = snapshot

    async def reconcile_automations(force: bool = False) -> bool:  # noqa: FBT001, FBT002 - Prefect's signature
        async with triggers._automations_lock():  # noqa: SLF001 - listed in `private_names`
            async with triggers.automations_session() as session:
                snapshot = await triggers.read_automation_state_snapshot(session)
                if not force and snapshot == triggers.automation_state_snapshot:
                    return False
                automations = await models.read_automations_for_workspace(session)
            hold(*triggers.automations_by_id.values())
            triggers.clear_loaded_automations()
            for automation in automations:
                triggers.load_automation(automation)
            triggers.automation_state_snapshot = snapshot
            return True

    triggers.automation_changed = automation_changed
    triggers.reconcile_automations = reconcile_automations


def _keep_ids() -> None:
    """Keep the ids of triggers across an update: windows and the progress of compounds are stored under them."""
    models: Any = import_module(MODELS)
    original = models.update_automation

    async def update_automation(session: Any, automation_update: Any, automation_id: Any) -> bool:
        if hasattr(automation_update, "trigger"):  # a partial update only enables or disables
            old = await models.read_automation(session, automation_id)
            if old is not None:
                graft(old.trigger, automation_update.trigger)
        updated: bool = await original(
            session=session, automation_update=automation_update, automation_id=automation_id
        )
        return updated

    models.update_automation = update_automation


def graft(old: Any, new: Any) -> bool:
    """Give a trigger the id of the old trigger if it is the same one, and do likewise for its children.

    A compound or a sequence that lost a child gets a new id; otherwise that child's events would count for the others.

    Args:
        old: a trigger of the server.
        new: its replacement.

    Returns:
        Whether the two are the same trigger.

    """
    if not _same(old, new):
        return False
    left = list(getattr(old, "triggers", ()))
    for child in getattr(new, "triggers", ()):
        twin = next((each for each in left if _same(each, child)), None)
        if twin is not None and graft(twin, child):
            left.remove(twin)
    if left:
        return False
    new.id = old.id
    return True


def _same(one: Any, other: Any) -> bool:
    """Return whether two triggers match the same events; their thresholds and time windows may differ."""
    apart = {"id", "triggers", "threshold", "within", "require"}
    return type(one) is type(other) and one.model_dump(exclude=apart) == other.model_dump(exclude=apart)
