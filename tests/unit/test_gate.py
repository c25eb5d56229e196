"""The fixture `gate`: a file, a message or an event goes in; rows, dead letters and firings come out."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import dataframely as dy
import polars as pl
import pytest
from headgate.errors import BadFixture
from headgate.pipeline import Folder, Pipeline, Table, Topic, When, lookup
from headgate.testing import Gate
from headgate.testing.gate import RUN
from prefect import flow


class Order(dy.Schema):
    """Two columns, one of them a number."""

    id = dy.Int64(primary_key=True)
    customer = dy.String(nullable=False)


def orders(**more: Any) -> Pipeline:
    sources = (Folder("orders", patterns=("*.csv",)), Topic("orders"))
    return Pipeline(name="orders", sources=sources, schema=Order, sink=Table("orders", mode="append"), **more)


def rule(name: str, expect: str, *actions: dict[str, Any], **trigger: Any) -> dict[str, Any]:
    return {
        "name": name,
        "trigger": {"expect": [expect], **trigger},
        "actions": list(actions) or [{"type": "do-nothing"}],
    }


REPLAY = rule(
    "send again",
    "headgate.rows.dead-lettered",
    {
        "type": "run-deployment",
        "deployment": "replay/replay",
        "parameters": {"pipeline": "{{ event.payload.pipeline }}", "at_most": "{{ event.payload.count }}"},
    },
    match={"headgate.reason": "schema"},
)
DAY = b"id,customer\n1,ann\nx,bob\n3,cyd\n"


def test_a_file_becomes_rows_and_dead_letters_and_a_rule_fires(gate: Gate) -> None:
    gate.rules(REPLAY)
    outcome = gate.drop(orders(), "day.csv", DAY)
    assert outcome.rows == [{"id": 1, "customer": "ann"}, {"id": 3, "customer": "cyd"}]
    (letter,) = outcome.dead_letters
    assert (letter.row, letter.reason, letter.original) == (2, "schema", b"x,bob\n")
    fired = outcome.fired_by("send again")
    assert fired.runs == "replay/replay"
    assert fired.parameters == {"pipeline": "orders", "at_most": 1}
    assert gate.fired == [fired]


def test_a_file_on_disk_is_taken_by_its_path(gate: Gate, tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    path.write_bytes(DAY)
    assert len(gate.drop(orders(), path).rows) == 2
    assert path.read_bytes() == DAY


def test_events_are_those_of_the_road(gate: Gate) -> None:
    outcome = gate.drop(orders(), "day.csv", DAY)
    assert [each.event for each in outcome.events] == [
        "headgate.file.arrived",
        "headgate.arrivals.ready",
        "headgate.arrivals.persisted",
        "headgate.rows.dead-lettered",
    ]
    assert outcome.events[2].payload == {
        "pipeline": "orders",
        "arrivals": 1,
        "arrival_ids": [1],
        "rows_persisted": 2,
        "dead_letters": 1,
        "names": ["day.csv"],
        "run": RUN,
    }


def test_a_file_that_cannot_be_read_is_rejected(gate: Gate) -> None:
    gate.rules(rule("call me", "headgate.arrivals.rejected", match={"headgate.pipeline": "orders"}))
    outcome = gate.drop(orders(), "day.csv", b"a,b\n1,2\n")
    assert outcome.rejected is not None
    assert (outcome.rejected.reason, outcome.rows, outcome.dead_letters) == ("columns", [], ())
    assert outcome.fired_by("call me").does == ["do-nothing"]


def test_what_does_not_meet_the_condition_is_skipped_with_the_reason(gate: Gate) -> None:
    mine = orders(when=When(name="!draft-*", topic="other-*"))
    for outcome, why, event in (
        (gate.drop(mine, "draft-1.csv", DAY), "its name is not other than 'draft-*'", "headgate.file.arrived"),
        (
            gate.publish(mine, b'{"id": 1, "customer": "ann"}'),
            "its topic is not 'other-*'",
            "headgate.messages.arrived",
        ),
    ):
        assert (outcome.skipped_because, outcome.rows, outcome.dead_letters) == (why, [], ())
        assert [each.event for each in outcome.events] == [event]
        assert outcome.events[0].payload["state"] == "skipped"
    outcome = gate.drop(mine, "day.csv", DAY)
    assert (outcome.skipped_because, len(outcome.rows)) == (None, 2)


def test_messages_become_rows_and_dead_letters(gate: Gate) -> None:
    outcome = gate.publish(orders(), b'{"id": 1, "customer": "ann"}', (b"key", b'{"id": "x"}'), b"{")
    assert outcome.rows == [{"id": 1, "customer": "ann"}]
    assert [(each.row, each.reason) for each in outcome.dead_letters] == [(2, "schema"), (3, "malformed")]
    assert outcome.events[0].event == "headgate.messages.arrived"


def test_enrichers_and_look_ups_are_applied(gate: Gate) -> None:
    def loud(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(customer=pl.col("customer").str.to_uppercase())

    looked_up = lookup("customers", on="customer", add={"city": "city"}, required=True)
    mine = orders(enrich=(looked_up, loud))
    gate.tables["customers"] = pl.DataFrame({"customer": ["ann"], "city": ["Rome"]})
    outcome = gate.drop(mine, "day.csv", DAY)
    assert outcome.rows == [{"id": 1, "customer": "ANN", "city": "Rome"}]
    assert [each.reason for each in outcome.dead_letters] == ["schema", "lookup"]


def test_a_look_up_without_its_table_says_how_to_give_it(gate: Gate) -> None:
    with pytest.raises(BadFixture, match=r"gate\.tables\['customers'\]"):
        gate.drop(orders(enrich=(lookup("customers", on="customer", add={"city": "city"}),)), "day.csv", DAY)


def test_a_name_that_no_folder_takes_is_said(gate: Gate) -> None:
    with pytest.raises(BadFixture, match=r"takes 'day.txt'; they take \*\.csv"):
        gate.drop(orders(), "day.txt", DAY)


def test_an_event_in_short_is_one_of_the_catalogue(gate: Gate) -> None:
    gate.rules(REPLAY)
    (fired,) = gate.emit(
        {"event": "headgate.rows.dead-lettered", "pipeline": "x", "payload": {"reason": "schema", "count": 7}}
    )
    assert fired.parameters == {"pipeline": "x", "at_most": 7}


def test_counts_and_silence_pass_in_virtual_time(gate: Gate) -> None:
    gate.rules(
        rule("three", "my.thing", threshold=3, within=60),
        rule(
            "silent",
            "my.thing",
            posture="Proactive",
            after=["my.thing"],
            for_each=["prefect.resource.id"],
            within=3600,
        ),
    )
    thing = {"event": "my.thing", "resource": "my.1"}
    assert [len(gate.emit(thing)) for _ in range(3)] == [0, 0, 1]
    assert gate.wait("59 min") == []
    (fired,) = gate.wait("2 min")
    assert (fired.automation, fired.labels) == ("silent", {"prefect.resource.id": "my.1"})


def test_a_rule_that_does_not_fire_says_why(gate: Gate) -> None:
    gate.rules(rule("three", "my.thing", threshold=3, within=60, match={"l": "x"}))
    assert gate.why_not("three") == ["no events came"]
    gate.emit({"event": "my.thing", "resource": "my.1", "labels": {"l": "y"}})
    assert gate.why_not("three") == ["my.thing: label l is 'y'; the rule wants 'x'"]
    gate.emit({"event": "my.thing", "resource": "my.1", "labels": {"l": "x"}})
    (why,) = gate.why_not("three")
    assert why.startswith("my.thing: it waits: 1 of 3 events within 1 min")
    with pytest.raises(AssertionError, match="'three' fired 0 times"):
        gate.fired_by("three")


def test_parameters_that_the_flow_does_not_take_are_refused_as_by_the_server(gate: Gate) -> None:
    @flow
    def replay(pipeline: str, at_most: str) -> None: ...

    gate.rules(REPLAY)
    gate.deployment("replay/replay", replay)
    gate.drop(orders(), "day.csv", DAY)
    (act,) = gate.fired_by("send again").acts
    assert act.problem == "Validation failed for field 'at_most'. Failure reason: 1 is not of type 'string'"


def test_pytest_imports_neither_prefect_nor_polars_for_those_who_do_not_ask() -> None:
    code = "import headgate.testing.plugin, sys; print({'prefect', 'polars'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "set()\n"
