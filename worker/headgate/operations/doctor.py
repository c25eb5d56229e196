"""`headgate doctor`: is everything in order, and if not, what to do."""

import asyncio
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx

from headgate.app import INGEST, App, open_app, publisher
from headgate.errors import HeadgateError
from headgate.home import Home, at_home
from headgate.kafka.lookup import open_lookup
from headgate.ledger.holding import CHANNEL
from headgate.operations import symptoms
from headgate.operations.finding import Answer, Finding, Verdict, checked
from headgate.operations.overview import Overview, look
from headgate.operations.swallowed import sentence, swallowed
from headgate.operations.watch import watched
from headgate.pipeline import Pipeline, load_pipelines
from headgate.settings import Settings

__all__ = ["Finding", "Verdict", "examine"]

PREFECT_VERSION = "3.8.8"  # what Headgate is made for
LITTLE_SPACE = 1024**3  # bytes
ONLINE = timedelta(seconds=90)  # the age of a worker's heartbeat, at most


def examine(settings: Settings) -> list[Finding]:
    """Check everything that Headgate rests on; a check that cannot be made is a finding, not an error."""
    findings = [checked("pipelines", lambda: _pipelines(settings))]
    loaded = findings[0].verdict is Verdict.OK
    pipelines = load_pipelines(settings.pipelines) if loaded else ()
    findings += _of_the_ledger(settings) if loaded else []
    findings.append(checked("Prefect server", lambda: _server(settings)))
    if findings[-1].verdict is not Verdict.FAILED:
        findings.append(checked("work pool", lambda: _pool(settings)))
        if loaded:
            findings.append(checked("runs queued", lambda: _queued(settings, pipelines)))
            findings.append(checked("deployments and automations", lambda: _drift(settings, pipelines)))
    if settings.kafka.bootstrap is not None or any(pipeline.topics for pipeline in pipelines):
        findings.append(checked("Kafka", lambda: _kafka(settings, pipelines)))
    findings += [checked(f"folder {place}", partial(_place, place)) for place in _folders(settings, pipelines)]
    return findings


def _of_the_ledger(settings: Settings) -> list[Finding]:
    """Run the checks that need the ledger; if it is unavailable, that is the finding."""
    try:
        return _ledger_checks(settings)
    except HeadgateError as error:
        return [Finding("database", Verdict.FAILED, str(error))]


def _ledger_checks(settings: Settings) -> list[Finding]:
    with open_app(settings) as app:
        reached = Finding("database", *_database(app))
        found = look(settings, app.database)
        checks: dict[str, Callable[[], Answer]] = {
            **{kind: partial(symptoms.process, kind, found) for kind in symptoms.needed(app)},
            "versions": lambda: symptoms.versions(app, found),
            "clocks": lambda: symptoms.clocks(app, found),
            "database sessions": lambda: _sessions(app),
            "homes": lambda: _homes(found),
            "rings": lambda: symptoms.rings(app),
            "waiting": lambda: symptoms.waiting(found),
            "topics halted": lambda: symptoms.halted(found),
            "set aside since yesterday": lambda: symptoms.set_aside(found),
            "sources": lambda: _sources(app),
            "alerts": lambda: _alerts(app),
        }
        if not any(pipeline.topics for pipeline in app.pipelines):
            del checks["topics halted"]
        files = [
            checked(f"files in {os.fsdecode(source.root)}", lambda answer=answer: answer)  # type: ignore[misc]
            for source, answer in symptoms.left_lying(app)
        ]
        return [reached, *(checked(name, ask) for name, ask in checks.items()), *files]


def _pipelines(settings: Settings) -> Answer:
    names = ", ".join(pipeline.name for pipeline in load_pipelines(settings.pipelines))
    return Verdict.OK, f"{settings.pipelines}: {names}"


def _database(app: App) -> Answer:
    app.database.migrate()
    return Verdict.OK, "it answers, and the ledger is up to date"


def _sessions(app: App) -> Answer:
    """Check that a connection keeps its session: a dead run is noticed by the lock of its session."""
    with app.database.listening(CHANNEL) as connection:
        if app.database.keeps_sessions(connection):
            return Verdict.OK, "a run that dies is noticed within seconds"
    return Verdict.WARNING, (
        "a pooler gives each transaction another session, so a dead run is noticed when its lease runs out, after "
        f"{app.settings.ledger.lease_seconds:g} s, and no run waits for the next arrival; use the pooler in session "
        "mode, or connect to PostgreSQL itself."
    )


def _homes(found: Overview) -> Answer:
    neglected = [f"{each.name}: {each.waiting} waiting, {each.trouble}" for each in found.homes if each.neglected]
    if neglected:
        return Verdict.WARNING, " ".join(neglected)
    return Verdict.OK, f"{len(found.homes)}: {', '.join(each.name for each in found.homes) or 'none yet'}"


