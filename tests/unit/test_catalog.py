"""Events are valid by construction, whatever stands in a file's name."""

import json
from datetime import UTC, datetime, timedelta, timezone
from uuid import uuid4

from headgate.events import catalog
from headgate.events.catalog import MAX_LABEL, label, news
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
# What the ledger hands over: jsonb holds neither NUL nor a lone surrogate.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=400)


def fits(text: str) -> bool:
    return text.isascii() and text.isprintable() and 0 < len(text) <= MAX_LABEL


@given(st.text(st.characters(codec=None), max_size=600) | st.integers() | st.none())
def test_a_label_of_anything_is_ascii_printable_and_bounded(value: object) -> None:
    assert fits(label(value))


def test_a_label_says_what_it_was_made_of() -> None:
    assert label("a b.csv") == "a b.csv"
    assert label("café\n\x00.csv") == "caf\\xe9\\x0a\\x00.csv"
    assert label("") == "-"


@given(TEXT, TEXT, TEXT)
def test_every_label_of_an_event_fits(name: str, source: str, reason: str) -> None:
    facts = {"arrival": 7, "name": name, "source": source, "reason": reason, "state": "ready", "size": 3}
    event = news(uuid4(), "file.arrived", "orders", facts, NOW)
    for resource in (event.resource, *event.related):
        assert all(fits(value) for value in resource.values())
        assert resource["prefect.resource.id"]
    assert json.loads(json.dumps(event.body()))["payload"]["name"] == name


def test_an_event_about_an_arrival_has_it_as_its_resource_and_its_pipeline_beside_it() -> None:
    facts = {"arrival": 7, "name": "a.CSV", "source": "in"}
    event = news(uuid4(), "file.arrived", "orders", facts, NOW)
    assert event.event == catalog.FILE_ARRIVED
    assert event.resource["prefect.resource.id"] == "headgate.arrival.7"
    assert event.resource["headgate.extension"] == "csv"
    assert [each["prefect.resource.id"] for each in event.related] == [catalog.pipeline_resource("orders")]


def test_an_event_about_messages_says_of_which_partition_and_has_no_extension() -> None:
    facts = {"arrival": 7, "name": "a.b[0] 3-5", "source": "kafka:a.b", "topic": "a.b", "partition": 0}
    event = news(uuid4(), "messages.arrived", "orders", facts, NOW)
    assert event.event == catalog.MESSAGES_ARRIVED
    assert (event.resource["headgate.topic"], event.resource["headgate.partition"]) == ("a.b", "0")
    assert "headgate.extension" not in event.resource


def test_a_halted_partition_is_told_of_its_pipeline() -> None:
    facts = {"source": "kafka:a", "topic": "a", "partition": 3, "reason": "retention", "next_offset": 5, "lost": 2}
    event = news(uuid4(), "partition.halted", "orders", facts, NOW)
    assert event.event == catalog.PARTITION_HALTED
    assert event.resource["prefect.resource.id"] == catalog.pipeline_resource("orders")
    assert (event.resource["headgate.partition"], event.resource["headgate.reason"]) == ("3", "retention")


def test_an_event_about_a_pipeline_has_that_as_its_resource() -> None:
    event = news(uuid4(), "rows.dead-lettered", "orders", {"reason": "schema", "count": 2}, NOW)
    assert event.event == catalog.DEAD_LETTERED
    assert event.resource["prefect.resource.id"] == "headgate.pipeline.orders"
    assert event.resource["headgate.reason"] == "schema"
    assert event.related == ()
    assert event.payload == {"pipeline": "orders", "reason": "schema", "count": 2}


def test_times_are_told_in_utc() -> None:
    body = news(uuid4(), "arrivals.persisted", "orders", {}, NOW).body()
    assert body["occurred"] == "2024-05-01T10:00:00+00:00"


def test_the_doorbell_carries_the_ring_that_the_run_brings_back() -> None:
    ring_id = uuid4()
    event = catalog.ready(ring_id, "orders", 3)
    assert (event.id, event.event) == (ring_id, catalog.READY)
    assert event.payload == {"ring": str(ring_id), "pipeline": "orders", "home": "default", "count": 3}
    assert event.occurred.tzinfo is UTC
