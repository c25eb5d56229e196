"""The pipelines of steady streams: the repository's flights, and its weather messages with a topic for each rate."""

import dataclasses
import os

from bench_streams import name_of
from headgate import Table
from headgate.pipeline.topic import Topic

from automations.pipelines.flights import flights
from automations.pipelines.weather import weather

PIPELINES = (
    flights,
    *(
        dataclasses.replace(
            weather,
            name=name_of(int(rate)),
            sources=(Topic(name_of(int(rate))),),
            sink=Table(name_of(int(rate)), mode="append"),
        )
        for rate in os.environ.get("BENCH_RATES", "").split(",")
        if rate
    ),
)
