"""The digest: what became of everything that arrived since a time, as Markdown for a mail or a channel."""

from datetime import datetime

from headgate.app import App
from headgate.ledger.queries import QUERIES
from headgate.ledger.summary import Summary, summaries

COLUMNS = ("pipeline", "arrived", "done", "rejected", "waiting", "rows persisted", "dead letters")


def digest(app: App, since: datetime, pipeline: str | None = None) -> str:
    """Tell what became of everything that arrived since a time.

    Args:
        app: the ledger.
        since: with time zone.
        pipeline: only this one; None: all.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    found = {each.pipeline: each for each in summaries(app.database, since)}
    names = [each.name for each in app.pipelines if pipeline in {None, each.name}]
    lines = [
        f"What arrived since {since:%Y-%m-%d %H:%M %Z}:",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
    ]
    lines += [_row(name, found.get(name)) for name in names]
    reasons = [each for each in _reasons(app, since) if each["pipeline"] in names]
    if reasons:
        lines += ["", "Dead letters by reason:", ""]
        lines += [
            f"* {each['pipeline']}, {each['reason']}: {each['count']:,}, {each['open']:,} open" for each in reasons
        ]
    paused = [each for (name, _), each in app.sources.paused().items() if name in names]
    if paused:
        lines += ["", "Paused sources:", ""]
        lines += [f"* {each.source} of {each.pipeline}, by {each.by}: {each.reason}" for each in paused]
    return "\n".join(lines)


def _row(name: str, found: Summary | None) -> str:
    counts = (
        (0,) * 6
        if found is None
        else (found.arrived, found.done, found.rejected, found.under_way, found.rows_persisted, found.dead_letters)
    )
    return f"| {name} | {' | '.join(f'{count:,}' for count in counts)} |"


def _reasons(app: App, since: datetime) -> list[dict[str, object]]:
    with app.database.transaction() as connection:
        return list(connection.execute(QUERIES["reasons_since"], {"since": since}))
