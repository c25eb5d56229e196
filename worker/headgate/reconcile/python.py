"""Automations as Python: the code that recreates one, in Prefect's own classes."""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import Enum
from uuid import UUID

from prefect import events
from prefect.events.schemas.automations import AutomationCore
from prefect.events.schemas.events import ResourceSpecification
from pydantic import BaseModel

from headgate.pipeline.reference import IDS, Reference, reference_of
from headgate.reconcile.rule import KEY, OFF, TAG

WIDTH = 100  # columns
STEP = "    "

EVENTS = "prefect.events"
ACTIONS = "prefect.events.actions"
MODULES = {"Automation": "prefect.automations", "StateType": "prefect.client.schemas.objects"}


class Python:
    """Writes Python, and remembers what it has to import."""

    def __init__(self) -> None:
        self._imports: dict[str, set[str]] = {}

    @property
    def imports(self) -> list[str]:
        """The import lines that the written code needs."""
        return [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(self._imports.items())]

    def automation(self, core: AutomationCore, depth: int = 0) -> str:
        """Write an automation; ids that stand for names are written as those names.

        Args:
            core: the automation; its ids may stand for names, see `headgate.pipeline.reference`.
            depth: its indentation, in steps.

        """
        tags = [tag for tag in core.tags if tag not in {TAG, OFF} and not tag.startswith(KEY)]
        fields = {**_set(AutomationCore.model_validate(core.model_dump())), "tags": tags}
        fields = {name: value for name, value in fields.items() if name not in {"id", "owner_resource"}}
        if not tags:
            del fields["tags"]
        return self._call(self._name("Automation"), fields, depth)

    def _value(self, value: object, depth: int) -> str:  # noqa: PLR0911 - one a kind
        match value:
            case ResourceSpecification():
                return self._value(value.root, depth)
            case BaseModel():
                return self._call(self._name(type(value).__name__), _set(value), depth)
            case Enum():
                return f"{self._name(type(value).__name__)}.{value.name}"
            case timedelta():
                return self._time(value)
            case UUID():
                reference = reference_of(value)
                return self._reference(reference) if reference else f'{self._name("UUID", "uuid")}("{value}")'
            case str():
                return self._text(value)
            case set() | frozenset():
                return self._many(sorted(self._value(each, depth + 1) for each in value), "{}", depth)
            case Mapping():
                pairs = [f"{self._text(str(name))}: {self._value(each, depth + 1)}" for name, each in value.items()]
                return self._many(pairs, "{}", depth)
            case list() | tuple():
                return self._many([self._value(each, depth + 1) for each in value], "[]", depth)
            case _:
                return repr(value)

    def _call(self, name: str, fields: Mapping[str, object], depth: int) -> str:
        given = [f"{field}={self._value(value, depth + 1)}" for field, value in fields.items()]
        return self._many(given, f"{name}()", depth)

    def _many(self, parts: Iterable[str], around: str, depth: int) -> str:
        """Put parts into brackets: on one line, or on a line each."""
        found = list(parts)
        line = f"{around[:-1]}{', '.join(found)}{around[-1]}"
        if len(line) + len(STEP) * depth <= WIDTH and "\n" not in line:
            return line
        inner = STEP * (depth + 1)
        lines = "".join(f"{inner}{each},\n" for each in found)
        return f"{around[:-1]}\n{lines}{STEP * depth}{around[-1]}"

    def _time(self, value: timedelta) -> str:
        name = self._name("timedelta", "datetime")
        parts = {"days": value.days, "seconds": value.seconds, "microseconds": value.microseconds}
        return f"{name}({', '.join(f'{part}={count}' for part, count in parts.items() if count) or '0'})"

    def _text(self, text: str) -> str:
        if not any(reference_of(UUID(found)) for found in IDS.findall(text)):
            return _quoted(text)
        written = []
        for part in filter(None, re.split(f"({IDS.pattern})", text)):
            reference = reference_of(UUID(part)) if IDS.fullmatch(part) else None
            written.append(f"str({self._reference(reference)})" if reference else _quoted(part))
        return " + ".join(written)

    def _reference(self, reference: Reference) -> str:
        return f"{self._name(reference.kind, 'headgate')}({_quoted(reference.name)})"

    def _name(self, name: str, module: str | None = None) -> str:
        # Some actions, such as ResumeFlowRun, are not in prefect.events itself.
        found = module or MODULES.get(name) or (EVENTS if hasattr(events, name) else ACTIONS)
        self._imports.setdefault(found, set()).add(name)
        return name


def _set(model: BaseModel) -> dict[str, object]:
    """The fields that differ from their defaults, and those without a default."""
    found = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if field.is_required() or value != field.get_default(call_default_factory=True):
            found[name] = value
    return found


def _quoted(text: str) -> str:
    """Write a text in double quotes: Python reads JSON's escapes the same way."""
    return json.dumps(text, ensure_ascii=False)
