"""Read the references of a pipeline's look-ups again, and check that the look-ups work."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
from psycopg.types.json import Jsonb

from headgate.app import App
from headgate.errors import BadPipeline
from headgate.ledger.queries import QUERIES
from headgate.model import Fact
from headgate.pipeline import Lookup
from headgate.records.enrichment import check_reference, load_reference
from headgate.sinks.reference import read_reference


@dataclass(frozen=True, slots=True)
class Loaded:
    """One reference as it is now."""

    name: str
    rows: int


def reload_look_ups(app: App, pipeline: str) -> list[Loaded]:
    """Read the references of a pipeline now, check that its look-ups work with them, and emit an event.

    Runs do not need this: they reread a reference that has changed. The event is for rules that replay what found
    nothing before.

    Raises:
        BadPipeline: there is no such pipeline, or a reference cannot be read.
        Permanent: a look-up does not work with its reference: a column is missing, a key is there twice.
        LedgerUnavailable: the database does not answer.

    """
    found = []
    for step in app.pipeline(pipeline).enrich:
        if isinstance(step, Lookup):
            reference = _read(app, step.reference)
            check_reference(step, reference)
            found.append(Loaded(step.name, reference.height))
    if not found:
        raise BadPipeline(f"Pipeline {pipeline!r} declares no look-ups.")
    facts = {"references": [each.name for each in found], "rows": sum(each.rows for each in found)}
    with app.database.transaction() as connection:
        connection.execute(
            QUERIES["post"], {"kind": Fact.LOOK_UPS_RELOADED, "pipeline": pipeline, "facts": Jsonb(facts)}
        )
        connection.execute(QUERIES["notify"], {"pipeline": pipeline})
    return found


def _read(app: App, reference: str | Path) -> pl.DataFrame:
    if isinstance(reference, Path):
        return load_reference(reference)
    with app.database.transaction() as connection:
        return read_reference(connection, reference)
