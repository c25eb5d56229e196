"""Templates of actions: what Prefect's Jinja environment rejects, and names that do not exist in templates."""

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from headgate.rules.shape import Json

if TYPE_CHECKING:
    from jinja2 import Environment, nodes

KIND = "__prefect_kind"
# Prefect renders these fields, and the parameters of run-deployment; templates in other fields stay as they are.
TEXTS = {"send-notification": ("subject", "body"), "call-webhook": ("payload",)}

# The context of a template; prefect.server.events.actions.JinjaTemplateAction._template_context.
ALWAYS = {"automation", "event", "labels", "firing", "firings", "events"}
FETCHED = {
    "variables",
    "deployment",
    "flow",
    "flow_run",
    "task_run",
    "work_pool",
    "work_queue",
    "concurrency_limit",
}
OF_EVENT = {
    "event",
    "find_resource_label",
    "follows",
    "id",
    "involved_resources",
    "model_dump",
    "model_dump_json",
    "occurred",
    "payload",
    "received",
    "related",
    "resource",
    "resource_in_role",
    "resources_in_role",
    "size_bytes",
    "url",
}
OF_RESOURCE = ("event", "resource", "labels")
NOT_JSON = {
    ("event", "id"): "event.id | string",
    ("event", "follows"): "event.follows | string",
    ("event", "occurred"): "event.occurred.isoformat()",
    ("event", "received"): "event.received.isoformat()",
    ("automation", "id"): "automation.id | string",
    ("firing", "id"): "firing.id | string",
    ("firing", "triggered"): "firing.triggered.isoformat()",
}


def template_refusals(action: Json) -> list[str]:
    """Say what is wrong with the templates of an action; each reason names the field."""
    return [
        f"{place}: {reason}" for place, template, typed in templates_of(action) for reason in _wrong(template, typed)
    ]


def templates_of(action: Json) -> Iterator[tuple[str, str, bool]]:
    """Walk through the templates of an action: place, text, and whether the rendered value keeps its type."""
    for field in TEXTS.get(action.get("type", ""), ()):
        if isinstance(action.get(field), str):
            yield field, action[field], False
    if action.get("type") == "run-deployment":
        yield from _within(action.get("parameters"), "parameters")


def _within(value: object, place: str) -> Iterator[tuple[str, str, bool]]:
    if isinstance(value, str):
        if is_template(value):
            yield place, value, _alone(value)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _within(each, f"{place}[{number}]")
    elif isinstance(value, dict) and KIND in value:
        inner = value.get("value") if value[KIND] == "json" else None
        jinja = inner if isinstance(inner, dict) else value
        if jinja.get(KIND) == "jinja" and isinstance(jinja.get("template"), str):
            yield place, jinja["template"], inner is not None and _alone(jinja["template"])
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _within(each, f"{place}.{name}")


def is_template(text: str) -> bool:
    """Whether Prefect renders a text."""
    return "{{" in text or "{%" in text


def _alone(text: str) -> bool:
    """Whether a text is one expression and nothing else: its value then goes through JSON, and keeps its type."""
    stripped = text.strip()
    return stripped.startswith("{{") and stripped.endswith("}}") and stripped.count("{{") == 1


def _wrong(template: str, typed: bool) -> Iterator[str]:  # noqa: FBT001 - as it comes from `templates_of`
    from jinja2 import TemplateError, meta  # noqa: PLC0415 - with Prefect's environment

    environment = _environment()
    try:
        tree = environment.parse(template)
        environment.compile(template)  # parsing alone does not look up filters
    except TemplateError as error:
        yield f"{template!r} is not a valid template: {error}."
        return
    if unknown := meta.find_undeclared_variables(tree) - ALWAYS - FETCHED - set(environment.globals):
        yield (
            f"{template!r} uses {_listed(unknown)}, which no template has; there are "
            f"{_listed(ALWAYS)}, and {_listed(FETCHED)} where the event has one."
        )
    yield from _misread(template, tree)
    if typed:
        yield from _not_json(template, tree)


def _misread(template: str, tree: "nodes.Template") -> Iterator[str]:
    for name in sorted({path[1] for path in _paths(tree) if path[0] == "event" and len(path) > 1} - OF_EVENT):
        yield (
            f"{template!r} reads event.{name}, which events do not have: their own data is in event.payload, their "
            "labels in event.resource['<label>']."
        )


def _not_json(template: str, tree: "nodes.Template") -> Iterator[str]:
    """Refuse a lone expression whose value JSON cannot hold: Prefect's own error says only `InvalidJinja()`."""
    from jinja2 import nodes  # noqa: PLC0415 - as above

    outputs = [each for output in tree.find_all(nodes.Output) for each in output.nodes]
    path = _path(outputs[0]) if len(outputs) == 1 else None
    if path in NOT_JSON:
        yield f"{template!r} is not a value that JSON has; write {{{{ {NOT_JSON[path]} }}}}."
    elif isinstance(outputs[0], nodes.Getattr) and path and (path[0] == "labels" or path[:3] == OF_RESOURCE):
        found = "labels" if path[0] == "labels" else "event.resource"
        yield f"{template!r} is not a value that JSON has; write {{{{ {found}['<label>'] }}}}."


def _paths(tree: "nodes.Template") -> list[tuple[str, ...]]:
    from jinja2 import nodes  # noqa: PLC0415 - as above

    found = (_path(each) for each in tree.find_all((nodes.Getattr, nodes.Getitem)))
    return [path for path in found if path is not None]


def _path(node: "nodes.Node") -> tuple[str, ...] | None:
    """The names of `event.payload['x']`: ("event", "payload", "x"); None for anything else."""
    from jinja2 import nodes  # noqa: PLC0415 - as above

    if isinstance(node, nodes.Name):
        return (node.name,)
    if isinstance(node, nodes.Getattr):
        before, last = _path(node.node), node.attr
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        before, last = _path(node.node), str(node.arg.value)
    else:
        return None
    return None if before is None else (*before, last)


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))


@cache
def _environment() -> "Environment":
    """The environment in which the server renders."""
    from jinja2 import ChainableUndefined  # noqa: PLC0415 - Prefect's server takes half a second to import
    from prefect.server.events.jinja_filters import all_filters  # noqa: PLC0415
    from prefect.server.utilities.user_templates import UserTemplateEnvironment  # noqa: PLC0415

    made: Any = UserTemplateEnvironment(
        undefined=ChainableUndefined, extensions=["jinja2_humanize_extension.HumanizeExtension"]
    )
    made.filters.update(all_filters)
    found: Environment = made
    return found
