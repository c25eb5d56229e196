"""What `apply` did, or would do, to one thing on the Prefect server."""

from dataclasses import dataclass
from typing import Literal

Action = Literal["created", "updated", "unchanged", "removed"]


@dataclass(frozen=True, slots=True)
class Difference:
    """A field of a thing on the server that differs from the code."""

    field: str  # a path, such as trigger.expect or actions[0].deployment_id
    server: str  # what is there, formatted for people; secrets are never shown
    code: str  # what should be there
    note: str = ""  # what is known to make such a difference


@dataclass(frozen=True, slots=True)
class Change:
    """What `apply` did, or would do, to one thing on the Prefect server."""

    kind: str  # "work pool", "work queue", "variable", "concurrency limit", "block", "deployment" or "automation"
    name: str
    action: Action
    differences: tuple[Difference, ...] = ()  # of a thing that is updated
    notes: tuple[str, ...] = ()  # what a person should know about it, a sentence each


def told(change: Change) -> list[str]:
    """Describe a change: one line, or one for each field of an update."""
    what = f"{change.kind} {change.name}"
    return [
        f"{what} {change.action}: {each.field} was {each.server}, is {each.code}. {each.note}".rstrip()
        for each in change.differences
    ] or [f"{what} {change.action}"]
