"""An installation whose rows can be good or bad, and the rules that a person makes on its events."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from harness import Stand, wait_until
from psycopg.rows import DictRow
from rules_on_server import RuleServer

PIPELINES = """
from pathlib import Path

import dataframely as dy
from headgate import Folder, Pipeline, Table, lookup


class Item(dy.Schema):
    item = dy.Int64(nullable=False, min=0)


HERE = Path(__file__).parent
PLACES = lookup(HERE / "places.csv", on="item", add={{"place": "place"}}, required=True)


def pipeline(name, enrich=()):
    return Pipeline(name=name, sources=(Folder(name),), schema=Item, enrich=enrich, sink=Table(name.replace("-", "_")))


PIPELINES = ({pipelines},)
"""


def declare(stand: Stand, **pipelines: str) -> None:
    """Declare pipelines, each with its further arguments, and what they look up in."""
    (stand.folder / "places.csv").write_text("item,place\n1,Here\n")
    stand.declare(
        PIPELINES.format(
            pipelines=", ".join(f"pipeline({name!r}{more and f', {more}'})" for name, more in pipelines.items())
        )
    )


def drop(stand: Stand, pipeline: str, *items: object) -> None:
    """Drop a file of these items; a negative one is bad, and so is a text."""
    hidden = stand.inbox / pipeline / f".{uuid4().hex}.csv"
    hidden.write_text("item\n" + "".join(f"{item}\n" for item in items), encoding="utf-8")
    hidden.rename(hidden.with_name(hidden.name[1:]))


def arrivals(stand: Stand, pipeline: str, count: int) -> list[DictRow]:
    """Wait until so many arrivals of a pipeline are there and over."""

    def found() -> list[DictRow]:
        mine = [row for row in stand.arrivals() if row["pipeline"] == pipeline]
        return mine if len(mine) >= count and all(row["settled_at"] for row in mine) else []

    return wait_until(found)


def deployment(stand: Stand, name: str) -> str:
    """The id of a deployment."""
    return str(stand.api("GET", f"/deployments/name/{name}").json()["id"])


def rule(
    stand: Stand,
    event: str,
    pipeline: str,
    deployed: str,
    parameters: Mapping[str, object] | None = None,
    **labels: str,
) -> str:
    """Make a rule as the UI does, and wait until the server evaluates by it; its id."""
    body = {
        "name": f"a rule of {pipeline} {uuid4().hex[:6]}",
        "trigger": {
            "type": "event",
            "posture": "Reactive",
            "expect": [event],
            "match": {"prefect.resource.id": f"headgate.pipeline.{pipeline}", **labels},
            "threshold": 1,
            "within": 0,
        },
        "actions": [
            {
                "type": "run-deployment",
                "source": "selected",
                "deployment_id": deployment(stand, deployed),
                "parameters": dict(parameters or {}),
            }
        ],
    }
    made = str(stand.api("POST", "/automations/", body).json()["id"])
    # The server answers before it evaluates by a rule: an event sent right then may be passed over.
    with RuleServer(stand.services) as server:
        server.settle()
    return made


def runs_of(stand: Stand, automation: str, count: int = 1) -> list[dict[str, Any]]:
    """Wait until a rule has made so many runs, and they are over; the oldest first."""

    def over() -> list[dict[str, Any]]:
        # Tests share the server: without the filter, its other runs fill a page.
        asked = {"sort": "START_TIME_ASC", "flow_runs": {"created_by": {"id_": [automation]}}}
        made: list[dict[str, Any]] = stand.api("POST", "/flow_runs/filter", asked).json()
        ended = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
        return made if len(made) >= count and all(run["state_type"] in ended for run in made) else []

    return wait_until(over, within=120)


def failures_of(stand: Stand, automation: str) -> list[str]:
    """Wait until an action of a rule has failed; why."""

    def found() -> list[str]:
        chosen = {
            "event": {"name": ["prefect.automation.action.failed"]},
            "resource": {"id": [f"prefect.automation.{automation}"]},
        }
        events = stand.api("POST", "/events/filter", {"filter": chosen}).json()["events"]
        return [str(each["payload"]["reason"]) for each in events]

    return wait_until(found, within=60)


def emit(stand: Stand, event: str, pipeline: str, payload: Mapping[str, object] | None = None) -> str:
    """Emit an event about a pipeline, as the announcer does; its id."""
    event_id = str(uuid4())
    body = {
        "id": event_id,
        "event": event,
        "occurred": datetime.now(UTC).isoformat(),
        "resource": {"prefect.resource.id": f"headgate.pipeline.{pipeline}", "headgate.pipeline": pipeline},
        "related": [],
        "payload": {"pipeline": pipeline, **(payload or {})},
    }
    stand.api("POST", "/events", json.loads(json.dumps([body])))
    return event_id
