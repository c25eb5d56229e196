"""docs/events.md says what the code says."""

from pathlib import Path

import pytest
from headgate.events import catalog
from headgate.events.described import DESCRIBED
from headgate.events.described_alerts import DESCRIBED_ALERTS
from headgate.events.examples import examples
from headgate.events.page import page, rule
from headgate.model import Fact
from headgate.rules.refusals import refusals
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent

PAGE = Path(__file__).parents[2] / "docs/events.md"


def test_the_page_is_current() -> None:
    """Write it anew by `python -m headgate.events.page > docs/events.md`."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_event_is_described() -> None:
    assert DESCRIBED.keys() | DESCRIBED_ALERTS.keys() == set(Fact)
    assert examples().keys() == {
        *(f"headgate.{fact}" for fact in Fact),
        catalog.READY,
        catalog.AUTOMATION_DISABLED,
    }


@pytest.mark.parametrize("name", list(examples()))
def test_what_is_described_of_a_payload_is_what_the_event_has(name: str) -> None:
    described, event = examples()[name]
    assert event.event == name
    assert set(event.payload) - {"pipeline"} == described.payload.keys()


@pytest.mark.parametrize("name", list(examples()))
def test_the_rule_on_the_page_is_one_that_fires_on_the_example(name: str) -> None:
    _, event = examples()[name]
    assert refusals({"name": "rule", "trigger": rule(name, event), "actions": [{"type": "do-nothing"}]}) == []
    trigger = EventTrigger.model_validate(rule(name, event))
    assert trigger.expects(name)
    assert trigger.covers(ReceivedEvent.model_validate(event.body()))
