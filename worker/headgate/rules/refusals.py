"""What `plan` refuses: automations that are known never to fire, to fire on everything, or to feed themselves.

Each check rests on a measurement on Prefect 3.8.8; what only probably fails is not refused.
"""

import re
from collections.abc import Iterator
from uuid import UUID

from headgate.events.examples import examples
from headgate.rules.shape import (
    COMPOSITE,
    RESOURCE_ID,
    Json,
    actions_of,
    leaves_of,
    matches,
    patterns_of,
    specifications_of,
    specified,
    triggers_of,
)
from headgate.rules.templates import template_refusals

# Resources whose id ends with a UUID. A name instead, as Prefect's UI offers for work pools, matches nothing.
WITH_UUID = (
    "automation",
    "block-document",
    "concurrency-limit",
    "deployment",
    "event",
    "flow",
    "flow-run",
    "task-run",
    "variable",
    "work-pool",
    "work-queue",
)
ANY = UUID(int=0)  # stands for an id that is not known yet
STATES = ("Scheduled", "Pending", "Running", "Completed")  # that a run of a deployment goes through


def refusals(automation: Json) -> list[str]:
    """Say why an automation must not be applied.

    Args:
        automation: the API's JSON: `AutomationCore.model_dump(mode="json")`, or an answer of the server.

    Returns:
        Reasons, a sentence or two each, with what to write instead; empty if there are none.

    """
    trigger = automation["trigger"]
    found = [f"{place}{reason}" for place, each in triggers_of(trigger) for reason in _of_trigger(each)]
    for number, action in enumerate(actions_of(automation), start=1):
        if action.get("type") == "declare-incident":
            found.append(f"action {number}: incidents exist in Prefect Cloud alone; the server refuses them.")
        found += [f"action {number}, {reason}" for reason in template_refusals(action)]
    if not found:  # an empty `expect` feeds itself too, and one reason is enough
        found += _feeds_itself(automation)
    return found


def _of_trigger(trigger: Json) -> Iterator[str]:
    if trigger.get("type") in COMPOSITE:
        yield from _of_composite(trigger)
    elif trigger.get("type") == "metric" or trigger.get("posture") == "Metric":
        yield "metric triggers exist in Prefect Cloud alone; the server refuses them."
    else:
        yield from _of_names(trigger)
        yield from _of_labels(trigger)
        yield from _of_our_events(trigger)
        yield from _of_counts(trigger)


def _of_composite(trigger: Json) -> Iterator[str]:
    children = len(trigger.get("triggers") or ())
    wanted = {"any": 1, "all": children}.get(trigger.get("require", "all"), trigger.get("require"))
    if not children:
        yield f"the {trigger['type']} has no triggers, so it never fires."
    elif trigger.get("within") == 0 and wanted != 1:
        yield (
            f"`within: 0` on a {trigger['type']} never fires: what its triggers found is forgotten at once. "
            "Give seconds, or leave it out (null) to wait without end."
        )


def _of_names(trigger: Json) -> Iterator[str]:
    if not trigger.get("expect"):
        yield (
            "`expect` is empty, which matches every event, those that the automation causes too: it would feed itself. "
            "Name the events."
        )
    for field in ("expect", "after"):
        for name in sorted(trigger.get(field) or ()):
            if name.startswith("!"):
                yield f"`{field}` {name!r} never matches: names of events cannot be negated. Name those that you want."
            elif "?" in name or "[" in name:
                yield f"`{field}` {name!r} never matches: in names of events, * is the only wildcard."


def _of_labels(trigger: Json) -> Iterator[str]:
    for field, specification in specifications_of(trigger):
        for label, wanted in specification.items():
            patterns = patterns_of(wanted)
            if not patterns:
                yield f"`{field}` {label!r} is an empty list, which never matches. Name a value, or leave it out."
            elif label == RESOURCE_ID and (wrong := [each for each in patterns if no_resource(each)]) == patterns:
                yield f"`{field}` {label!r}: no event has the resource {' or '.join(map(repr, wrong))}. " + (
                    "Prefect's UI offers it, but the server's events name "
                    + ("prefect.automation.<id>." if wrong[0].startswith("prefect-cloud.") else "it by its id, a UUID.")
                )


def no_resource(pattern: str) -> bool:
    """Whether no event of a self-hosted Prefect server has such a resource."""
    if pattern.startswith("prefect-cloud."):
        return True
    kind, _, identity = pattern.removeprefix("prefect.").partition(".")
    if not pattern.startswith("prefect.") or kind not in WITH_UUID or any(each in identity for each in "*?["):
        return False
    try:
        UUID(identity)
    except ValueError:
        return True
    return False