def _sources(app: App) -> Answer:
    paused = app.sources.paused()
    known = sum(len(pipeline.sources) for pipeline in app.pipelines)
    if paused:
        told = "; ".join(f"{each.source} of {each.pipeline}, by {each.by}: {each.reason}" for each in paused.values())
        return Verdict.WARNING, f"paused: {told}; `headgate sources resume` takes them in again."
    return Verdict.OK, f"{known}, none is paused"


def _alerts(app: App) -> Answer:
    mine = {(each.key.pipeline, each.key.alert) for each in watched(app)}
    broken = [each for each in app.alerts.find() if each.broken_since and (each.pipeline, each.alert) in mine]
    failing = app.alerts.failing()
    told = [f"{each.pipeline or 'Headgate'} {each.alert}: {each.detail}" for each in broken]
    told += [f"not told: {each.subject!r}: {each.failure}" for each in failing]
    if gone := swallowed(app.settings):
        told.append(sentence(gone))
    if told:
        return Verdict.WARNING, " ".join(told)
    return Verdict.OK, f"{len(mine)} are watched, none is broken" if mine else "none is declared"


def _server(settings: Settings) -> Answer:
    with publisher(settings) as server:
        version = server.check()
    if version != PREFECT_VERSION:
        return Verdict.WARNING, f"it is {version}; Headgate is made for {PREFECT_VERSION}"
    return Verdict.OK, f"{settings.require_api()}, {version}"


def _pool(settings: Settings) -> Answer:
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
        return Verdict.FAILED, f"no worker is online in pool {pool!r}; run `headgate work`."
    return Verdict.OK, f"{len(online)} online in pool {pool!r}"


def _queued(settings: Settings, pipelines: tuple[Pipeline, ...]) -> Answer:
    home = Home(settings.places).name
    with publisher(settings) as server:
        counts = {
            pipeline.name: server.queued(f"{INGEST}/{at_home(pipeline.name, home)}", settings.worker.pool)
            for pipeline in pipelines
        }
    told = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    if told:
        return Verdict.WARNING, f"they wait for a worker: {told}; it is busy (HEADGATE_WORKER_LIMIT), or not running."
    return Verdict.OK, "none"


def _drift(settings: Settings, pipelines: tuple[Pipeline, ...]) -> Answer:
    os.environ["PREFECT_API_URL"] = settings.require_api()
    from headgate.reconcile.apply import apply  # noqa: PLC0415 - imports Prefect, which looks for its server then
    from headgate.reconcile.declared import Declared, load_rules  # noqa: PLC0415 - the same

    declared = Declared.of(settings, pipelines, load_rules(settings), [Home(settings.places).name])
    outcome = asyncio.run(apply(settings, declared, dry_run=True))
    if outcome.pending:
        drift = ", ".join(f"{change.kind} {change.name}" for change in outcome.pending)
        return Verdict.FAILED, f"not as the code says: {drift}; run `headgate apply`."
    return Verdict.OK, f"{len(outcome.changes)} as the code says"


def _kafka(settings: Settings, pipelines: tuple[Pipeline, ...]) -> Answer:
    wanted = {topic.topic for pipeline in pipelines for topic in pipeline.topics}
    wanted |= {topic.dead_letters for pipeline in pipelines for topic in pipeline.topics if topic.dead_letters}
    if settings.kafka.bootstrap is None:
        return Verdict.FAILED, (
            f"topic {', '.join(sorted(wanted))} is not taken in: no broker is known; set HEADGATE_KAFKA_BOOTSTRAP to "
            "host:port, or start `headgate up --kafka`."
        )
    with open_lookup(settings.kafka) as lookup:
        there = lookup.names()
    absent = sorted(wanted - set(there))
    if absent:
        known = f"there are: {', '.join(there)}" if there else "there is none yet"
        return (
            Verdict.WARNING,
            f"topic {', '.join(absent)} does not exist; {known}. Create it, or correct the pipeline.",
        )
    return Verdict.OK, f"{settings.kafka.bootstrap} answers; {len(wanted)} of its {len(there)} topics are taken in"


def _folders(settings: Settings, pipelines: tuple[Pipeline, ...]) -> list[Path]:
    watched = [settings.inbox / source.path for pipeline in pipelines for source in pipeline.folders]
    return [settings.home, *watched]


def _place(place: Path) -> Answer:
    if not place.is_dir():
        return Verdict.WARNING, "it does not exist yet; `headgate listen` makes it."
    if not os.access(place, os.W_OK | os.X_OK):
        return Verdict.FAILED, f"we may not write there; give user {os.getuid()} the right to."
    free = shutil.disk_usage(place).free
    if free < LITTLE_SPACE:
        return Verdict.WARNING, f"only {free / 1024**2:.0f} MB are free; make room."
    return Verdict.OK, f"{free / 1024**3:.0f} GB free"


def _auth(settings: Settings) -> httpx.BasicAuth | None:
    if settings.api_auth is None:
        return None
    user, _, password = settings.api_auth.get_secret_value().partition(":")
    return httpx.BasicAuth(user, password)
