"""Generate docs/events.md from the code: `python -m headgate.events.page > docs/events.md`."""

import json
import sys
from collections.abc import Iterator

from headgate.events.catalog import INSTALLATION, MAX_LABEL, READY, Event
from headgate.events.described import PIPELINE, Described
from headgate.events.examples import examples

ROLE = "prefect.resource.role"
HEAD = f"""# Events

All that Headgate tells Prefect, and what to type where the Prefect UI suggests nothing. Each event has a name, a
resource that it is about, labels that rules match, and a payload that templates read.

* Names, resources and labels go into the rule's trigger, payloads into the templates of its actions.
* `*` is the only wildcard in names: `headgate.*`. Labels also take `?`, `[ab]`, and `!` for not.
* Labels are ASCII, at most {MAX_LABEL} characters, with all else escaped. Payloads hold ids and counts, never rows.
* An event may come twice: make the action idempotent.
* Rows are safe without events. What a rule starts must not be the only way that something gets done.

The rule stands in JSON, as the UI's editor takes it: Automations, +, trigger type Custom, tab JSON.
[Why did my rule not fire?](how-to/why-did-my-rule-not-fire.md) and
[how to test a rule](how-to/test-rules-and-pipelines.md) say more.
"""


def page() -> str:
    """Return the whole page."""
    found = examples()
    names = sorted(name for name in found if name != READY)
    overview = ["| event | when |", "|---|---|"]
    overview += [f"| [`{name}`](#{_anchor(name)}) | {found[name][0].when} |" for name in [*names, READY]]
    sections = [_section(name, *found[name]) for name in [*names, READY]]
    return "\n".join([HEAD, *overview, "", *sections])


def rule(name: str, event: Event) -> dict[str, object]:
    """Return the trigger of a rule on events of this name, for the example's pipeline."""
    resource = event.resource["prefect.resource.id"]
    of_pipeline = resource.startswith("headgate.pipeline.")
    by_id = of_pipeline or resource == INSTALLATION
    match = {"prefect.resource.id": resource if by_id else f"{resource.rpartition('.')[0]}.*"}
    if not of_pipeline and "headgate.pipeline" in event.resource:
        match["headgate.pipeline"] = event.resource["headgate.pipeline"]
    return {
        "type": "event",
        "posture": "Reactive",
        "match": match,
        "expect": [name],
        "threshold": 1,
        "within": 0,
    }


def _section(name: str, described: Described, event: Event) -> str:
    return "\n".join(_lines(name, described, event))


def _lines(name: str, described: Described, event: Event) -> Iterator[str]:
    yield f"## {name}\n"
    yield f"{described.when}\n"
    yield f"Use it to {described.use}.\n"
    yield "| resource and labels | example |\n|---|---|"
    for label, value in event.resource.items():
        yield f"| `{label}` | `{value}` |"
    for related in event.related:
        role = related["prefect.resource.role"]
        shown = ", ".join(
            f"`{label}` `{value}`" for label, value in related.items() if label != "prefect.resource.role"
        )
        yield f"| related, role `{role}` | {shown} |"
    yield "\n| payload | what it is | in a template |\n|---|---|---|"
    common = {"pipeline": PIPELINE} if "pipeline" in event.payload else {}
    for field, meaning in {**common, **described.payload}.items():
        yield f"| `{field}` | {meaning} | `{{{{ event.payload.{field} }}}}` |"
    yield "\nAn example:\n"
    yield _json({key: value for key, value in event.body().items() if key not in {"id", "occurred"}})
    if name != READY:
        yield "\nThe trigger of a rule:\n"
        yield _json(rule(name, event))
    yield ""


def _json(value: object) -> str:
    return f"```json\n{json.dumps(value, indent=2)}\n```"


def _anchor(name: str) -> str:
    """Return the anchor of a heading: GitHub drops the dots."""
    return name.replace(".", "")


if __name__ == "__main__":
    sys.stdout.write(page())
