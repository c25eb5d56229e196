"""Each part of Prefect that the offline engine uses is there, and takes effect."""

import inspect
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import prefect.types._datetime as times
import pytest
from headgate.errors import BadFixture, WrongPrefect
from headgate.rules import internals
from headgate.rules.engine import Engine, automation, event
from headgate.rules.internals import PARTS, EnginePart
from headgate.rules.rendering import render
from prefect.server.events import triggers

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def rule(trigger: dict[str, Any], *actions: dict[str, Any], name: str = "rule") -> Any:
    whole = {"type": "event", "posture": "Reactive", "threshold": 1, "within": 0, **trigger}
    return automation({"name": name, "trigger": whole, "actions": list(actions) or [{"type": "do-nothing"}]})


def sent(name: str, after: float = 0, **more: Any) -> Any:
    at = (NOON + timedelta(seconds=after)).isoformat()
    resource = {"prefect.resource.id": "r"}
    return event({"event": name, "occurred": at, "received": at, "resource": resource, "id": _ID.format(after), **more})


_ID = "00000000-0000-0000-0000-{:012.0f}"


@pytest.fixture
def engine() -> Any:
    with Engine() as made:
        made.reset(NOON)
        yield made


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_part_is_there_and_takes_what_we_give(part: EnginePart) -> None:
    internals.check.cache_clear()
    internals.check()
    found: Any = import_module(part.module)
    for name in part.name.split("."):
        found = getattr(found, name)
    assert " ".join(inspect.signature(inspect.unwrap(found)).parameters) == part.signature


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_where_a_part_differs_there_is_one_clear_line(part: EnginePart, monkeypatch: pytest.MonkeyPatch) -> None:
    *path, last = part.name.split(".")
    holder: Any = import_module(part.module)
    for name in path:
        holder = getattr(holder, name)
    monkeypatch.setattr(holder, last, lambda quite, another: (quite, another))
    internals.check.cache_clear()
    with pytest.raises(WrongPrefect, match=f"{part.module}.{part.name} is another .*install prefect=="):
        internals.check()
    monkeypatch.undo()
    monkeypatch.delattr(holder, last)
    internals.check.cache_clear()
    with pytest.raises(WrongPrefect, match=r"install prefect==3\.8\.8"):
        internals.check()


def test_nothing_stays_replaced(engine: Engine) -> None:
    before = (times.now, vars(triggers)["messaging"])
    engine.load([rule({"expect": ["a"]})])
    engine.feed(sent("a"))
    assert (times.now, vars(triggers)["messaging"]) == before
    assert times.now("UTC").year >= 2026


def test_time_is_virtual_in_windows(engine: Engine) -> None:
    engine.load([rule({"expect": ["a"], "threshold": 2, "within": 60})])
    assert [len(engine.feed(sent("a", after))) for after in (0, 59, 300, 420)] == [0, 1, 0, 0]


def test_time_is_virtual_in_compounds(engine: Engine) -> None:
    pair = [{"type": "event", "posture": "Reactive", "expect": [name], "within": 0} for name in "ab"]
    compound = {"type": "compound", "require": "all", "within": 60, "triggers": pair}
    engine.load([automation({"name": "both", "trigger": compound, "actions": [{"type": "do-nothing"}]})])
    fired = [len(engine.feed(sent(name, after))) for name, after in (("a", 0), ("b", 50), ("a", 100), ("b", 200))]
    assert fired == [0, 1, 0, 0]


def test_time_is_virtual_in_proactive_triggers(engine: Engine) -> None:
    waits = {"posture": "Proactive", "after": ["a"], "expect": ["a"], "within": 30, "for_each": ["prefect.resource.id"]}
    engine.load([rule(waits)])
    engine.feed(sent("a"))
    (fired,) = engine.wait(NOON + timedelta(hours=1))
    assert timedelta(seconds=30) <= fired.at - NOON <= timedelta(seconds=40)
    assert fired.labels == {"prefect.resource.id": "r"}


def test_an_event_of_the_same_id_counts_again_after_half_an_hour(engine: Engine) -> None:
    engine.load([rule({"expect": ["a"]})])
    again = sent("a", 0).model_copy
    at = [NOON + timedelta(minutes=minutes) for minutes in (0, 29, 31)]
    assert [len(engine.feed(again(update={"received": each}))) for each in at] == [1, 0, 1]


def test_a_firing_is_an_event_that_other_rules_see(engine: Engine) -> None:
    match = {"prefect.resource.name": "first"}
    engine.load(
        [rule({"expect": ["a"]}, name="first"), rule({"expect": ["prefect.automation.triggered"], "match": match})]
    )
    assert [fired.automation.name for fired in engine.feed(sent("a"))] == ["first", "rule"]


def test_what_fires_by_the_clock_is_seen_by_other_rules_too(engine: Engine) -> None:
    waits = {"posture": "Proactive", "after": ["a"], "expect": ["b"], "within": 30, "for_each": ["prefect.resource.id"]}
    match = {"prefect.resource.name": "first"}
    engine.load([rule(waits, name="first"), rule({"expect": ["prefect.automation.triggered"], "match": match})])
    engine.feed(sent("a"))
    assert [fired.automation.name for fired in engine.wait(NOON + timedelta(hours=1))] == ["first", "rule"]


def test_rules_that_set_each_other_off_are_said(engine: Engine) -> None:
    loop = {"expect": ["prefect.automation.triggered"]}
    engine.load([rule({"expect": ["a"]}, name="first"), rule(loop, name="loop")])
    with pytest.raises(BadFixture, match="set each other off without end: first, loop"):
        engine.feed(sent("a"))


def test_what_is_switched_off_or_forgotten_does_not_fire(engine: Engine) -> None:
    made = rule({"expect": ["a"]})
    engine.load([made])
    engine.load([made.model_copy(update={"enabled": False})])
    assert engine.feed(sent("a")) == []


def test_templates_name_variables_and_objects_that_are_given() -> None:
    run = "00000000-0000-0000-0000-00000000000f"
    action = {
        "type": "run-deployment",
        "source": "selected",
        "deployment_id": run,
        "parameters": {
            "n": "{{ event.payload.n }}",
            "v": "{{ variables.v }}",
            "w": {"__prefect_kind": "workspace_variable", "variable_name": "v"},
            "text": "{{ flow.name }}!",
        },
    }
    flow = {"id": run, "name": "mine"}
    with Engine(variables={"v": [1]}, objects={f"prefect.flow.{run}": flow}) as engine:
        engine.reset(NOON)
        engine.load([rule({"expect": ["a"]}, action)])
        related = [{"prefect.resource.id": f"prefect.flow.{run}", "prefect.resource.role": "flow"}]
        (fired,) = engine.feed(sent("a", payload={"n": 5}, related=related))
        (act,) = render(engine, fired)
    assert act.problem is None
    assert act.parameters == {"n": 5, "v": [1], "w": [1], "text": "mine!"}
