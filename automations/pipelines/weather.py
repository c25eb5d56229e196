"""Hourly weather at New York's airports in 2013: JSON lines and messages, appended as they come."""

import dataframely as dy
from headgate import Folder, Json, Pipeline, Table, Topic


class Weather(dy.Schema):
    """One hour at one airport: degrees Fahrenheit, miles an hour, inches, millibars, miles."""

    origin = dy.String(nullable=False, regex=r"^[A-Z]{3}$")
    year = dy.Int16(nullable=False, min=1990, max=2100)
    month = dy.Int8(nullable=False, min=1, max=12)
    day = dy.Int8(nullable=False, min=1, max=31)
    hour = dy.Int8(nullable=False, min=0, max=23)
    temp = dy.Float64(nullable=True, min=-80, max=140)
    dewp = dy.Float64(nullable=True, min=-80, max=140)
    humid = dy.Float64(nullable=True, min=0, max=100)
    wind_dir = dy.Int16(nullable=True, min=0, max=360)
    wind_speed = dy.Float64(nullable=True, min=0, max=250)
    wind_gust = dy.Float64(nullable=True, min=0, max=300)
    precip = dy.Float64(nullable=True, min=0)
    pressure = dy.Float64(nullable=True, min=850, max=1100)
    visib = dy.Float64(nullable=True, min=0)
    time_hour = dy.Datetime(nullable=False, time_zone="UTC")


weather = Pipeline(
    name="weather",
    sources=(Folder("weather", patterns=("*.jsonl", "*.jsonl.gz")), Topic("weather")),
    schema=Weather,
    formats=(Json(nulls=("NA",)),),
    sink=Table("weather", mode="append"),
)
