"""The pipelines of the benchmark of recovery: the repository's flights, and its weather messages."""

import dataclasses

from headgate import Table
from headgate.pipeline.topic import Topic

from automations.pipelines.flights import flights
from automations.pipelines.weather import weather

PIPELINES = (
    flights,
    dataclasses.replace(weather, name="messages", sources=(Topic("recovery"),), sink=Table("messages", mode="append")),
)
