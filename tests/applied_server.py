"""One installation's view of the Prefect server: rules applied in this process, and edited as the UI does."""

import itertools
import json
from typing import Any

from harness import Stand
from headgate.reconcile import adopt as adopting
from headgate.reconcile.apply import Outcome, apply
from headgate.reconcile.automations import read
from headgate.reconcile.change import Change
from headgate.reconcile.declared import Declared, Rules
from headgate.reconcile.directory import Directory
from headgate.reconcile.rule import essence
from headgate.reconcile.rule_deployments import RULES as FOR_RULES
from headgate.reconcile.server import opened
from headgate.setting_groups import WorkerSettings
from headgate.settings import Settings
from prefect.events.schemas.automations import AutomationCore
from rules import client_of

RUN = "sweep/sweep"  # a deployment that is always declared
SHARED = {RUN, *(f"{name}/{name}" for name in FOR_RULES)}  # deployments that all tests declare


class Server:
    """One installation's view of the Prefect server."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        api = stand.env()["PREFECT_API_URL"]
        self.settings = Settings(PREFECT_API_URL=api, worker=WorkerSettings(pool=stand.pool))
        self.unique = f"t{stand.pool[5:]}"
        self._numbers = itertools.count()

    def name(self) -> str:
        """A name that nothing on the server has."""
        return f"{self.unique}-{next(self._numbers)}"

    async def apply(self, *rules: AutomationCore, dry_run: bool = False, prune: bool = False, **more: Any) -> Outcome:
        """Apply these rules, and what else is declared; Prefect's client of this process goes to the server."""
        declared = Declared.of(self.settings, more.pop("pipelines", ()), Rules(automations=rules, **more))
        with client_of(self.settings):
            return await apply(self.settings, declared, dry_run=dry_run, prune=prune)

    async def changes(self, *rules: AutomationCore, **more: Any) -> list[Change]:
        """What was not as the code says; the deployments that all tests declare left out."""
        outcome = await self.apply(*rules, **more)
        return [change for change in outcome.pending if change.name not in SHARED]

    def find(self, name: str) -> list[dict[str, Any]]:
        """Automations of a name."""
        asked = {"automations": {"name": {"any_": [name]}}}
        return list(self.stand.api("POST", "/automations/filter", asked).json())

    def one(self, name: str) -> dict[str, Any]:
        """The only automation of a name."""
        (found,) = self.find(name)
        return found

    def edit(self, name: str, **fields: Any) -> None:
        """Edit one as the UI does."""
        found = self.one(name)
        ours = ("name", "description", "enabled", "tags", "trigger", "actions", "actions_on_trigger")
        body = {field: found[field] for field in ours} | fields
        self.stand.api("PUT", f"/automations/{found['id']}", body)

    async def python(self, name: str) -> AutomationCore:
        """What the Python of one on the server makes, its names still standing for ids."""
        with client_of(self.settings):
            async with opened(self.settings) as client:
                there = await read(client)
                (found,) = (each for each in there if each["name"] == name)
                directory = Directory(client, there)
                rule_ = essence(found)
                await directory.name(rule_)
        space: dict[str, Any] = {}
        exec(adopting.written(rule_, directory).module, space)  # noqa: S102 - that it can be executed is the test
        (made,) = space["RULES"]
        assert isinstance(made, AutomationCore)
        return made

    def close(self) -> None:
        """Delete what was made; the server is of all tests."""
        for found in self.stand.api("POST", "/automations/filter", {"limit": 200, "sort": "CREATED_DESC"}).json():
            if self.unique in json.dumps(found):
                self.stand.api("DELETE", f"/automations/{found['id']}")
