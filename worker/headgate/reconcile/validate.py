"""The checks before the first write, so that nothing is half applied."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.events.schemas.automations import AutomationCore
from pydantic import ValidationError

from headgate.errors import BadRule
from headgate.pipeline.reference import Reference, references_in
from headgate.reconcile.blocks import name_of
from headgate.reconcile.declared import Declared
from headgate.reconcile.directory import Directory
from headgate.reconcile.objects import Thing
from headgate.reconcile.rule import KEY, essence, key_of
from headgate.reconcile.server import find
from headgate.rules.refusals import refusals
from headgate.rules.shape import actions_of

VARIABLES = re.compile(r"\{[{%][^}]*?\bvariables\.([a-z0-9_]+)(?![^}]*\bdefault\b)")  # in templates without `default`


def check_keys(declared: Declared) -> None:
    """Check that everything is declared only once.

    Raises:
        BadRule: something is declared twice; a line for each.

    """
    refuse(_doubled(declared))


def refused(cores: Iterable[AutomationCore]) -> list[str]:
    """Say which automations cannot work, and why; leave out those that need no write: they were checked before."""
    # Both checks import parts of Prefect's server, 0.3 s and 60 MB, which a sweep with nothing to do avoids.
    return [_said(core, why) for core in cores for why in refusals(essence(core)) or _refused_by_the_server(core)]


def refuse(reasons: Iterable[str]) -> None:
    """Refuse what was declared, if there are reasons.

    Raises:
        BadRule: there are reasons; a line for each.

    """
    found = list(dict.fromkeys(reasons))
    if len(found) == 1:
        raise BadRule(f"Nothing was applied. {found[0]}")
    if found:
        raise BadRule("Nothing was applied:\n" + "\n".join(f"  {reason}" for reason in found))


async def check_names(client: PrefectClient, declared: Declared, directory: Directory) -> list[str]:
    """Look up all that automations and work queues name; what this `apply` creates itself may not exist yet.

    Returns:
        A sentence for each thing that does not exist.

    """
    coming = _coming(declared)
    # Names may occur twice; keys do not.
    named = [(core.name, references_in(json.dumps(essence(core)))) for core in declared.automations]
    queues = {each.name: _pool_of(each) for each in declared.things if each.kind == "work queue"}
    wanted = set(queues.values()).union(*(references for _, references in named))
    wrong = await directory.find(each for each in wanted if each not in _own(declared))
    found = [
        f"{name}: {wrong[each]}" for name, references in named for each in sorted(references & wrong.keys() - coming)
    ]
    found += [f"work queue {name!r}: {wrong[pool]}" for name, pool in queues.items() if pool in wrong.keys() - coming]
    variables = {thing.name for thing in declared.things if thing.kind == "variable"}
    for core in declared.automations:
        rule = essence(core)
        found += [_said(core, why) for why in await directory.name(rule)]
        for variable in sorted(set(_variables(actions_of(rule))) - variables):
            if await find(client, f"/variables/name/{variable}") is None:
                found.append(_said(core, f"variable {variable!r} does not exist on the server."))
            variables.add(variable)
    return found


def _doubled(declared: Declared) -> Iterator[str]:
    for key, times in Counter(map(key_of, declared.automations)).items():
        if times > 1:
            yield (
                f"{times} automations have the key {key!r}; rename one, or give it a tag of its own, "
                f"such as tags=['{KEY}{key}-2']."
            )
    for core in declared.automations:
        if len([tag for tag in core.tags if tag.startswith(KEY)]) > 1:
            yield _said(core, f"it has two tags that begin with {KEY}; one is enough.")
    for what, names in (
        ("deployments are called", [spec.full_name for spec in declared.deployments]),
        ("declarations are of the", [f"{thing.kind} {thing.name!r}" for thing in declared.things]),
    ):
        for name, times in Counter(names).items():
            if times > 1:
                yield f"{times} {what} {name}; leave all but one out."


def _refused_by_the_server(core: AutomationCore) -> list[str]:
    """Say what Prefect's own server would refuse, before anything is written."""
    from prefect.server.events.schemas.automations import AutomationCreate  # noqa: PLC0415 - only when it is asked

    try:
        AutomationCreate.model_validate(essence(core))
    except ValidationError as error:
        return [each["msg"].removeprefix("Value error, ") for each in error.errors(include_url=False)]
    return []


def _own(declared: Declared) -> set[Reference]:
    return {Reference("automation", core.name) for core in declared.automations}


def _coming(declared: Declared) -> set[Reference]:
    """What this `apply` creates itself."""
    kinds = {"work pool": "work_pool", "work queue": "work_queue"}
    return {
        *_own(declared),
        *(Reference("deployment", spec.full_name) for spec in declared.deployments),
        *(Reference("block", name_of(name, block)) for name, block in declared.blocks.items()),
        *(Reference(kinds[thing.kind], thing.name) for thing in declared.things if thing.kind in kinds),
    }


def _pool_of(queue: Thing) -> Reference:
    return Reference("work_pool", queue.name.partition("/")[0])


def _variables(value: Any) -> Iterator[str]:
    """The Prefect variables that templates read."""
    if isinstance(value, str):
        yield from VARIABLES.findall(value)
    elif isinstance(value, dict):
        if value.get("__prefect_kind") == "workspace_variable":
            yield str(value.get("variable_name"))
        for each in value.values():
            yield from _variables(each)
    elif isinstance(value, list):
        for each in value:
            yield from _variables(each)


def _said(core: AutomationCore, why: str) -> str:
    return f"{core.name}: {why}"
