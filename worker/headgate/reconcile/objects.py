"""Work pools, queues, variables and concurrency limits: read by name, created, or updated in place.

Only the fields that the code sets are compared: people may set all others in the UI.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import (
    GlobalConcurrencyLimitCreate,
    VariableCreate,
    WorkPoolCreate,
    WorkQueueCreate,
)
from prefect.variables import Variable
from pydantic import BaseModel

from headgate.execution.worker import HeadgateWorker
from headgate.reconcile.change import Change
from headgate.reconcile.diff import differences
from headgate.reconcile.server import absent_is_made, find
from headgate.reconcile.step import Step


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that the server knows by its name."""

    kind: str
    name: str
    folder: str  # of the API: where it is created
    path: str  # of the API: where it is read and updated
    fields: Mapping[str, Any]  # as it should be
    at_first: Mapping[str, Any] = field(default_factory=dict)  # fields that are written only when it is created


def our_pool(name: str) -> Thing:
    """The work pool of our deployments. What people change in it stays."""
    template = HeadgateWorker.get_default_base_job_template()
    return _pool(name, {}, {"type": HeadgateWorker.type, "base_job_template": template})


def pool(wanted: WorkPoolCreate) -> Thing:
    """A work pool; Prefect cannot change its type."""
    fields = _given(wanted)
    return _pool(fields.pop("name"), fields, {"type": fields.pop("type", wanted.type)})


def queue(pool_name: str, wanted: WorkQueueCreate) -> Thing:
    """A queue of a work pool."""
    fields = _given(wanted)
    name, folder = fields.pop("name"), f"/work_pools/{quote(pool_name)}/queues"
    return Thing("work queue", f"{pool_name}/{name}", folder, f"{folder}/{quote(name)}", fields, {"name": name})


def variable(wanted: Variable | VariableCreate) -> Thing:
    """A variable."""
    fields = _given(wanted)
    name = fields.pop("name")
    return Thing("variable", name, "/variables/", f"/variables/name/{quote(name)}", fields, {"name": name})


def limit(wanted: GlobalConcurrencyLimitCreate) -> Thing:
    """A global concurrency limit; how many of its slots are taken is left to the server."""
    fields = _given(wanted)
    fields.pop("active_slots", None)
    name, folder = fields.pop("name"), "/v2/concurrency_limits/"
    return Thing("concurrency limit", name, folder, f"{folder}{quote(name)}", fields, {"name": name})


async def step_of(client: PrefectClient, thing: Thing) -> Step:
    """Compare a thing with the server."""
    found = await find(client, thing.path)
    if found is None:

        async def make() -> None:
            with absent_is_made():
                await client.request("POST", thing.folder, json={**thing.at_first, **thing.fields})  # type: ignore[arg-type]  # any path

        return Step(Change(thing.kind, thing.name, "created"), make)
    differ = differences({name: found.get(name) for name in thing.fields}, dict(thing.fields))
    notes = _types(thing, found)
    if not differ:
        return Step(Change(thing.kind, thing.name, "unchanged", notes=notes))

    async def change() -> None:
        await client.request("PATCH", thing.path, json=dict(thing.fields))  # type: ignore[arg-type]  # any path

    return Step(Change(thing.kind, thing.name, "updated", differ, notes), change)


def _types(thing: Thing, found: Mapping[str, Any]) -> tuple[str, ...]:
    wanted = thing.at_first.get("type")
    if wanted is None or found["type"] == wanted:
        return ()
    return (f"It keeps its type {found['type']}: Prefect cannot change it to {wanted}. Runs are executed even so.",)


def _pool(name: str, fields: Mapping[str, Any], at_first: Mapping[str, Any]) -> Thing:
    return Thing("work pool", name, "/work_pools/", f"/work_pools/{quote(name)}", fields, {"name": name, **at_first})


def _given(wanted: BaseModel) -> dict[str, Any]:
    return wanted.model_dump(mode="json", exclude_unset=True)
