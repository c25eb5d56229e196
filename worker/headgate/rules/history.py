"""How an automation was defined at a time, and which events count for it: what `explain` replays."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import NamedTuple
from uuid import UUID

from prefect.server.events.schemas.automations import Automation, CompositeTrigger, EventTrigger, Posture
from prefect.server.events.schemas.events import ReceivedEvent

from headgate.rules import engine
from headgate.rules.shape import Json

MOST = 1000  # past events that are replayed, the newest ones


class Version(NamedTuple):
    """An automation as it was from a time on."""

    since: datetime
    automation: Automation


@dataclass(frozen=True, slots=True)
class Versions:
    """The known versions of an automation, oldest first; at least one."""

    created: datetime
    all: tuple[Version, ...]

    def at(self, moment: datetime) -> Automation:
        """The automation as it was at a time; the oldest known version for a time before that."""
        return next((each.automation for each in reversed(self.all) if each.since <= moment), self.all[0].automation)

    @property
    def now(self) -> Automation:
        """The automation as it is now."""
        return self.all[-1].automation


def versions(raw: Json, changes: Iterable[Json] = ()) -> Versions:
    """Collect the versions of an automation.

    Args:
        raw: as the server has it now.
        changes: the events of its creation and updates.

    """
    created, updated = moment(raw["created"]), moment(raw["updated"])
    told = [
        Version(moment(each["occurred"]), engine.automation(each["payload"]))
        for each in changes
        if each["event"] == "prefect.automation.created" or moment(each["occurred"]) > created
    ]
    now = engine.automation(raw)
    if told and same(told[-1].automation, now):
        return Versions(created, (Version(created, told[0].automation), *told[1:]))
    return Versions(created, (*told, Version(updated if told else created, now)))


def same(one: Automation, other: Automation) -> bool:
    """Whether two automations are evaluated alike. Trigger ids matter: counts are kept by them."""
    return one.enabled == other.enabled and one.trigger == other.trigger


def moment(text: str) -> datetime:
    """Parse a time of the API."""
    return datetime.fromisoformat(text).astimezone(UTC)


def leaves(automation: Automation) -> Sequence[EventTrigger]:
    """The event triggers of an automation."""
    return automation.triggers_of_type(EventTrigger)


def counts(automation: Automation) -> bool:
    """Whether an automation's reaction to an event depends on earlier events."""
    trigger = automation.trigger
    return not isinstance(trigger, EventTrigger) or bool(
        trigger.after or trigger.within or trigger.threshold > 1 or trigger.posture is Posture.Proactive
    )


def forgets_after(automation: Automation) -> timedelta | None:
    """For how long no event must come until all earlier ones no longer count; None: they may count for ever."""
    total = timedelta(0)
    for trigger in automation.triggers():
        within = trigger.within if isinstance(trigger, EventTrigger | CompositeTrigger) else None
        if isinstance(trigger, EventTrigger) and trigger.posture is Posture.Proactive:
            return None
        if within:
            total += within
        elif not isinstance(trigger, EventTrigger) or trigger.threshold > 1 or trigger.after:
            return None
    return 2 * total  # what has fired waits for the end of its window, and for a second one that begins then


def relevant(raw: Json, automations: Iterable[Automation]) -> bool:
    """Whether any of the automations may count an event."""
    return any(
        fnmatchcase(raw["event"], pattern)
        for automation in automations
        for trigger in leaves(automation)
        for pattern in trigger.expect | trigger.after
    )


class Change(NamedTuple):
    """Something that happened: an event, or a change of an automation."""

    at: datetime
    order: int  # at the same time, changes of automations come first
    event: ReceivedEvent | None
    automation: Automation | None


def stream(events: Mapping[UUID, ReceivedEvent], known: Sequence[Versions], end: datetime) -> list[Change]:
    """Put events and the changes of automations in the order in which the server saw them."""
    changes = [
        Change(version.since, 0, None, version.automation)
        for each in known
        for version in each.all
        if version.since <= end
    ]
    first = [Change(each.created, 0, None, each.all[0].automation) for each in known if each.all[0].since > end]
    arrived = [Change(each.received, 1, each, None) for each in events.values()]
    return sorted([*first, *changes, *arrived], key=lambda change: (change.at, change.order))
