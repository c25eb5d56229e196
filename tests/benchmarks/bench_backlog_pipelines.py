"""A quiet pipeline, and twenty with too much to do."""

from bench_pipelines import PIPELINES as QUIET
from headgate.pipeline import Folder, Pipeline, Table

FULL = tuple(
    Pipeline(
        name=f"full-{number:02}",
        sources=(Folder(f"full-{number:02}"),),
        schema=QUIET[0].schema,
        sink=Table(f"full_{number:02}"),
    )
    for number in range(20)
)
PIPELINES = (*QUIET, *FULL)