def _of_our_events(trigger: Json) -> Iterator[str]:
    """Find what a trigger on Headgate's events alone wants, and none of them has."""
    names = {*(trigger.get("expect") or ()), *(trigger.get("after") or ())}
    known = examples()
    if not names or not names <= known.keys():
        return
    events = [known[name][1] for name in sorted(names)]
    said = f"no {' or '.join(sorted(names))}"
    (_, own), *related = specifications_of(trigger)
    resources = [event.resource for event in events]
    kinds = {each[RESOURCE_ID].rpartition(".")[0] + "." for each in resources}
    patterns = patterns_of(own.get(RESOURCE_ID, "*"))
    if patterns and not any(_may_begin(pattern, kind) for pattern in patterns for kind in kinds):
        wanted = " or ".join(map(repr, patterns))
        there = " or ".join(f"{kind}*" for kind in sorted(kinds))
        yield f"{said} has the resource {wanted}; theirs is {there}. Prefect's UI leaves its preset in the field."
    beside = [each for event in events for each in event.related]
    for field, specification, candidates in (
        ("match", own, resources),
        *(("match_related", each, beside) for _, each in related),
    ):
        labels = {label for each in candidates for label in each}
        for label in sorted(specification.keys() - labels):
            yield f"`{field}`: {said} has a label {label!r}; there are {', '.join(sorted(labels)) or 'none'}."


def _may_begin(pattern: str, kind: str) -> bool:
    """Whether a pattern may match a resource of this kind; a negated pattern may match anything."""
    fixed = re.split(r"[*?\[]", pattern)[0]
    return pattern.startswith("!") or fixed.startswith(kind) or (kind.startswith(fixed) and fixed != pattern)


def _of_counts(trigger: Json) -> Iterator[str]:
    if trigger.get("threshold", 1) < 1:
        yield f"`threshold` {trigger['threshold']} fires on every event all the same; the least is 1."
    if trigger.get("posture") == "Proactive" and not (trigger.get("after") and trigger.get("for_each")):
        yield (
            "a proactive trigger needs both `after` and `for_each`: without them it never fires for what fell silent, "
            "or fires again and again for nothing. Name the event that starts the wait in `after`, and the label that "
            f"tells sources apart in `for_each`, such as {RESOURCE_ID}."
        )


def _feeds_itself(automation: Json) -> Iterator[str]:
    """Say if an automation fires again on events that it causes; one that is switched off cannot."""
    leaves = leaves_of(automation["trigger"])
    if not automation.get("enabled", True) or any(each.get("posture") != "Reactive" for each in leaves):
        return
    caused = list(_caused(automation))
    seen = [[name for name, resource, related in caused if _covers(each, name, resource, related)] for each in leaves]
    if all(len(names) >= each.get("threshold", 1) for names, each in zip(seen, leaves, strict=True)):
        yield (
            f"it would feed itself: it fires on {', '.join(sorted({name for names in seen for name in names}))}, "
            "which its own firing causes. Narrow `expect`, or name the resource in `match`."
        )


def _caused(automation: Json) -> Iterator[tuple[str, Json, list[Json]]]:
    """The events that each firing causes, with the labels that are known in advance."""
    own = {
        RESOURCE_ID: f"prefect.automation.{automation.get('id') or ANY}",
        "prefect.resource.name": automation["name"],
    }
    yield "prefect.automation.triggered", own, []
    for action in actions_of(automation):
        yield "prefect.automation.action.triggered", own, []
        yield "prefect.automation.action.executed", own, []
        if action.get("type") == "run-deployment" and action.get("source", "selected") == "selected":
            deployment = {
                RESOURCE_ID: f"prefect.deployment.{action.get('deployment_id')}",
                "prefect.resource.role": "deployment",
            }
            for state in STATES:
                yield f"prefect.flow-run.{state}", {RESOURCE_ID: f"prefect.flow-run.{ANY}"}, [deployment]


def _covers(trigger: Json, name: str, resource: Json, related: list[Json]) -> bool:
    if not any(matches(pattern, name) for pattern in trigger.get("expect") or ()):
        return False
    (_, own), *others = specifications_of(trigger)
    return specified(own, resource) and all(
        not each or any(specified(each, candidate) for candidate in related) for _, each in others
    )
