"""The pipelines of the benchmark: the repository's weather messages, appended as they come, and one at a time."""

import dataclasses
import os

from headgate import Table
from headgate.pipeline.topic import Topic

from automations.pipelines.weather import weather


def _pipeline(name: str, topic: str, runs: int) -> object:
    table = Table(name.replace("-", "_"), mode="append")
    # With more than one run each takes a share: otherwise the first claim would have all that there is.
    most = 1000 if runs == 1 else 5
    return dataclasses.replace(
        weather, name=name, sources=(Topic(topic),), sink=table, parallelism=runs, max_arrivals=most
    )


# What is measured is told by whoever measures: <pipeline>:<topic>:<runs>, with commas between.
PIPELINES = tuple(
    _pipeline(name, topic, int(runs))
    for name, topic, runs in (each.split(":") for each in os.environ["BENCH_KAFKA"].split(","))
)
