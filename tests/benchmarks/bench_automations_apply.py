"""Of `make bench-automations`: what a change loses, beside a stock server; a plan; what foreign rules cost a drop."""

import asyncio
import itertools
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import psycopg
from bench import Bench
from harness import wait_until
from headgate.embedded.postgres import ADMIN, OWNER
from headgate.reconcile.apply import apply
from headgate.reconcile.declared import Declared
from headgate.settings import Settings
from prefect.automations import Automation
from prefect.events import EventTrigger
from prefect.events.actions import DoNothing
from pydantic import SecretStr
from rules import client_of

EVENTS = 300
PER_SECOND = 50
RULES = 200
ROUNDS, DROPS = 4, 8  # with foreign rules and without, in turn


def changes(bench: Bench, api_url: str, database_url: str, *, prefix: str) -> dict[str, float]:
    """300 events at 50 a second, all applied each second: what did not fire, or fired twice.

    Args:
        bench: whose ledger agrees on who applies.
        api_url: of the Prefect server.
        database_url: of that server's own database.
        prefix: of the figures.

    """
    settings = Settings(PREFECT_API_URL=api_url, database_url=SecretStr(bench.database_url))
    with client_of(settings):
        return asyncio.run(_changes(settings, database_url, prefix))


async def _changes(settings: Settings, database_url: str, prefix: str) -> dict[str, float]:
    run = f"bench.{uuid4().hex[:8]}"

    def rule(name: str, description: str, **more: object) -> Automation:
        trigger = EventTrigger(expect={f"{run}.came"}, match={"prefect.resource.id": "bench"}, **more)
        return Automation(name=f"{run} {name}", description=description, trigger=trigger, actions=[DoNothing()])

    async def applied(version: int) -> None:
        window = rule("window", str(version), threshold=EVENTS, within=timedelta(hours=1))
        rules = (rule("changed", str(version)), window, rule("neighbour", "always the same"))
        declared = Declared(things=(), blocks={}, deployments=(), automations=rules, homes=())
        await apply(settings, declared)

    await applied(0)
    await asyncio.sleep(3)  # the server has loaded them
    over = asyncio.Event()
    taken = []

    async def change() -> None:
        for version in itertools.count(1):
            began = time.monotonic()
            await applied(version)
            taken.append(time.monotonic() - began)
            try:
                await asyncio.wait_for(over.wait(), max(0, 1 - taken[-1]))
            except TimeoutError:
                continue
            return

    changing = asyncio.create_task(change())
    sent = await _send(settings, f"{run}.came")
    over.set()
    await changing
    fired = await asyncio.to_thread(_fired, database_url, run)
    counts = {
        name: Counter(event for rule, event in fired if rule == f"{run} {name}") for name in ("changed", "neighbour")
    }
    window = sum(rule == f"{run} window" for rule, _ in fired)
    return {
        f"{prefix}lost": sum(not counts["changed"][event] for event in sent),
        f"{prefix}doubled": sum(counts["changed"][event] > 1 for event in sent),
        f"{prefix}neighbour_lost": sum(not counts["neighbour"][event] for event in sent),
        f"{prefix}neighbour_doubled": sum(counts["neighbour"][event] > 1 for event in sent),
        f"{prefix}window_kept": float(window == 1),
        f"{prefix}changes": len(taken),
        f"{prefix}change_p50_s": statistics.median(taken),
    }


async def _send(settings: Settings, name: str) -> list[str]:
    """Emit events at an even rate; their ids."""
    sent = []
    async with httpx.AsyncClient(base_url=str(settings.api_url), timeout=60) as client, asyncio.TaskGroup() as tasks:
        began = time.monotonic()
        for number in range(EVENTS):
            await asyncio.sleep(max(0, began + number / PER_SECOND - time.monotonic()))
            event = {
                "id": str(uuid4()),
                "event": name,
                "occurred": datetime.now(UTC).isoformat(),
                "resource": {"prefect.resource.id": "bench"},
                "payload": {},
            }
            sent.append(str(event["id"]))
            tasks.create_task(client.post("/events", json=[event]))
    return sent


def _fired(database_url: str, run: str) -> list[tuple[str, str]]:
    """Which automation fired on which event, once nothing more comes for 15 seconds."""
    query = (
        "select resource->>'prefect.resource.name', payload->'triggering_event'->>'id' from events"
        " where event = 'prefect.automation.triggered' and resource->>'prefect.resource.name' like %s"
    )
    with psycopg.connect(database_url, autocommit=True) as connection:
        found: list[tuple[str, str]] = []
        quiet = time.monotonic()
        while time.monotonic() < quiet + 15:
            time.sleep(1)
            now = connection.execute(query, (f"{run} %",)).fetchall()
            if len(now) > len(found):
                found, quiet = now, time.monotonic()
    return found


