"""`headgate why FILE`: what keeps one file from being taken in, or what became of it."""

import os
from dataclasses import dataclass
from pathlib import Path

from headgate.app import App, open_app
from headgate.listeners.files.source import Source, sources_of
from headgate.listeners.files.untaken import refused
from headgate.model import ArrivalRecord, State
from headgate.operations.overview import look, missing
from headgate.settings import Settings
from headgate.words import count


@dataclass(frozen=True, slots=True)
class Explanation:
    """What became of a file, or keeps it from being taken in."""

    taken: bool  # it is on its way, done, or about to be taken in
    lines: list[str]


def explain(settings: Settings, file: Path) -> Explanation:
    """Say what keeps a file from being taken in, or what became of it.

    Raises:
        BadPipeline: the pipelines cannot be loaded.
        LedgerUnavailable: the database does not answer.

    """
    path = Path(os.path.abspath(file))  # noqa: PTH100 - a symbolic link is not followed: it is what lies there
    with open_app(settings) as app:
        app.database.migrate()
        here = [
            (source, inside)
            for source in sources_of(app.pipelines, settings.inbox)
            if (inside := _inside(source, path))
        ]
        if not here:
            known = ", ".join(
                f"{os.fsdecode(source.root)} ({source.pipeline})"
                for source in sources_of(app.pipelines, settings.inbox)
            )
            return Explanation(taken=False, lines=[f"{path} is in no watched folder. Watched: {known or 'none'}."])
        became = [line for source, inside in here for line in _became(app, source, inside)]
        if not os.path.lexists(path):
            taken = any(record.state is not State.REJECTED for record, _ in became)
            lines = [line for _, line in became] or [f"{path} does not exist, and nothing of this name has arrived."]
            return Explanation(taken=taken, lines=lines)
        return _lying(app, here, [line for _, line in became])


def _lying(app: App, here: list[tuple[Source, bytes]], became: list[str]) -> Explanation:
    """Explain a file that lies in a watched folder."""
    lines = []
    for source, inside in here:
        found = refused(source, inside)
        if found is None:
            return _wanted(app, source, became)
        lines.append(f"{source.pipeline} does not take it in: {found[1]}")
    return Explanation(taken=False, lines=lines + became)


def _wanted(app: App, source: Source, became: list[str]) -> Explanation:
    if source.folder.after == "leave" and became:
        return Explanation(
            taken=True, lines=[f"{source.pipeline} has taken it in, and leaves it where it is.", *became]
        )
    if paused := app.sources.paused().get((source.pipeline, source.name)):
        line = (
            f"{source.pipeline} would take it in, but its source {source.name} is paused, by {paused.by} "
            f"({paused.reason}); `headgate sources resume {source.pipeline} {source.name}` takes it in again."
        )
        return Explanation(taken=False, lines=[line, *became])
    found = look(app.settings, app.database)
    if not found.alive("listener"):
        return Explanation(
            taken=False, lines=[f"{source.pipeline} would take it in. {missing('listener', found.processes)}"]
        )
    troubles = [each.trouble for each in found.alive("listener") if each.trouble]
    if troubles:
        return Explanation(
            taken=False, lines=[f"{source.pipeline} would take it in, but the listener cannot: {troubles[0]}"]
        )
    within = app.settings.listener.scan_seconds
    return Explanation(
        taken=True,
        lines=[f"Nothing keeps it: {source.pipeline} takes it in within {within:g} s, its next scan.", *became],
    )


def _became(app: App, source: Source, inside: bytes) -> list[tuple[ArrivalRecord, str]]:
    """Say what became of the newest arrival of this path."""
    name = os.fsdecode(inside).encode(errors="backslashreplace").decode()
    like = "".join(f"\\{each}" if each in "%_\\" else each for each in name)
    return [(each, _told(app, each)) for each in app.arrivals.find(pipeline=source.pipeline, name=like, limit=1)]


def _told(app: App, record: ArrivalRecord) -> str:
    at = f"{record.arrived_at.astimezone():%Y-%m-%d %H:%M:%S}"
    begin = f"It arrived at {at} as arrival {record.arrival_id} of {record.pipeline}"
    more = f"`headgate arrivals show {record.arrival_id}` shows its way."
    match record.state:
        case State.DONE:
            dead = count(record.rows_dead or 0, "dead letter")
            return f"{begin}: done, {count(record.rows_persisted or 0, 'row')}, {dead}. {more}"
        case State.REJECTED:
            return f"{begin}: rejected ({record.reason}): {_sentence(record.detail)} {more}"
        case State.DUPLICATE:
            return f"{begin}: a duplicate; {_sentence(record.detail)} {more}"
        case State.HELD:
            return f"{begin}: held; `headgate arrivals release {record.arrival_id}` lets it go on."
        case _:
            hold = app.holds.find().get(record.pipeline)
            cause = f"the pipeline is held: {hold.cause}" if hold else (record.detail or "a run is to take it")
            return f"{begin}: {record.state.value}; {_sentence(cause)} {more}"


def _sentence(text: str | None) -> str:
    """End a text as a sentence."""
    return text if text and text.endswith((".", ";", "`")) else f"{text or 'nothing is known of the cause'}."


def _inside(source: Source, path: Path) -> bytes | None:
    """The path relative to the watched folder; None if it is not below it."""
    root = Path(os.fsdecode(source.root))
    return os.fsencode(path.relative_to(root)) if path.is_relative_to(root) and path != root else None
