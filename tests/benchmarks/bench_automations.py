"""`make bench-automations`: what changes lose, what rules cost, how long explaining and a test case take."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import bench_automations_apply
import dataframely as dy
import httpx
from bench import Bench, measured
from harness import wait_until
from headgate.pipeline import Folder, Pipeline, Table
from headgate.rules.engine import Engine
from headgate.rules.explain import explain
from headgate.rules.facts import asked_for, gather
from headgate.rules.server import Server
from headgate.testing import Gate

RULES = 200
EVENTS = 60
TIMES = 5
CASES = 100
ASKED = "headgate.rows.dead-lettered"


def explained(bench: Bench) -> dict[str, float]:
    """Explain one of 60 events beside 200 rules: the whole command, what it takes after its import, and the import."""
    with httpx.Client(base_url=bench.api_url, timeout=60) as client:
        for number in range(RULES):
            client.post("/automations/", json=_rule(number)).raise_for_status()
        time.sleep(2)  # let the server take the last ones in
        sent = [_event() for _ in range(EVENTS)]
        client.post("/events", json=sent).raise_for_status()
        asked = {"filter": {"event": {"name": [ASKED]}}, "limit": 1}
        wait_until(lambda: client.post("/events/filter", json=asked).json()["total"] >= EVENTS, within=60, every=0.5)
        time.sleep(6)  # what fired is shown as late
    last = sent[-1]["id"]
    env = {**os.environ, "PREFECT_API_URL": bench.api_url, "HEADGATE_HOME": str(bench.home)}
    command = [sys.executable, "-m", "headgate", "automations", "explain", last, "--json"]
    imported = [sys.executable, "-c", "import prefect.server.events.triggers"]
    return {
        "explain_s": _median(lambda: subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=True)),
        "explain_after_import_s": _median(lambda: _explain(bench.api_url, last)),
        "explain_import_floor_s": _median(lambda: subprocess.run(imported, env=env, check=True)),
    }


def _explain(api: str, event_id: str) -> None:
    with Server(api) as server:
        (found,) = explain(gather(server, asked_for(server, lambda _: [server.event(event_id)])), server)
    assert len(found.findings) >= RULES


def cases(_: Bench) -> dict[str, float]:
    """Run test cases as the fixture `gate` does: a file with a bad row, and a rule that fires on it."""
    rule = {
        "name": "again",
        "trigger": {"expect": [ASKED], "match": {"headgate.pipeline": "orders"}},
        "actions": [{"type": "run-deployment", "deployment": "a/b", "parameters": {"n": "{{ event.payload.count }}"}}],
    }
    sources = (Folder("orders"),)
    orders = Pipeline(name="orders", sources=sources, schema=Order, sink=Table("orders", mode="append"))
    with Engine() as engine, tempfile.TemporaryDirectory() as folder:

        def case(number: int) -> None:
            gate = Gate(engine, Path(folder) / str(number))
            gate.rules(rule)
            outcome = gate.drop(orders, "day.csv", b"id,customer\n1,ann\nx,bob\n")
            assert (len(outcome.rows), outcome.fired_by("again").parameters) == (1, {"n": 1})

        case(0)  # the first builds models
        taken = []
        for number in range(1, CASES + 1):
            began = time.perf_counter()
            case(number)
            taken.append((time.perf_counter() - began) * 1000)
    return {"test_case_ms": statistics.median(taken), "test_case_p95_ms": sorted(taken)[int(CASES * 0.95) - 1]}


class Order(dy.Schema):
    """Two columns, one of them a number."""

    id = dy.Int64(primary_key=True)
    customer = dy.String(nullable=False)


def _rule(number: int) -> dict[str, Any]:
    """What people write: most wait for other events, some count, some differ by a label, some fire."""
    kinds: list[Mapping[str, Any]] = [
        {"expect": ["prefect.flow-run.Failed"], "match": {"prefect.resource.id": "prefect.flow-run.*"}},
        {"expect": ["headgate.arrivals.persisted"], "match": {"headgate.pipeline": f"other-{number}"}},
        {"expect": [ASKED], "match": {"headgate.pipeline": f"other-{number}"}},
        {"expect": ["headgate.*"], "match_related": {"headgate.pipeline": f"other-{number}"}},
        {"expect": [ASKED], "threshold": 100, "within": 600},
    ]
    kind = kinds[number % len(kinds)] if number else {"expect": [ASKED]}
    trigger = {"type": "event", "posture": "Reactive", "threshold": 1, "within": 0, **kind}
    return {"name": f"bench explain {number}", "trigger": trigger, "actions": [{"type": "do-nothing"}]}


def _event() -> dict[str, Any]:
    return {
        "id": str(uuid4()),
        "event": ASKED,
        "occurred": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "resource": {"prefect.resource.id": "headgate.pipeline.flights", "headgate.pipeline": "flights"},
        "related": [],
        "payload": {"pipeline": "flights", "reason": "schema", "count": 3},
    }


def _median(work: Any) -> float:
    taken = []
    for _ in range(TIMES):
        began = time.monotonic()
        work()
        taken.append(time.monotonic() - began)
    return statistics.median(taken)


def main() -> None:
    """Measure what a change loses, plans, drops beside foreign rules, explaining and testing."""
    measured("Automations", lambda _: (*bench_automations_apply.measures(), explained, cases))


if __name__ == "__main__":
    main()
