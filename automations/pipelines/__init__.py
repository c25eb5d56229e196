"""The pipelines that this installation carries."""

from automations.pipelines.flights import flights
from automations.pipelines.weather import weather

PIPELINES = (flights, weather)
