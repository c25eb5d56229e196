"""The watch: read what alerts watch, decide and record what changed, and note the notices that are owed."""

from collections.abc import Iterator, Mapping
from datetime import UTC

from headgate.app import App
from headgate.home import Home
from headgate.ledger.alerts import source_silent
from headgate.ledger.database import Connection
from headgate.ledger.summary import now
from headgate.model import Fact
from headgate.operations.alert_readings import Look, Watched, workers_online
from headgate.operations.alert_states import Key, Transition, decide
from headgate.pipeline import Pipeline, load_alerts
from headgate.pipeline.alerts import (
    Alert,
    DeadLetterShare,
    DiskAlmostFull,
    Halted,
    RunStuck,
    SourceSilent,
    Waiting,
    WorkerGone,
)

EVENTS: Mapping[type[Alert], tuple[Fact, Fact]] = {  # broken, healed
    SourceSilent: (Fact.SOURCE_SILENT, Fact.SOURCE_RECOVERED),
    DeadLetterShare: (Fact.TOO_MANY_DEAD_LETTERS, Fact.DEAD_LETTERS_RECOVERED),
    Waiting: (Fact.WAITING, Fact.WAITING_RECOVERED),
    Halted: (Fact.HALTED, Fact.HALTED_RECOVERED),
    RunStuck: (Fact.RUN_STUCK, Fact.RUN_RECOVERED),
    DiskAlmostFull: (Fact.DISK_ALMOST_FULL, Fact.DISK_RECOVERED),
    WorkerGone: (Fact.WORKER_GONE, Fact.WORKER_RECOVERED),
}
NAMES: Mapping[type[Alert], str] = {
    DeadLetterShare: "dead-letter-share",
    Waiting: "waiting",
    Halted: "halted",
    RunStuck: "run-stuck",
}


def watched(app: App) -> list[Watched]:
    """List what is watched: the alerts of each pipeline, which override those of the installation of the same kind.

    Raises:
        BadPipeline: the alerts of the installation cannot be loaded.

    """
    common = load_alerts(app.settings.alerts.declared)
    found: dict[Key, Watched] = {}
    for pipeline in app.pipelines:
        own = {type(alert) for alert in pipeline.alerts}
        alerts = (*pipeline.alerts, *(each for each in common if type(each) not in own))
        # The alert of one source overrides the one of all sources, in whatever order they are written.
        for alert in sorted(alerts, key=lambda each: getattr(each, "source", None) is None):
            for each in _of_pipeline(app, pipeline, alert):
                if each.key not in found or _is_stricter(alert, found[each.key].alert):
                    found[each.key] = each
    return list(found.values())


def _is_stricter(alert: Alert, other: Alert) -> bool:
    """Whether an alert breaks before another one of the installation; several pipelines may declare it."""
    return isinstance(alert, DiskAlmostFull) and isinstance(other, DiskAlmostFull) and alert.more < other.more


def look(app: App) -> list[Transition] | None:
    """Look once at all that is watched; record what changed, with its event and its notices, in one transaction.

    Returns:
        What changed; None if another process is looking now.

    Raises:
        LedgerUnavailable: the database does not answer.
        BadPipeline: the alerts of the installation cannot be loaded.

    """
    mine = {each.key: each for each in watched(app)}
    if not mine:
        return []
    workers = workers_online(app) if any(isinstance(each.alert, WorkerGone) for each in mine.values()) else None
    with app.database.transaction() as connection:
        if not app.alerts.alone(connection):
            return None
        known = {
            Key(record.pipeline, record.alert): record
            for record in app.alerts.states(connection, [(key.pipeline, key.alert) for key in mine])
        }
        looking = Look(app, connection, now(connection), workers)
        readings = {key: looking.read(each, known[key].watched_since) for key, each in mine.items()}
        changed = decide({key: record.broken_since for key, record in known.items()}, readings)
        for transition in changed:
            _record(app, connection, mine[transition.key], transition)
    return changed


def _of_pipeline(app: App, pipeline: Pipeline, alert: Alert) -> Iterator[Watched]:
    match alert:
        case SourceSilent():
            for source in pipeline.sources:
                if alert.source in {None, source.name}:
                    yield Watched(Key(pipeline.name, source_silent(source.name)), alert, pipeline, source.name)
        case DiskAlmostFull():
            yield Watched(Key("", f"disk-almost-full {Home(app.settings.places).name}"), alert, pipeline)
        case WorkerGone():
            yield Watched(Key("", "worker-gone"), alert, pipeline)
        case _:
            yield Watched(Key(pipeline.name, NAMES[type(alert)]), alert, pipeline)


def _record(app: App, connection: Connection, watched: Watched, transition: Transition) -> None:
    is_broken, key, alert = transition.became == "broken", watched.key, watched.alert
    facts: dict[str, object] = {"detail": transition.detail}
    if watched.source:
        facts["source"] = watched.source
    if transition.since is not None:
        facts["broken_since"] = transition.since.isoformat()
    app.alerts.turn(
        connection,
        key.pipeline,
        key.alert,
        detail=transition.detail if is_broken else None,
        event=EVENTS[type(alert)][0 if is_broken else 1],
        facts=facts,
    )
    subject, body = _told(transition)
    for block in app.settings.alerts.to if alert.blocks is None else alert.blocks:
        app.alerts.owe(connection, key.pipeline, key.alert, block, subject=subject, body=body)


def _told(transition: Transition) -> tuple[str, str]:
    """Subject and body of a notice."""
    subject = f"{transition.key.pipeline or 'Headgate'}: {transition.key.alert}"
    if transition.since is None:
        return subject, transition.detail
    since = f"{transition.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return f"{subject} is over", f"{transition.detail} It was broken since {since}."
