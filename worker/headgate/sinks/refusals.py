"""Refusals of single records: by PostgreSQL, or by us where PostgreSQL would change a value."""

import polars as pl
import psycopg

from headgate.model import Fault, Reason
from headgate.records.batch import ARRIVAL, ROW, Refusal, cut
from headgate.sinks.columns import shown, unstorable
from headgate.sinks.one_by_one import Refused
from headgate.sinks.table import ORIGIN


def _message(error: psycopg.Error) -> str:
    return (error.diag.message_primary or str(error)).strip().partition("\n")[0]


def refused(frame: pl.DataFrame, error: psycopg.Error) -> Refused:
    """Return what PostgreSQL said of the only record of a frame."""
    said = error.diag
    arrival_id, row = frame.select(ORIGIN).row(0)
    message, rule, about = _message(error), said.constraint_name or "", said.column_name or ""
    return Refused(arrival_id, row, error.sqlstate or "", rule, about, message)


def refusal(frame: pl.DataFrame, said: Refused) -> Refusal:
    """Return a refusal in our words, with the value if PostgreSQL named the column."""
    column, value = said.about or None, None
    if column in frame.columns:
        here = (pl.col(ARRIVAL) == said.arrival_id) & (pl.col(ROW) == said.row)
        value = str(frame.filter(here)[column][0])[:200]
    rule = said.rule or f"sqlstate {said.sqlstate}"
    message = said.message.strip().partition("\n")[0]
    return Refusal(said.arrival_id, said.row, Reason.SINK, (Fault(f"{rule}: {message}", column, value),))


def changed(frame: pl.DataFrame) -> dict[tuple[int, int], Refusal]:
    """Return refusals, by origin, for the records with a value that the database would change."""
    refusals: dict[tuple[int, int], Refusal] = {}
    for name in frame.columns:
        cells = unstorable(frame[name])
        if cells is None:
            continue
        these = frame.filter(cells).select(*ORIGIN, shown(frame[name]).alias("value"))
        for arrival_id, row, value in these.iter_rows():
            fault = Fault("PostgreSQL cannot hold this value as it is", name, cut(value))
            refusals.setdefault((arrival_id, row), Refusal(arrival_id, row, Reason.SINK, (fault,)))
    return refusals
