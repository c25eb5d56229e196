"""What of Prefect's server is patched exists as the table has it, and the patch stays off where it does not."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from headgate.embedded import changes
from headgate.embedded.changes import MODELS, TRIGGERS, graft
from headgate.private_names import SWITCH, Use, usable
from prefect.server.events.schemas.automations import (
    CompoundTrigger,
    EventTrigger,
    Posture,
    SequenceTrigger,
    Trigger,
)
from structlog.testing import capture_logs

REPLACED = [(TRIGGERS, "automation_changed"), (TRIGGERS, "reconcile_automations"), (MODELS, "update_automation")]


def one(name: str, threshold: int = 1) -> EventTrigger:
    return EventTrigger(expect={name}, posture=Posture.Reactive, threshold=threshold)


def both(*triggers: Trigger, require: Any = "all") -> CompoundTrigger:
    return CompoundTrigger(triggers=list(triggers), require=require, within=60)


def functions() -> list[object]:
    return [getattr(import_module(module), name) for module, name in REPLACED]


@pytest.fixture
def put_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is patched, and what is known of this Prefect, is as before at the end."""
    for (module, name), function in zip(REPLACED, functions(), strict=True):
        monkeypatch.setattr(import_module(module), name, function)
    usable.cache_clear()
    yield
    usable.cache_clear()


@pytest.mark.usefixtures("put_back")
def test_the_patch_takes_effect() -> None:
    before = functions()
    assert changes.lose_nothing()
    assert all(one is not other for one, other in zip(before, functions(), strict=True))


@pytest.mark.usefixtures("put_back")
@pytest.mark.parametrize("differs", ["switch", "signature", "name"])
def test_where_prefect_differs_it_stays_off_with_one_warning(differs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    triggers = import_module(changes.TRIGGERS)
    if differs == "switch":
        monkeypatch.setenv(SWITCH, "false")
    elif differs == "signature":
        monkeypatch.setattr(triggers, "load_automation", lambda automation, session: (automation, session))
    else:
        monkeypatch.delattr(triggers, "forget_automation")
    before = functions()
    with capture_logs() as lines:
        assert not changes.lose_nothing()
        assert not changes.lose_nothing()
    assert functions() == before
    assert [line["without"] for line in lines] == [Use.CHANGES]


def test_a_trigger_that_is_the_same_keeps_its_id_and_another_does_not() -> None:
    old = one("a")
    same, other = one("a", threshold=5), one("b")
    assert graft(old, same)
    assert same.id == old.id
    assert not graft(old, other)
    assert other.id != old.id


def test_the_children_of_a_compound_keep_their_ids_in_any_order() -> None:
    old = both(one("a"), one("b"), one("b"))
    new = both(one("b"), one("a"), one("b"), require="any")
    assert graft(old, new)
    assert new.id == old.id
    assert {child.id for child in new.triggers} == {child.id for child in old.triggers}


def test_a_compound_that_grew_keeps_what_it_has_seen_and_one_that_lost_a_child_begins_again() -> None:
    """What a child that is gone had seen would count for the others: two of three would do where all are wanted."""
    old = both(one("a"), one("b"))
    grown, shrunk = both(one("a"), one("b"), one("c")), both(one("c"), one("b"))
    assert graft(old, grown)
    assert not graft(old, shrunk)
    assert shrunk.id != old.id


def test_a_compound_in_a_sequence_is_looked_into() -> None:
    old = SequenceTrigger(triggers=[both(one("a"), one("b")), one("c")], within=None)
    new = SequenceTrigger(triggers=[both(one("a"), one("d")), one("c")], within=None)
    assert not graft(old, new)
    assert new.triggers[1].id == old.triggers[1].id
