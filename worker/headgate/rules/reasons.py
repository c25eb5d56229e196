"""Why an event trigger does not take an event, in words. Prefect's own classes decide whether it does."""

from dataclasses import dataclass

from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent, Resource, ResourceSpecification, matches

from headgate.rules.refusals import no_resource
from headgate.rules.shape import RESOURCE_ID

SHOWN = 60  # characters of a label's value


@dataclass(frozen=True, slots=True)
class Miss:
    """Why a trigger does not take an event."""

    named: bool  # whether the event's name is one of those it waits for
    reasons: tuple[str, ...]  # the one to fix first comes first


def miss(trigger: EventTrigger, event: ReceivedEvent) -> Miss | None:
    """Say why a trigger does not take an event; None: it does."""
    # The server looks the name up in an index of globs, then matches it as a prefix with a regular expression of its
    # own. An event that passes counts only if the trigger expects it, or if it starts the wait (`after`).
    named = trigger.expects(event.event) or trigger.starts_after(event.event)
    if not (named and trigger.event_pattern.match(event.event)):
        return Miss(False, (_name(trigger, event.event),))  # noqa: FBT003 - the field is named above
    if trigger.covers_resources(event.resource, event.related):
        return None
    found = _labels(_specification(trigger.match), event.resource)
    related = trigger.match_related if isinstance(trigger.match_related, list) else [trigger.match_related]
    for each in map(_specification, related):
        if not each.includes(event.related):
            found += _related(each, event)
    return Miss(True, tuple(sorted(found, key=lambda reason: not reason.startswith("no event"))))  # noqa: FBT003


def _specification(given: ResourceSpecification | dict[str, str | list[str]]) -> ResourceSpecification:
    return given if isinstance(given, ResourceSpecification) else ResourceSpecification(given)


def _name(trigger: EventTrigger, name: str) -> str:
    wanted = sorted(trigger.expect | trigger.after)
    for each in wanted:
        if each.startswith("!"):
            return f"it waits for {each!r}, and names of events cannot be negated: it never matches"
        if "?" in each or "[" in each:
            return f"it waits for {each!r}, and * is the only wildcard in names of events: it never matches"
        if each.lower() == name.lower():
            return f"it waits for {each}: upper and lower case count"
        if each == f"{name}*" or (each.endswith("*") and each[:-1] == name):
            return f"it waits for {each}, and * stands for at least one character"
    return f"it waits for {', '.join(wanted)}"


def _labels(specification: ResourceSpecification, resource: Resource) -> list[str]:
    """Say which labels of a resource do not match a specification."""
    found = []
    for label, patterns in specification.items():
        value = resource.get(label)
        if any(matches(pattern, value) for pattern in patterns):
            continue
        wanted = " or ".join(map(_shown, patterns)) or "nothing (an empty list never matches)"
        if label == RESOURCE_ID and patterns and all(no_resource(each) for each in patterns):
            found.append(
                f"no event has the resource {wanted}, which Prefect's UI offered; this one has {_shown(value)}"
            )
        elif value is None:
            found.append(f"the event has no label {label}; the rule wants {wanted}")
        else:
            found.append(f"label {label} is {_shown(value)}; the rule wants {wanted}")
    return found


def _related(specification: ResourceSpecification, event: ReceivedEvent) -> list[str]:
    if not event.related:
        return [f"the event has no related resources; the rule wants one with {_wanted(specification)}"]
    nearest = min((_labels(specification, each) for each in event.related), key=len)
    if len(nearest) == len(specification):
        return [f"none of the event's {len(event.related)} related resources has {_wanted(specification)}"]
    return [f"of the related resources, the nearest differs: {'; '.join(nearest)}"]


def _wanted(specification: ResourceSpecification) -> str:
    return ", ".join(f"{label} {' or '.join(map(_shown, patterns))}" for label, patterns in specification.items())


def _shown(value: str | None) -> str:
    text = str(value)
    return repr(text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}...")
