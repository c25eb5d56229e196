"""`headgate doctor`: is everything in order, and if not, what to do."""

import asyncio
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path

import httpx

from worker.app import App, load_apply, open_app, publisher
from worker.errors import HeadgateError
from worker.kafka.lookup import open_lookup
from worker.ledger.summary import summaries
from worker.pipeline import Pipeline, load_pipelines
from worker.settings import Settings

PREFECT_VERSION = "3.8.8"  # what Headgate is made for
LITTLE_SPACE = 1024**3  # bytes
OLD = 300.0  # seconds that nobody may take to begin on an arrival
ONLINE = timedelta(seconds=90)  # a worker's heartbeat is not older


class Verdict(StrEnum):
    """What a check found."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's answer."""

    check: str
    verdict: Verdict
    detail: str  # what was found, and what to do if it is not in order


def examine(settings: Settings) -> list[Finding]:
    """Check everything that Headgate rests on; a check that cannot be made is a finding, not an error."""
    findings = [_checked("pipelines", lambda: _pipelines(settings))]
    loaded = findings[0].verdict is Verdict.OK
    pipelines = load_pipelines(settings.pipelines) if loaded else ()
    if loaded:
        findings.append(_checked("database", lambda: _database(settings)))
    findings.append(_checked("Prefect server", lambda: _server(settings)))
    if findings[-1].verdict is not Verdict.FAILED:
        findings.append(_checked("worker", lambda: _worker(settings)))
        if loaded:
            findings.append(_checked("deployments and automations", lambda: _drift(settings, pipelines)))
    if settings.kafka.bootstrap is not None:
        findings.append(_checked("Kafka", lambda: _kafka(settings, pipelines)))
    findings += [_checked(f"folder {place}", partial(_place, place)) for place in _folders(settings, pipelines)]
    return findings


Answer = tuple[Verdict, str]


def _checked(check: str, ask: Callable[[], Answer]) -> Finding:
    try:
        return Finding(check, *ask())
    except (HeadgateError, httpx.HTTPError, OSError) as error:
        return Finding(check, Verdict.FAILED, str(error))


def _pipelines(settings: Settings) -> Answer:
    names = ", ".join(pipeline.name for pipeline in load_pipelines(settings.pipelines))
    return Verdict.OK, f"{settings.pipelines}: {names}"


def _database(settings: Settings) -> Answer:
    with open_app(settings) as app:
        app.database.migrate()
        return _waiting(app)


def _waiting(app: App) -> Answer:
    late = [each for each in summaries(app.database) if (each.oldest_seconds or 0) > OLD]
    if late:
        told = ", ".join(
            f"{each.pipeline}: {each.under_way} under way, the oldest for {each.oldest_seconds:.0f} s" for each in late
        )
        return Verdict.WARNING, f"{told}; see `headgate arrivals list --state retry` and the worker."
    return Verdict.OK, "it answers, the ledger is up to date, nothing waits for long"


def _server(settings: Settings) -> Answer:
    with publisher(settings) as server:
        server.check()
    version = _get(settings, "/admin/version").json()
    if version != PREFECT_VERSION:
        return Verdict.WARNING, f"it is {version}; Headgate is made for {PREFECT_VERSION}"
    return Verdict.OK, f"{settings.require_api()}, {version}"


def _worker(settings: Settings) -> Answer:
    pool = settings.worker.pool
    response = httpx.post(
        f"{settings.require_api()}/work_pools/{pool}/workers/filter", json={}, timeout=10, auth=_auth(settings)
    )
    if response.status_code == httpx.codes.NOT_FOUND:
        return Verdict.FAILED, f"there is no work pool {pool!r}; run `headgate apply`."
    response.raise_for_status()
    beats = [
        datetime.fromisoformat(worker["last_heartbeat_time"])
        for worker in response.json()
        if worker["last_heartbeat_time"]
    ]
    online = [beat for beat in beats if datetime.now(UTC) - beat < ONLINE]
    if not online:
        return Verdict.FAILED, f"none is online in pool {pool!r}; run `headgate work`."
    return Verdict.OK, f"{len(online)} online in pool {pool!r}"


def _drift(settings: Settings, pipelines: tuple[Pipeline, ...]) -> Answer:
    os.environ["PREFECT_API_URL"] = settings.require_api()
    changes = asyncio.run(load_apply(settings)(settings, pipelines, dry_run=True))
    drift = [f"{change.kind} {change.name}" for change in changes if change.action != "unchanged"]
    if drift:
        return Verdict.FAILED, f"not as the code says: {', '.join(drift)}; run `headgate apply`."
    return Verdict.OK, f"{len(changes)} as the code says"


def _kafka(settings: Settings, pipelines: tuple[Pipeline, ...]) -> Answer:
    wanted = {topic.topic for pipeline in pipelines for topic in pipeline.topics}
    wanted |= {topic.dead_letters for pipeline in pipelines for topic in pipeline.topics if topic.dead_letters}
    with open_lookup(settings.kafka) as lookup:
        there = lookup.names()
    missing = sorted(wanted - set(there))
    if missing:
        known = f"there are: {', '.join(there)}" if there else "there is none yet"
        return Verdict.WARNING, f"topic {', '.join(missing)} is not there; {known}. Make it, or correct the pipeline."
    return Verdict.OK, f"{settings.kafka.bootstrap} answers; {len(wanted)} of its {len(there)} topics are taken in"


def _folders(settings: Settings, pipelines: tuple[Pipeline, ...]) -> list[Path]:
    watched = [settings.inbox / source.path for pipeline in pipelines for source in pipeline.folders]
    return [settings.home, *watched]


def _place(place: Path) -> Answer:
    if not place.is_dir():
        return Verdict.WARNING, "it is not there yet; `headgate listen` makes it."
    if not os.access(place, os.W_OK | os.X_OK):
        return Verdict.FAILED, f"we may not write there; give user {os.getuid()} the right to."
    free = shutil.disk_usage(place).free
    if free < LITTLE_SPACE:
        return Verdict.WARNING, f"only {free / 1024**2:.0f} MB are free; make room."
    return Verdict.OK, f"{free / 1024**3:.0f} GB free"


def _get(settings: Settings, path: str) -> httpx.Response:
    response = httpx.get(f"{settings.require_api()}{path}", timeout=10, auth=_auth(settings))
    response.raise_for_status()
    return response


def _auth(settings: Settings) -> httpx.BasicAuth | None:
    if settings.api_auth is None:
        return None
    user, _, password = settings.api_auth.get_secret_value().partition(":")
    return httpx.BasicAuth(user, password)
