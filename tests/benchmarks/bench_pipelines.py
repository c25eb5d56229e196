"""The pipelines of the benchmark: the repository's flights, and the same for one big file, in a table of its own."""

import dataclasses

from automations.pipelines.flights import flights
from worker import Folder, Table

big = dataclasses.replace(
    flights, name="big", sources=(Folder("big", patterns=("*.csv",)),), sink=Table("big", mode="upsert")
)

PIPELINES = (flights, big)
