"""Automations as JSON: walk through what `AutomationCore.model_dump(mode="json")` or the server's API returns."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

Json = Mapping[str, Any]  # as the API has it

RESOURCE_ID = "prefect.resource.id"
COMPOSITE = ("compound", "sequence")


def triggers_of(trigger: Json, place: str = "") -> Iterator[tuple[str, Json]]:
    """Walk through a trigger and all below it.

    Yields:
        Its place, such as "trigger 2 of the compound: ", empty for the outermost; and the trigger.

    """
    yield place, trigger
    for number, child in enumerate(trigger.get("triggers") or (), start=1):
        yield from triggers_of(child, f"{place}trigger {number} of the {trigger['type']}: ")


def leaves_of(trigger: Json) -> list[Json]:
    """The event triggers within a trigger, itself included."""
    return [each for _, each in triggers_of(trigger) if each.get("type") not in COMPOSITE]


def actions_of(automation: Json) -> list[Json]:
    """Every action of an automation, in the order the server numbers them."""
    return [
        *(automation.get("actions") or ()),
        *(automation.get("actions_on_trigger") or ()),
        *(automation.get("actions_on_resolve") or ()),
    ]


def specifications_of(trigger: Json) -> list[tuple[str, Json]]:
    """The labels a trigger wants: ("match", {label: pattern or patterns}), and one such pair per related resource."""
    related = trigger.get("match_related") or []
    return [
        ("match", trigger.get("match") or {}),
        *(("match_related", each) for each in (related if isinstance(related, list) else [related])),
    ]


def patterns_of(value: object) -> list[str]:
    """The patterns for a label: the API takes one, or a list."""
    return [str(each) for each in value] if isinstance(value, list | tuple | set) else [str(value)]


def matches(patterns: object, value: str | None) -> bool:
    """Whether a label's value matches any pattern, as in Prefect: globs, `!` negates, a missing label never matches."""
    if value is None:
        return False
    return any(
        fnmatchcase(value, pattern.removeprefix("!")) != pattern.startswith("!") for pattern in patterns_of(patterns)
    )


def specified(specification: Json, resource: Json) -> bool:
    """Whether a resource has every label that a specification wants."""
    return all(matches(patterns, resource.get(label)) for label, patterns in specification.items())
