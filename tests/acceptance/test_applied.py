"""`headgate apply` and `headgate sweep` make the server match the code, and leave alone what is the user's."""

import json
from typing import Any

from harness import Stand, wait_until

PIPELINES = """
import dataframely as dy
from headgate import Folder, Pipeline, Table


class Item(dy.Schema):
    item = dy.Int64(nullable=False)


PIPELINES = tuple(
    Pipeline(name=name, sources=(Folder({folder}),), schema=Item, sink=Table("items")) for name in {names}
)
"""


def automation(stand: Stand, pipeline: str) -> dict[str, Any]:
    """The one automation of a pipeline."""
    asked = {"automations": {"name": {"any_": [f"headgate: {pipeline}"]}}}
    (found,) = stand.api("POST", "/automations/filter", asked).json()
    return dict(found)


def apply(stand: Stand) -> dict[str, str]:
    """Apply; what was done to each thing."""
    return {
        f"{each['what']} {each['name']}": each["action"] for each in json.loads(stand.run("apply", "--json").stdout)
    }


def test_applied_twice_nothing_changes_and_an_edit_keeps_what_is_there(prefect_stand: Stand) -> None:
    stand = prefect_stand
    names = ("switched-off", "removed")
    stand.declare(PIPELINES.format(folder="name", names=names))
    assert apply(stand)["automation headgate: removed"] == "created"
    off, gone = automation(stand, "switched-off"), automation(stand, "removed")
    assert set(apply(stand).values()) == {"unchanged"}

    # A user's switch stays as it is; what is ours in the automation comes back under the same id.
    stand.api("PATCH", f"/automations/{off['id']}", {"enabled": False})
    edited = {key: off[key] for key in ("name", "trigger", "actions", "tags")} | {"description": "?", "enabled": False}
    stand.api("PUT", f"/automations/{off['id']}", edited)
    stand.declare(PIPELINES.format(folder="'elsewhere-' + name", names=names))
    changed = apply(stand)
    assert changed["automation headgate: switched-off"] == "updated"
    assert changed["automation headgate: removed"] == "unchanged"
    assert changed["deployment ingest/switched-off"] == "updated"
    after = automation(stand, "switched-off")
    assert (after["id"], after["enabled"], after["description"]) == (off["id"], False, off["description"])

    # What was deleted, the sweep makes again; nothing is there twice.
    stand.api("DELETE", f"/automations/{gone['id']}")
    stand.run("sweep")
    assert automation(stand, "removed")["actions"] == gone["actions"]
    assert automation(stand, "switched-off")["enabled"] is False


def test_the_server_schedules_the_sweep_by_itself(prefect_stand: Stand) -> None:
    """Nobody asks for these runs: without the server's scheduler there would be none, and no error would tell."""
    stand = prefect_stand
    stand.declare(PIPELINES.format(folder="name", names=("swept",)))
    apply(stand)
    asked = {"deployments": {"name": {"any_": ["sweep"]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    wait_until(lambda: stand.api("POST", "/flow_runs/count", asked).json() > 0, within=120, every=1)
