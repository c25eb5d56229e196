"""`headgate automations plan`, `apply` and `adopt`, and the sweep, as people use them."""

import json
import subprocess

from harness import Stand
from headgate.reconcile.rule_deployments import RULES as FOR_RULES

PIPELINES = """
import dataframely as dy
from headgate import Folder, Pipeline, Table


class Item(dy.Schema):
    item = dy.Int64(nullable=False)


PIPELINES = Pipeline(name="NAME", sources=(Folder("NAME"),), schema=Item, sink=Table("items"))
"""

RULES = """
from headgate import deployment
from prefect.automations import Automation
from prefect.events import EventTrigger, RunDeployment

RULES = [
    Automation(
        name="NAME again",
        trigger=EventTrigger(expect={"headgate.arrivals.rejected"}, match={"headgate.pipeline": "NAME"}),
        actions=[RunDeployment(deployment_id=deployment("ingest/NAME"))],
    )
]
"""

# Deployments that belong to all tests on one server.
SHARED = {"sweep/sweep", *(f"{name}/{name}" for name in FOR_RULES)}


def plan(stand: Stand, *words: str) -> "subprocess.CompletedProcess[str]":
    return stand.run("automations", "plan", *words, check=False)


def test_rules_are_planned_applied_edited_put_right_and_adopted(prefect_stand: Stand) -> None:
    stand = prefect_stand
    name = stand.pool
    stand.declare(PIPELINES.replace("NAME", name))
    rules = stand.folder / "my_rules.py"
    rules.write_text(RULES.replace("NAME", name), encoding="utf-8")
    stand.environment["HEADGATE_RULES"] = "my_rules:RULES"

    planned = plan(stand)
    assert planned.returncode == 1
    assert f"+ automation  {name} again" in planned.stdout
    assert all(len(line) <= 80 for line in planned.stdout.splitlines())
    stand.run("automations", "apply")

    # Somebody edits ours in the UI, and makes another one there.
    asked = {"automations": {"name": {"any_": [f"{name} again"]}}}
    (ours,) = stand.api("POST", "/automations/filter", asked).json()
    body = {field: ours[field] for field in ("name", "tags", "trigger", "actions")}
    body["trigger"]["threshold"] = 7
    stand.api("PUT", f"/automations/{ours['id']}", body)
    trigger = {"type": "event", "posture": "Reactive", "expect": ["headgate.rows.dead-lettered"], "threshold": 3}
    action = {"type": "run-deployment", "source": "selected", "deployment_id": ours["actions"][0]["deployment_id"]}
    stand.api("POST", "/automations/", {"name": f"{name} theirs", "trigger": trigger, "actions": [action]})

    told = json.loads(plan(stand, "--json").stdout)
    (change,) = (each for each in told["changes"] if each["name"] == f"{name} again")
    assert change["differences"] == [{"field": "trigger.threshold", "server": "7", "code": "1", "note": ""}]
    assert f"{name} theirs" in told["others"]
    swept = json.loads(stand.run("sweep", "--json").stdout)
    assert f"automation {name} again updated: trigger.threshold was 7, is 1." in [row["what"] for row in swept]

    stand.run("automations", "adopt", f"{name} theirs", "--write")
    told = json.loads(plan(stand, "--prune", "--json").stdout)
    (change,) = (each for each in told["changes"] if each["action"] != "unchanged" and each["name"] not in SHARED)
    assert (change["name"], [each["field"] for each in change["differences"]]) == (f"{name} theirs", ["tags"])

    # A rule that cannot work: one line, exit code 2.
    text = rules.read_text(encoding="utf-8")
    rules.write_text(text.replace(f'deployment("ingest/{name}")', 'deployment("ingest/nobody")', 1), encoding="utf-8")
    refused = plan(stand)
    assert refused.returncode == 2
    assert refused.stderr == (
        f"headgate: Nothing was applied. {name} again: deployment 'ingest/nobody' does not exist on the server.\n"
    )
    for each in stand.api("POST", "/automations/filter", {"limit": 200, "sort": "CREATED_DESC"}).json():
        if name in each["name"]:
            stand.api("DELETE", f"/automations/{each['id']}")
