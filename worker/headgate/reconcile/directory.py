"""Which id of the server a name stands for, and which name an id has."""

import json
import re
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote
from uuid import UUID

from prefect.client.orchestration import PrefectClient

from headgate.pipeline.reference import IDS, Reference, reference_of
from headgate.reconcile import deploying
from headgate.reconcile.server import find, find_all
from headgate.rules.shape import actions_of

# The fields of actions that hold an id, and the kind of thing that the id names.
FIELDS = {
    "deployment_id": "deployment",
    "block_document_id": "block",
    "work_pool_id": "work_pool",
    "work_queue_id": "work_queue",
    "automation_id": "automation",
}
RESOURCES = re.compile(rf"prefect\.(deployment|block-document|work-pool|work-queue|automation)\.({IDS.pattern})")


class Directory:
    """The names and ids of things on the server; each is requested only once.

    Args:
        client: of the server.
        automations: every automation there, as the API returns them.

    """

    def __init__(self, client: PrefectClient, automations: Iterable[Mapping[str, Any]]) -> None:
        self.ids: dict[Reference, UUID] = {}
        self._client = client
        self._automations = {UUID(each["id"]): str(each["name"]) for each in automations}

    async def find(self, references: Iterable[Reference]) -> dict[Reference, str]:
        """Look up names.

        Returns:
            Those that do not exist, and why; the ids of the others are known from now on.

        """
        wanted = {each for each in references if each not in self.ids}
        deployments = sorted(each.name for each in wanted if each.kind == "deployment")
        for name, found in (await deploying.read(self._client, deployments)).items():
            self.ids[Reference("deployment", name)] = found.id
        wrong: dict[Reference, str] = {}
        for each in sorted(wanted - self.ids.keys()):
            if each.kind == "deployment":
                answer = None
            elif each.kind == "automation":
                there = [found for found, name in self._automations.items() if name == each.name]
                if len(there) > 1:
                    wrong[each] = f"{len(there)} automations on the server are called {each.name!r}; rename others."
                    continue
                answer = there[0] if there else None
            else:
                answer = await self._by_name(each)
            if answer is None:
                wrong[each] = f"{each.kind.replace('_', ' ')} {each.name!r} does not exist on the server."
            else:
                self.ids[each] = answer
        return wrong

    async def name(self, automation: Mapping[str, Any]) -> list[str]:
        """Look up the names of the ids in an automation.

        Args:
            automation: as the API has it.

        Returns:
            A sentence for each id in a field of an action that does not exist; the names of the others are known now.

        """
        unknown = []
        fields, known = set(ids_in(automation)), set(self.ids.values())
        for kind, found in sorted(fields | set(ids_in_texts(automation))):
            if found in known or reference_of(found) is not None:
                continue
            name = await self._name(kind, found)
            if name is None and (kind, found) in fields:
                unknown.append(f"{kind.replace('_', ' ')} {found} does not exist on the server.")
            elif name is not None:
                self.ids[Reference(kind, name)] = found
        return unknown

    async def _by_name(self, reference: Reference) -> UUID | None:
        first, _, second = map(quote, reference.name.partition("/"))
        path = {
            "block": f"/block_types/slug/{first}/block_documents/name/{second}",
            "work_pool": f"/work_pools/{quote(reference.name)}",
            "work_queue": f"/work_pools/{first}/queues/{second}",
        }[reference.kind]
        found = await find(self._client, path)
        return UUID(found["id"]) if found else None

    async def _name(self, kind: str, found: UUID) -> str | None:
        names: dict[str, Callable[[UUID], Coroutine[Any, Any, str | None]]] = {
            "deployment": self._name_of_deployment,
            "block": self._name_of_block,
            "work_pool": self._name_of_pool,
            "work_queue": self._name_of_queue,
            "automation": self._name_of_automation,
        }
        return await names[kind](found)

    async def _name_of_deployment(self, found: UUID) -> str | None:
        deployment = await find(self._client, f"/deployments/{found}")
        flow = await find(self._client, f"/flows/{deployment['flow_id']}") if deployment else None
        return f"{flow['name']}/{deployment['name']}" if flow and deployment else None

    async def _name_of_block(self, found: UUID) -> str | None:
        block = await find(self._client, f"/block_documents/{found}")
        return f"{block['block_type']['slug']}/{block['name']}" if block else None

    async def _name_of_pool(self, found: UUID) -> str | None:
        pools = await find_all(self._client, "/work_pools/filter", {"work_pools": {"id": {"any_": [str(found)]}}})
        return str(pools[0]["name"]) if pools else None

    async def _name_of_queue(self, found: UUID) -> str | None:
        queue = await find(self._client, f"/work_queues/{found}")
        return f"{queue['work_pool_name']}/{queue['name']}" if queue else None

    async def _name_of_automation(self, found: UUID) -> str | None:
        return self._automations.get(found)


def ids_in(automation: Mapping[str, Any]) -> Iterator[tuple[str, UUID]]:
    """Find the ids in the fields of actions, each with the kind of thing that it names."""
    for action in actions_of(automation):
        # Parameters and job variables below may have the same names, and any value.
        for name in FIELDS.keys() & action.keys():
            if action[name] is not None:
                yield FIELDS[name], UUID(action[name])


def ids_in_texts(value: object) -> Iterator[tuple[str, UUID]]:
    """Find the ids in the names of resources, such as prefect.deployment.<id>, anywhere in a value."""
    for kind, found in RESOURCES.findall(json.dumps(value)):
        yield FIELDS[f"{kind.replace('-', '_')}_id"], UUID(found)
