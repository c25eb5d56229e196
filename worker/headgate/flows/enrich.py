"""Enrich: add the pipeline's columns to each record of a chunk."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from headgate.flows.workbench import Workbench
from headgate.model import Stage
from headgate.pipeline import Lookup
from headgate.records.chunk import Chunk
from headgate.records.enrichment import enrich, load_reference
from headgate.records.letters import letter_frame
from headgate.sinks.reference import read_reference


def load_references(bench: Workbench) -> Mapping[str | Path, pl.DataFrame]:
    """Read the references of the pipeline's look-ups."""
    found: dict[str | Path, pl.DataFrame] = {}
    for step in bench.pipeline.enrich:
        if not isinstance(step, Lookup):
            continue
        if isinstance(step.reference, Path):
            found[step.reference] = load_reference(step.reference)
        else:
            with bench.app.database.transaction() as connection:
                found[step.reference] = read_reference(connection, step.reference)
    return found


def enrich_chunk(bench: Workbench, chunk: Chunk) -> Chunk:
    """Add columns to a chunk; records that an enricher refuses become dead letters."""
    richer, refusals = enrich(chunk.read_rows(), bench.pipeline.enrich, bench.references)
    letters = letter_frame(bench.set_aside(refusals, Stage.ENRICH))
    chunk.write_rows(richer)
    chunk.add_letters(letters)
    bench.reach(Stage.ENRICH)
    bench.say("enriched", action="enrich", rows=richer.height, refused=letters.height)
    return chunk
