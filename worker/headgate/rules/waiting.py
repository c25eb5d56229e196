"""What an automation still waits for after an event, in words."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from prefect.server.events.schemas.automations import (
    Automation,
    CompositeTrigger,
    CompoundTrigger,
    EventTrigger,
    Posture,
    SequenceTrigger,
    Trigger,
)
from prefect.server.events.schemas.events import ReceivedEvent

from headgate.rules.engine import State, Window
from headgate.rules.reasons import miss

EARLIER = timedelta(minutes=15)  # how far the first window reaches back


def waits_for(automation: Automation, event: ReceivedEvent, state: State) -> tuple[str, ...]:
    """Say why an event that an automation takes did not make it fire.

    Args:
        automation: as it was at that time.
        event: an event that one of its triggers takes.
        state: what was kept of the automation after the event.

    """
    return tuple(_of(automation.trigger, event, state))


def _of(trigger: Trigger, event: ReceivedEvent, state: State) -> Iterator[str]:
    if isinstance(trigger, EventTrigger):
        if miss(trigger, event) is None:
            yield from _of_event(trigger, event, state)
    elif isinstance(trigger, CompositeTrigger):
        yield from _of_composite(trigger, event, state)


def _of_event(trigger: EventTrigger, event: ReceivedEvent, state: State) -> Iterator[str]:
    key = trigger.bucketing_key(event)
    window = next((each for each in state.windows if each.trigger_id == trigger.id and each.key == key), None)
    each = f" for {', '.join(map(repr, key))}" if key else ""
    if trigger.posture is Posture.Proactive:
        yield _of_absence(trigger, event, window, each)
    elif window is None:
        yield (
            f"{_names(trigger.after)} did not come before it{each}"
            if trigger.after
            else f"it came when the window of {_span(trigger.within)} was closed"
        )
    elif not trigger.expects(event.event):
        yield f"it waits for {_names(trigger.expect)} after it{each}, until {_clock(window.end)}"
    elif window.start - event.occurred > max(trigger.within, EARLIER):
        yield f"it is older ({_clock(event.occurred)}) than the window that counts, from {_clock(window.start)}"
    elif event.occurred < window.start:
        yield (
            f"its window is over: {trigger.threshold} within {_span(trigger.within)} fires once a window, and the next "
            f"counts from {_clock(window.start)}"
        )
    else:
        within = f" within {_span(trigger.within)}; the window ends at {_clock(window.end)}" if trigger.within else ""
        yield f"it waits: {max(window.count, 0)} of {trigger.threshold} events{each}{within}"


def _of_absence(trigger: EventTrigger, event: ReceivedEvent, window: Window | None, each: str) -> str:
    if window is None:
        return (
            f"{_names(trigger.expect)} came in time{each}: it fires when that stays out"
            if trigger.expects(event.event)
            else f"it waits for nothing{each} now"
        )
    return f"it fires at {_clock(window.end)} unless {_names(trigger.expect)} comes{each} by then"


def _of_composite(trigger: CompositeTrigger, event: ReceivedEvent, state: State) -> Iterator[str]:
    met = {child.id: state.children[child.id] for child in trigger.triggers if child.id in state.children}
    wanted = trigger.num_expected_firings
    kind = "conditions in order" if isinstance(trigger, SequenceTrigger) else "conditions"
    span = f" within {_span(trigger.within)}" if trigger.within is not None else ""
    yield f"it waits: {len(met)} of {wanted} {kind}{span}"
    for number, child in enumerate(trigger.triggers, start=1):
        name = f"condition {number} ({_names(child.expect) if isinstance(child, EventTrigger) else child.type})"
        if child.id in met:
            yield f"{name}: met at {_clock(met[child.id])}"
        elif inner := list(_of(child, event, state)):
            yield from (f"{name}: {reason}" for reason in inner)
        else:
            yield f"{name}: not yet"
    if isinstance(trigger, SequenceTrigger) and len(met) == wanted:
        yield f"they came in another order: {_order(trigger, met)}"
    if trigger.within == timedelta(0) and wanted > 1:
        yield "`within: 0` on a compound or a sequence never fires; give it seconds, or none"
    if isinstance(trigger, CompoundTrigger) and len(met) < wanted and trigger.within:
        yield f"what is met is forgotten {_span(trigger.within)} after it came"


def _order(trigger: SequenceTrigger, met: dict[UUID, datetime]) -> str:
    numbers = {child.id: number for number, child in enumerate(trigger.triggers, start=1)}
    return ", ".join(str(numbers[each]) for each, _ in sorted(met.items(), key=lambda pair: pair[1]))


def _names(names: Sequence[str] | set[str]) -> str:
    return " or ".join(sorted(names)) or "any event"


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}"


def _span(time: timedelta) -> str:
    seconds = time.total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
