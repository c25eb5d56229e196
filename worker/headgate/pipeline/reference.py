"""Names that stand for ids: `deployment("ingest/flights")` where a class of Prefect asks for a UUID.

Prefect's actions refer to their targets by id, which only the server knows. Each function here returns a UUID that is
made from the name alone; `headgate apply` replaces it with the server's id wherever it occurs: in a field, or inside
a text such as `f"prefect.deployment.{deployment('ingest/flights')}"`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID, uuid5

from headgate.pipeline.checks import require

NAMESPACE = UUID("6f3bb0c5-2e55-4f43-9d0e-1b8d9e2f7a10")  # arbitrary, but must never change
IDS = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """The object on the Prefect server that a name stands for."""

    kind: str  # "deployment", "block", "work_pool", "work_queue" or "automation": the function that made it
    name: str

    def __str__(self) -> str:
        return f"{self.kind}({self.name!r})"


_known: dict[UUID, Reference] = {}  # the name cannot be read from an id; only grows, and never changes


def deployment(name: str) -> UUID:
    """Return a UUID that stands for a deployment, by its flow's name and its own: `deployment("ingest/flights")`."""
    return _two("deployment", name, "flow/deployment")


def block(name: str) -> UUID:
    """Return a UUID that stands for a block, by its type's slug and its name: `block("slack-webhook/team")`."""
    return _two("block", name, "type/name")


def work_pool(name: str) -> UUID:
    """Return a UUID that stands for a work pool, by its name."""
    return _stand_for(Reference("work_pool", name))


def work_queue(name: str) -> UUID:
    """Return a UUID that stands for a work queue, by its pool's name and its own: `work_queue("headgate/default")`."""
    return _two("work_queue", name, "pool/queue")


def automation(name: str) -> UUID:
    """Return a UUID that stands for another automation, in code or made by hand, by its name."""
    return _stand_for(Reference("automation", name))


def references_in(text: str) -> set[Reference]:
    """Return the references in a text, found by the ids that stand for names."""
    return {_known[found] for found in map(UUID, IDS.findall(text)) if found in _known}


def resolved(text: str, ids: Mapping[Reference, UUID]) -> str:
    """Replace ids that stand for names with the server's ids; an unknown one stays."""

    def one(match: re.Match[str]) -> str:
        reference = _known.get(UUID(match[0]))
        return str(ids.get(reference, match[0])) if reference else match[0]

    return IDS.sub(one, text)


def named(text: str, ids: Mapping[Reference, UUID]) -> str:
    """Replace the server's ids with ids that stand for names: the reverse of `resolved`."""
    names = {str(found): str(_stand_for(reference)) for reference, found in ids.items()}
    return IDS.sub(lambda match: names.get(match[0], match[0]), text)


def shown(text: str) -> str:
    """Replace ids that stand for names with the names, for people to read."""
    return IDS.sub(lambda match: str(_known.get(UUID(match[0]), match[0])), text)


def reference_of(found: UUID) -> Reference | None:
    """Return the reference that an id stands for, or None if it is not made from a name."""
    return _known.get(found)


def _two(kind: str, name: str, form: str) -> UUID:
    first, _, second = name.partition("/")
    require(first and second, f"{kind}({name!r}): write {kind}({form!r}).")
    return _stand_for(Reference(kind, name))


def _stand_for(reference: Reference) -> UUID:
    require(reference.name, f"{reference}: write a name.")
    made = uuid5(NAMESPACE, f"{reference.kind}/{reference.name}")
    _known[made] = reference
    return made
