"""Automations on the server: found by their key, created, or updated in place under the same id."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import PrefectHTTPStatusError

from headgate.pipeline.reference import Reference, named, references_in
from headgate.reconcile.change import Change
from headgate.reconcile.diff import differences, equal
from headgate.reconcile.directory import Directory
from headgate.reconcile.rule import KEY, OFF, Json, at_server, essence, key_of, wanted
from headgate.reconcile.server import find_all
from headgate.reconcile.step import Step
from headgate.reconcile.triggers import DOORBELL, is_doorbell

STAYS_OFF = "It is switched off on the server, and stays off; switch it on there."
NOTHING: Json = {"type": "do-nothing"}


async def read(client: PrefectClient) -> list[Json]:
    """Read every automation of the server, oldest first."""
    found = await find_all(client, "/automations/filter", {"sort": "CREATED_DESC"})
    once = {each["id"]: each for each in found}  # one created between two pages moves others to the next
    return sorted(once.values(), key=lambda each: (each["created"], each["id"]))


@dataclass
class Automations:
    """Our automations on the server, and what would be done to each.

    Args:
        client: of the server.
        pool: our work pool, which tells our keys from those of other installations.
        there: every automation of the server, oldest first.
        directory: knows names and ids.

    """

    client: PrefectClient
    pool: str
    there: Sequence[Json]
    directory: Directory
    disabled: list[Json] = field(default_factory=list)  # switched off by people, as the API has them
    _taken: set[str] = field(default_factory=set)  # ids of those that the code declares
    _later: list[tuple[UUID, Json]] = field(default_factory=list)  # those that name others which do not exist yet

    def identify(self, cores: Iterable[AutomationCore]) -> dict[str, Json | None]:
        """Find the code's automations on the server, by key; None: to be created."""
        found: dict[str, Json | None] = {}
        for core in cores:
            rule = wanted(core, self.pool)
            match = next(iter(self._twins(rule)), None) or self._made_before_keys(rule)
            found[key_of(core)] = match
            if match is not None:
                self._taken.add(match["id"])
                self.directory.ids[Reference("automation", core.name)] = UUID(match["id"])
        return found

    async def steps_of(self, core: AutomationCore, found: Json | None) -> list[Step]:
        """Compare one automation with the server."""
        rule = wanted(core, self.pool)
        if found is None:
            same = any(each["name"] == core.name for each in self.there)
            notes = ("Another one of this name, which is not ours, stays as it is.",) if same else ()
            return [Step(Change("automation", core.name, "created", notes=notes), lambda: self._make(rule))]
        off = not found["enabled"] and core.enabled and OFF not in found["tags"]
        if off:
            rule["enabled"] = False
            self.disabled.append(found)
        notes = (STAYS_OFF,) if off else ()
        steps = [Step(Change("automation", core.name, "unchanged", notes=notes))]
        if not equal(essence(found), at_server(rule, self.directory.ids)):
            change = Change("automation", core.name, "updated", await self._differences(found, rule), notes)
            steps = [Step(change, lambda: self._update(UUID(found["id"]), rule))]
        return steps + [self._remove(each, "It is there twice.") for each in self._doubles(rule, found)]

    def left(self, homes: Sequence[str]) -> list[Step]:
        """The steps that remove automations of ours that the code no longer declares.

        Args:
            homes: the homes that the code was read for; doorbells of other homes are left alone.

        """
        ours = [each for each in self.there if each["id"] not in self._taken and self._is_ours(each)]
        return [self._remove(each, "It is not in the code any more.") for each in ours if _is_in(homes, each["name"])]

    def others(self) -> list[str]:
        """The names of automations that people made."""
        return sorted(
            each["name"]
            for each in self.there
            if each["id"] not in self._taken and not any(tag.startswith(KEY) for tag in each["tags"])
        )

    async def finish(self) -> None:
        """Complete automations that name others which were created after them; recreate one that was removed."""
        later, self._later = self._later, []
        for automation_id, rule in later:
            if not await self._write(automation_id, at_server(rule, self.directory.ids)):
                await self._make(rule)

    async def remove_doubles(self, cores: Iterable[AutomationCore]) -> list[Change]:
        """Remove copies that another `apply` made at the same time: whoever looks keeps the oldest."""
        self.there = await read(self.client)
        removed = []
        for core in cores:
            rule = wanted(core, self.pool)
            for twin in self._doubles(rule, next(iter(self._twins(rule)), None)):
                step = self._remove(twin, "Another `apply` had made it a moment earlier.")
                if step.write is not None:
                    await step.write()
                removed.append(step.change)
        return removed

    def _twins(self, rule: Json) -> list[Json]:
        return [each for each in self.there if _key_tag(rule) in each["tags"]]

    def _doubles(self, rule: Json, kept: Json | None) -> list[Json]:
        """Copies of the one that is kept; one that shares only its key may be somebody's work, and stays."""
        return [
            each
            for each in self._twins(rule)
            if kept is not None and each["id"] != kept["id"] and equal(_content(each), _content(kept))
        ]

    def _made_before_keys(self, rule: Json) -> Json | None:
        """The same automation without this key: a doorbell of this name, or an unkeyed one with the same content."""
        code = _content(at_server(rule, self.directory.ids))
        for each in self.there:
            if each["name"] == rule["name"] and each["id"] not in self._taken:
                keyed = any(tag.startswith(KEY) for tag in each["tags"])
                if is_doorbell(each["name"], each["tags"]) or (not keyed and equal(_content(each), code)):
                    return each
        return None

    def _is_ours(self, found: Json) -> bool:
        return any(tag.startswith(f"{KEY}{self.pool}/") for tag in found["tags"])

    async def _differences(self, found: Json, rule: Json) -> tuple[Any, ...]:
        there = essence(found)
        await self.directory.name(there)
        texts = (named(json.dumps(each), self.directory.ids) for each in (there, rule))
        return differences(*map(json.loads, texts))

    def _remove(self, found: Json, why: str) -> Step:
        async def remove() -> None:
            try:
                await self.client.delete_automation(UUID(found["id"]))
            except PrefectHTTPStatusError as error:
                if error.response.status_code != httpx.codes.NOT_FOUND:  # else another `apply` removed it first
                    raise

        return Step(Change("automation", found["name"], "removed", notes=(why,)), remove)

    async def _make(self, rule: Json) -> None:
        ready = at_server(rule, self.directory.ids)
        # It may exist by now: created by another `apply`, or by a request whose answer was lost.
        asked = {"automations": {"tags": {"all_": [_key_tag(rule)]}}}
        while there := await find_all(self.client, "/automations/filter", asked):
            made = UUID(there[0]["id"])
            if await self._put(made, rule):
                break
        else:
            body = _without(ready) if _unresolved(ready) else ready
            made = UUID((await self.client.request("POST", "/automations/", json=body)).json()["id"])
            if body is not ready:
                self._later.append((made, rule))
        self.directory.ids[Reference("automation", rule["name"])] = made

    async def _update(self, automation_id: UUID, rule: Json) -> None:
        if not await self._put(automation_id, rule):
            await self._make(rule)

    async def _put(self, automation_id: UUID, rule: Json) -> bool:
        """Update an automation, now or once the ids of its names are known; False if it no longer exists."""
        ready = at_server(rule, self.directory.ids)
        if _unresolved(ready):
            self._later.append((automation_id, rule))
            return True
        return await self._write(automation_id, ready)

    async def _write(self, automation_id: UUID, ready: Json) -> bool:
        """Write an automation; False if it no longer exists: a person or another `apply` removed it."""
        # Not `client.update_automation`: it leaves out fields that were not set, and the server guesses them.
        try:
            await self.client.request("PUT", "/automations/{id}", path_params={"id": automation_id}, json=ready)
        except PrefectHTTPStatusError as error:
            if error.response.status_code != httpx.codes.NOT_FOUND:
                raise
            return False
        return True


def _is_in(homes: Sequence[str], name: str) -> bool:
    """Whether an automation belongs to one of these homes; rules belong to every home."""
    _, at, home = name.rpartition("@")
    return not (at and name.startswith(DOORBELL)) or home in homes


def _key_tag(rule: Json) -> str:
    return next(str(tag) for tag in rule["tags"] if tag.startswith(KEY))


def _content(automation: Json) -> Json:
    """What an automation does: two with the same content are copies of each other."""
    found = essence(automation)
    return {name: value for name, value in found.items() if name not in {"tags", "enabled", "description"}}


def _unresolved(ready: Json) -> bool:
    return bool(references_in(json.dumps(ready)))


def _without(ready: Json) -> Json:
    """An automation that does nothing in place of actions that name what does not exist yet."""
    return {
        name: [NOTHING if references_in(json.dumps(action)) else action for action in value]
        if name.startswith("actions")
        else value
        for name, value in ready.items()
    }
