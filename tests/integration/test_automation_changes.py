"""A change of an automation on Headgate's own Prefect server keeps what its triggers have seen."""

import json
import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from harness import Stand, wait_until
from rules_on_server import RuleServer

RESOURCE = {"prefect.resource.id": "test.thing"}


def trigger(name: str, **more: object) -> dict[str, Any]:
    return {"type": "event", "posture": "Reactive", "expect": [f"RUN.{name}"], "threshold": 1, "within": 0, **more}


AB = [trigger("a"), trigger("b")]


class Rule:
    """An automation that does nothing, and waits for events that nobody else sends."""

    def __init__(self, stand: Stand, shape: dict[str, Any]) -> None:
        self.stand, self.run = stand, f"test.{uuid4().hex[:8]}"
        own = json.loads(json.dumps(shape).replace("RUN", self.run))
        self.body = {"name": self.run, "trigger": own, "actions": [{"type": "do-nothing"}]}
        self.id = stand.api("POST", "/automations/", self.body).json()["id"]
        with RuleServer(stand.services) as server:
            server.settle()

    def send(self, *names: str) -> None:
        """Send events that only this one waits for."""
        for name in names:
            event = {
                "id": str(uuid4()),
                "event": f"{self.run}.{name}",
                "occurred": datetime.now(UTC).isoformat(),
                "resource": RESOURCE,
                "payload": {},
            }
            self.stand.api("POST", "/events", [event])
            time.sleep(0.05)  # a sequence goes by the order in which they are looked at

    def change(self, **more: object) -> None:
        """Change it in the way the UI does: all of it."""
        self.stand.api("PUT", f"/automations/{self.id}", {**self.body, **more})

    def ids(self) -> list[str]:
        """Of its triggers."""
        found = self.stand.api("GET", f"/automations/{self.id}").json()["trigger"]
        return [found["id"], *(child["id"] for child in found.get("triggers", ()))]

    def remove(self) -> None:
        """Delete it."""
        self.stand.api("DELETE", f"/automations/{self.id}")

    def fired(self) -> int:
        """How often it has fired, as far as that is recorded."""
        asked = {
            "filter": {
                "event": {"name": ["prefect.automation.triggered"]},
                "resource": {"id": [f"prefect.automation.{self.id}"]},
            }
        }
        return int(self.stand.api("POST", "/events/filter", asked).json()["total"])


SHAPES: dict[str, tuple[dict[str, Any], str, str]] = {
    "threshold": (trigger("a", threshold=5, within=300), "aaa", "aa"),
    "for_each": (trigger("a", threshold=3, within=300, for_each=["prefect.resource.id"]), "aa", "a"),
    "compound": ({"type": "compound", "require": "all", "within": 300, "triggers": AB}, "a", "b"),
    "sequence": ({"type": "sequence", "within": 300, "triggers": AB}, "a", "b"),
}


def test_what_triggers_have_seen_outlives_a_change(prefect_stand: Stand) -> None:
    assert prefect_stand.api("GET", "/headgate").json() == {"changes_lose_nothing": True}
    rules = {name: Rule(prefect_stand, shape) for name, (shape, _, _) in SHAPES.items()}
    probe = Rule(prefect_stand, trigger("p"))

    def is_loaded() -> bool:
        """The server has loaded the automation that was made last, and so the others."""
        probe.send("p")
        return probe.fired() > 0

    wait_until(is_loaded, every=0.5)
    ids = {name: rule.ids() for name, rule in rules.items()}
    for name, rule in rules.items():
        rule.send(*SHAPES[name][1])
        rule.change(description="another")
    assert {name: rule.ids() for name, rule in rules.items()} == ids
    for name, rule in rules.items():
        rule.send(*SHAPES[name][2])
    wait_until(lambda: [rule.fired() for rule in rules.values()] == [1] * len(rules), every=0.5)
    for rule in (*rules.values(), probe):
        rule.remove()
