"""Flights out of New York in 2013: CSV, looked up by airline and plane, one row for each flight."""

from pathlib import Path

import dataframely as dy
import polars as pl
from headgate import Csv, Folder, Pipeline, Table, lookup

REFERENCE = Path(__file__).parents[1] / "reference"


class Flight(dy.Schema):
    """A flight as the source publishes it. Times of day are local, written as HMM or HHMM; delays are in minutes."""

    year = dy.Int16(nullable=False, min=1990, max=2100)
    month = dy.Int8(nullable=False, min=1, max=12)
    day = dy.Int8(nullable=False, min=1, max=31)
    dep_time = dy.Int16(nullable=True, min=1, max=2400)
    sched_dep_time = dy.Int16(nullable=False, min=0, max=2400)
    dep_delay = dy.Int16(nullable=True)
    arr_time = dy.Int16(nullable=True, min=1, max=2400)
    sched_arr_time = dy.Int16(nullable=False, min=0, max=2400)
    arr_delay = dy.Int16(nullable=True)
    carrier = dy.String(primary_key=True, min_length=2, max_length=2)
    flight = dy.Int32(primary_key=True, min=1)
    tailnum = dy.String(nullable=True)
    origin = dy.String(nullable=False, regex=r"^[A-Z]{3}$")
    dest = dy.String(nullable=False, regex=r"^[A-Z]{3}$")
    air_time = dy.Int16(nullable=True, min=1)
    distance = dy.Int32(nullable=False, min=1)
    hour = dy.Int8(nullable=False, min=0, max=24)
    minute = dy.Int8(nullable=False, min=0, max=59)
    time_hour = dy.Datetime(primary_key=True, time_zone="UTC")

    @dy.rule()
    def dep_time_is_a_time_of_day(cls) -> pl.Expr:  # noqa: N805 - dataframely calls it with the class
        """The last two digits are minutes."""
        return cls.dep_time.col % 100 < 60  # noqa: PLR2004 - minutes of an hour

    @dy.rule()
    def arr_time_is_a_time_of_day(cls) -> pl.Expr:  # noqa: N805 - as above
        """The last two digits are minutes."""
        return cls.arr_time.col % 100 < 60  # noqa: PLR2004 - as above


def speed(frame: pl.DataFrame) -> pl.DataFrame:
    """Add the mean speed in the air, in miles an hour."""
    return frame.with_columns(mph=(pl.col("distance") / (pl.col("air_time") / 60)).round(1))


flights = Pipeline(
    name="flights",
    sources=(Folder("flights", patterns=("*.csv", "*.csv.gz")),),
    schema=Flight,
    formats=(Csv(nulls=("NA",)),),
    enrich=(
        lookup(REFERENCE / "airlines.csv", on="carrier", add={"airline": "name"}, required=True),
        lookup(REFERENCE / "planes.csv", on="tailnum", add={"manufacturer": "manufacturer", "seats": "seats"}),
        speed,
    ),
    sink=Table("flights", mode="upsert"),
)
