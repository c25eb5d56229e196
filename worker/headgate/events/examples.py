"""An example of every event, made by the code that makes the real events."""

from datetime import UTC, datetime
from uuid import UUID

from headgate.events.catalog import AUTOMATION_DISABLED, READY, Event, automation_disabled, news, ready
from headgate.events.described import DESCRIBED, DISABLED, DOORBELL, Described
from headgate.events.described_alerts import DESCRIBED_ALERTS

EXAMPLE_ID = UUID("0b7cd3a1-5d43-4b8e-9d0a-3f1f5f7f4c11")
EXAMPLE_TIME = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
EXAMPLE_PIPELINE = "flights"


def examples() -> dict[str, tuple[Described, Event]]:
    """Return the description and an example of every event, by name."""
    told = {}
    for fact, described in {**DESCRIBED, **DESCRIBED_ALERTS}.items():
        pipeline = "" if described.installation else EXAMPLE_PIPELINE
        told[f"headgate.{fact}"] = described, news(EXAMPLE_ID, fact, pipeline, described.example, EXAMPLE_TIME)
    bell = ready(EXAMPLE_ID, EXAMPLE_PIPELINE, 1)
    off = automation_disabled(EXAMPLE_ID, EXAMPLE_ID, "send bad rows again", since=EXAMPLE_TIME)
    return {**told, AUTOMATION_DISABLED: (DISABLED, off), READY: (DOORBELL, bell)}