@contextmanager
def stock_server(bench: Bench) -> Iterator[tuple[str, str]]:
    """A Prefect server as `prefect server start` makes it, on the same PostgreSQL; the URLs of its API and database."""
    name = f"stock_{uuid4().hex[:8]}"
    admin = bench.database_url.replace(f"://{OWNER}:", f"://{ADMIN}:").rpartition("/")[0] + "/postgres"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'create database "{name}" owner {OWNER}'.encode())
    database_url = f"{bench.database_url.rpartition('/')[0]}/{name}"
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    env = {key: value for key, value in os.environ.items() if not key.startswith(("HEADGATE_", "PREFECT_"))}
    env |= {
        "PREFECT_HOME": str(bench.folder / "stock"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url.replace("://", "+asyncpg://", 1),
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        env=env,
        cwd=bench.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    api_url = f"http://127.0.0.1:{port}/api"

    def ready() -> bool:
        try:
            return httpx.get(f"{api_url}/ready", timeout=2).is_success
        except httpx.TransportError:
            return False

    try:
        wait_until(ready, within=240, every=0.5)
        yield api_url, database_url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def ours(bench: Bench) -> dict[str, float]:
    """On the server of `headgate up`."""
    return changes(bench, bench.api_url, f"{bench.database_url.rpartition('/')[0]}/prefect", prefix="apply_")


def stock(bench: Bench) -> dict[str, float]:
    """The same on a stock server."""
    with stock_server(bench) as (api_url, database_url):
        return changes(bench, api_url, database_url, prefix="stock_")


def plan(bench: Bench) -> dict[str, float]:
    """`headgate automations plan`, the whole command, with 200 rules in the code and on the server."""
    env = {**bench.env, "HEADGATE_RULES": "bench_rules:RULES"}

    def command(*words: str) -> float:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "headgate", "automations", *words],
            env=env,
            cwd=bench.folder,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            message = f"{words}: exit code {done.returncode}"
            raise AssertionError(message)
        return time.monotonic() - began

    first = command("apply")
    planned = [command("plan") for _ in range(5)]
    env["HEADGATE_RULES"] = "bench_no_rules:RULES"
    (bench.folder / "bench_no_rules.py").write_text("RULES = []\n", encoding="utf-8")
    command("apply", "--prune")
    return {"plan_s": statistics.median(planned), "plan_max_s": max(planned), "apply_200_s": first}


def foreign_rules(bench: Bench) -> dict[str, float]:
    """Drop -> rows committed, with 200 rules of people on the server and without, in turn."""
    taken: dict[bool, list[float]] = {False: [], True: []}
    with httpx.Client(base_url=bench.api_url, timeout=60) as client:
        for _ in range(ROUNDS):
            taken[False] += list(_drops(bench))
            made = [client.post("/automations/", json=_foreign(number)) for number in range(RULES)]
            time.sleep(5)  # the server has loaded them
            taken[True] += list(_drops(bench))
            for response in made:
                client.delete(f"/automations/{response.raise_for_status().json()['id']}").raise_for_status()
            time.sleep(5)
    without, with_ = (statistics.median(taken[many]) for many in (False, True))
    return {"drop_p50_s": without, "drop_200_rules_p50_s": with_, "drop_200_rules_ratio": with_ / without}


def _foreign(number: int) -> dict[str, object]:
    """What people write: on runs, on our events of other pipelines, on counts; it never fires here."""
    kinds: list[dict[str, object]] = [
        {"expect": ["prefect.flow-run.Failed"], "match": {"prefect.resource.id": "prefect.flow-run.*"}},
        {"expect": ["headgate.arrivals.persisted"], "match": {"headgate.pipeline": f"other-{number}"}},
        {"expect": ["headgate.*"], "match_related": {"headgate.pipeline": f"other-{number}"}},
        {"expect": ["headgate.rows.dead-lettered"], "threshold": 100, "within": 60},
    ]
    trigger = {"type": "event", "posture": "Reactive", "threshold": 1, "within": 0, **kinds[number % len(kinds)]}
    return {"name": f"bench foreign {number}", "trigger": trigger, "actions": [{"type": "do-nothing"}]}


def _drops(bench: Bench) -> Iterator[float]:
    for file in bench.write(DROPS, 100, f"rules-{uuid4().hex[:6]}"):
        before = bench.done("flights")
        began = bench.drop("flights", [file])
        bench.wait("flights", before + 1)
        yield time.monotonic() - began
        time.sleep(1)  # let the run leave: the next drop is to find everything idle


def measures() -> tuple[Callable[[Bench], dict[str, float]], ...]:
    """All of it, in turn, on one `headgate up`."""
    return (foreign_rules, ours, stock, plan)
