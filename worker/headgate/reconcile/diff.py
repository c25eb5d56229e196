"""The difference between what is on the server and what the code says, field by field."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from headgate.pipeline.reference import shown
from headgate.reconcile.change import Difference

ABSENT = object()
SHOWN = 200  # characters of a value; a parameter schema has thousands


def differences(server: object, code: object, field: str = "") -> tuple[Difference, ...]:
    """Compare two values made of dicts, lists and scalars.

    Args:
        server: what is there.
        code: what should be there.
        field: the path at which they stand.

    Returns:
        Each place where they differ, as deep as both have the same shape.

    """
    return tuple(_walk(server, code, field))


def _walk(server: object, code: object, field: str) -> Iterator[Difference]:
    if equal(server, code):
        return
    if isinstance(server, dict) and isinstance(code, dict) and server.get("type") == code.get("type"):
        for name in sorted({*server, *code}):
            yield from _walk(server.get(name, ABSENT), code.get(name, ABSENT), _below(field, name))
    elif isinstance(server, list) and isinstance(code, list) and len(server) == len(code) and _of_dicts(server, code):
        for number, (one, other) in enumerate(zip(server, code, strict=True)):
            yield from _walk(one, other, f"{field}[{number}]")
    else:
        yield Difference(field, as_text(server), as_text(code), _editors_doing(field, server, code))


def equal(one: object, other: object) -> bool:
    """Whether two values are equal as JSON: unlike in Python, True is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def as_text(value: object) -> str:
    """Format a value for people: JSON, with names instead of ids, cut if it is long."""
    if value is ABSENT:
        return "absent"
    text = shown(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _below(field: str, name: str) -> str:
    # Names of labels contain dots.
    step = name if name.isidentifier() else f"[{name!r}]"
    return step if not field else f"{field}{step}" if step.startswith("[") else f"{field}.{step}"


def _of_dicts(*lists: list[Any]) -> bool:
    return all(isinstance(each, dict) for values in lists for each in values)


def _editors_doing(field: str, server: object, code: object) -> str:
    """Say if Prefect's V2 editor makes this change when an automation is opened and saved unchanged."""
    last = field.rpartition(".")[2]
    if (
        (last == "schedule_after" and server == 0)
        or (last == "force" and (server, code) == (False, True))
        or (last == "within" and server == 0 and code is None)
        or (_type(server), _type(code)) == ("do-nothing", "delete-flow-run")
    ):
        return "Prefect's V2 editor does this by saving alone."
    return ""


def _type(value: object) -> object:
    return value.get("type") if isinstance(value, Mapping) else None
