"""Enrichment of records: look-ups in references, and the functions of a pipeline."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import polars as pl
import structlog
from polars.exceptions import PanicException

from headgate.errors import BadPipeline, HeadgateError, Permanent
from headgate.model import Fault, Reason
from headgate.pipeline import Enricher, Lookup
from headgate.records.batch import ARRIVAL, ROW, Refusal, cut

NULLS = ("", "NA")  # cells of a reference file that mean "no value"

log = structlog.get_logger()


class Enriched(NamedTuple):
    """The result of enriching a frame."""

    frame: pl.DataFrame  # the given columns and the added ones; rows in the order they came
    refused: tuple[Refusal, ...]


def load_reference(path: Path) -> pl.DataFrame:
    """Load a reference from a CSV or Parquet file; empty cells and NA are null, and types follow from the cells.

    An unchanged file is not read again, because a process works for many runs.

    Raises:
        BadPipeline: the file does not exist or cannot be read.

    """
    try:
        found = path.stat()
        return _load(path, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BadPipeline(f"The reference {path} cannot be read ({error}); check the path and the file.") from error


@lru_cache(maxsize=16)
def _load(path: Path, *_version: int) -> pl.DataFrame:
    if path.suffix == ".parquet":
        return pl.read_parquet(path)
    return pl.read_csv(path, null_values=list(NULLS), infer_schema_length=None, try_parse_dates=True)


def enrich(
    frame: pl.DataFrame,
    steps: Sequence[Lookup | Enricher],
    references: Mapping[str | Path, pl.DataFrame],
) -> Enriched:
    """Apply the steps of a pipeline in order; a record that one step refuses is not passed to the next.

    Args:
        frame: typed records with `_arrival_id` and `_row`.
        steps: look-ups and functions.
        references: the frames that look-ups use, by their `reference`.

    Raises:
        Permanent: a step breaks its contract for every record; the text names the step.

    """
    refused: list[Refusal] = []
    for step in steps:
        if isinstance(step, Lookup):
            frame, more = _look_up(frame, step, references[step.reference])
        else:
            frame, more = _apply(frame, step)
        refused += more
    return Enriched(frame, tuple(refused))


def check_reference(step: Lookup, reference: pl.DataFrame) -> None:
    """Make sure that a look-up works with a reference: the columns exist, and the key is unique.

    Raises:
        Permanent: it does not work.

    """
    _require_columns(step, reference)
    _require_unique(step, reference[step.key].drop_nulls())


def _require_columns(step: Lookup, reference: pl.DataFrame) -> None:
    absent = [name for name in (step.key, *step.add.values()) if name not in reference.columns]
    if absent:
        raise Permanent(f"lookup({step.name!r}): the reference has no columns {absent}; it has {reference.columns}.")


def _require_unique(step: Lookup, keys: pl.Series) -> None:
    twice = keys.filter(keys.is_duplicated())
    if not twice.is_empty():
        raise Permanent(
            f"lookup({step.name!r}): the key {step.key} = {cut(twice[0])!r} is there more than once; make it unique."
        )


def _look_up(frame: pl.DataFrame, step: Lookup, reference: pl.DataFrame) -> Enriched:
    say = f"lookup({step.name!r})"
    _require_columns(step, reference)
    if step.on not in frame.columns:
        raise Permanent(f"{say}: the records have no column {step.on!r}; they have {frame.columns}.")
    taken = [name for name in step.add if name in frame.columns]
    if taken:
        raise Permanent(f"{say}: the records already have {taken}; write other names in add.")
    known = reference.select(
        reference[step.key].cast(frame.schema[step.on], strict=False).alias(step.on),
        *(pl.col(source).alias(name) for name, source in step.add.items()),
        pl.lit(value=True).alias("_found"),
    ).drop_nulls(step.on)
    _require_unique(step, known[step.on])
    joined = frame.join(known, on=step.on, how="left", maintain_order="left")
    if not step.required:
        return Enriched(joined.drop("_found"), ())
    missed = joined.filter(pl.col("_found").is_null())
    refused = tuple(
        Refusal(arrival_id, row, Reason.LOOKUP, (Fault(f"lookup {step.name}", step.on, _shown(value)),))
        for arrival_id, row, value in missed.select(ARRIVAL, ROW, step.on).iter_rows()
    )
    return Enriched(joined.filter("_found").drop("_found"), refused)


def _apply(frame: pl.DataFrame, step: Enricher) -> Enriched:
    """Apply a function; if it raises, halve the frame until only the records it fails on are left out."""
    try:
        return Enriched(_checked(frame, step), ())
    except HeadgateError:
        raise
    except (Exception, PanicException) as error:  # noqa: BLE001  the function is the user's: it may raise anything
        if frame.height <= 1:
            return _given_up(frame, step, error)
    half = frame.height // 2
    parts = [_apply(part, step) for part in (frame[:half], frame[half:])]
    frames = [part.frame for part in parts if part.frame.height] or [parts[0].frame]
    try:
        whole = pl.concat(frames, how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise Permanent(
            f"The enricher {_name(step)} gives other columns or types for some records ({cut(error)}); "
            "name the types of the columns it adds."
        ) from error
    return Enriched(whole, parts[0].refused + parts[1].refused)


def _given_up(frame: pl.DataFrame, step: Enricher, error: Exception) -> Enriched:
    name = _name(step)
    if frame.is_empty():
        raise Permanent(f"The enricher {name} fails on a frame without rows ({cut(error)}); make it work.") from error
    arrival_id, row = frame.select(ARRIVAL, ROW).row(0)
    log.warning("An enricher failed on a record.", enricher=name, arrival_id=arrival_id, row=row)
    fault = Fault(f"enricher {name}", None, cut(f"{type(error).__name__}: {error}"))
    return Enriched(_checked(frame.clear(), step), (Refusal(arrival_id, row, Reason.ENRICHER, (fault,)),))


def _checked(frame: pl.DataFrame, step: Enricher) -> pl.DataFrame:
    name = _name(step)
    richer = step(frame)
    if not isinstance(richer, pl.DataFrame):
        raise Permanent(f"The enricher {name} gave {type(richer).__name__}; it has to return a polars DataFrame.")
    if richer.height != frame.height:
        raise Permanent(
            f"The enricher {name} made {richer.height} rows of {frame.height}; it may only add columns. "
            "Leave records out with a rule of the schema."
        )
    lost = [column for column in frame.columns if column not in richer.columns]
    if lost:
        raise Permanent(f"The enricher {name} dropped the columns {lost}; it may only add some.")
    origin = [ARRIVAL, ROW]
    if not richer.select(origin).equals(frame.select(origin)):
        raise Permanent(f"The enricher {name} changed the order of rows, or {origin}; it has to keep both.")
    return richer


def _name(step: Enricher) -> str:
    return getattr(step, "__name__", type(step).__name__)


def _shown(value: object) -> str | None:
    return None if value is None else cut(value)
