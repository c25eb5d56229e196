"""The doorbell's side of the ledger: what is owed, what was rung, who answered, and the outbox."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from harness import HOME
from headgate.ledger import Arrivals, Claims, Database, Rings
from headgate.ledger.rings import Outstanding
from specimens import arrival, pipeline

ORDERS = pipeline()
NOTHING = Outstanding(0, None, 0, 0, None, None)


def rung(rings: Rings, rung: int = 0, *, direct: bool = False) -> UUID:
    ring_id = uuid4()
    rings.ring(ring_id, "orders", rung, direct=direct, home=HOME)
    return ring_id


def numbers(rings: Rings) -> tuple[int, int, int, int | None]:
    found = rings.outstanding({"orders": 100}, HOME)["orders"]
    return found.claimable, found.busy, found.unanswered, found.rung


def test_nothing_is_owed_where_nothing_arrived(rings: Rings, ledger: Arrivals) -> None:
    ledger.open([arrival(pipeline="others")])
    assert rings.outstanding({"orders": 100}, HOME)["orders"] == NOTHING


def test_the_numbers_follow_a_ring_through_its_life(rings: Rings, ledger: Arrivals, claims: Claims) -> None:
    ledger.open([arrival(), arrival()])
    assert numbers(rings) == (2, 0, 0, None)
    ring_id = rung(rings)
    assert numbers(rings) == (2, 0, 1, 0)
    rings.answer(ring_id, "orders", "run", HOME)
    assert numbers(rings) == (2, 1, 0, None)
    claims.claim(ORDERS, holder="run")
    found = rings.outstanding({"orders": 100}, HOME)["orders"]
    assert (found.claimable, found.busy) == (0, 1)
    assert found.next_due_in is not None
    assert timedelta(seconds=20) < found.next_due_in <= timedelta(seconds=30)
    rings.leave("run")
    assert numbers(rings) == (0, 0, 0, None)


def test_an_unanswered_ring_grows_old(rings: Rings, database: Database) -> None:
    rung(rings)
    with database.transaction() as connection:
        connection.execute("update headgate.ring set rung_at = now() - interval '1 minute'")
    rung(rings)
    age = rings.outstanding({"orders": 100}, HOME)["orders"].oldest_ring_age
    assert age is not None
    assert age >= timedelta(minutes=1)
    rings.wait_longer("orders", HOME)
    younger = rings.outstanding({"orders": 100}, HOME)["orders"].oldest_ring_age
    assert younger is not None
    assert younger < timedelta(minutes=1)


def test_a_higher_rung_takes_the_place_of_what_nobody_answered(rings: Rings) -> None:
    rung(rings)
    rung(rings)
    assert numbers(rings) == (0, 0, 2, 0)
    rung(rings, 1)
    assert numbers(rings) == (0, 0, 1, 1)


def test_a_ring_given_up_may_still_be_answered(rings: Rings) -> None:
    """A run that comes late counts as busy all the same, or a second one would be called."""
    late = rung(rings)
    rings.give_up("orders", HOME)
    assert numbers(rings) == (0, 0, 0, None)
    rings.answer(late, "orders", "late run", HOME)
    assert numbers(rings) == (0, 1, 0, None)


def test_a_run_that_comes_by_itself_counts_as_busy(rings: Rings) -> None:
    rings.answer(uuid4(), "orders", "started by hand", HOME)
    assert numbers(rings) == (0, 1, 0, None)


def test_a_ring_that_could_not_be_rung_never_was(rings: Rings) -> None:
    ring_id = rung(rings)
    rings.unring(ring_id)
    assert rings.outstanding({"orders": 100}, HOME)["orders"] == NOTHING
    answered = rung(rings)
    rings.answer(answered, "orders", "run", HOME)
    rings.unring(answered)
    assert numbers(rings) == (0, 1, 0, None)


def test_a_run_that_died_is_busy_no_longer_than_its_lease(rings: Rings, claims: Claims, database: Database) -> None:
    rings.answer(uuid4(), "orders", "killed", HOME)
    with claims.holding("killed"), database.transaction() as connection:
        connection.execute("update headgate.ring set alive_until = now() - interval '1 s'")
    assert numbers(rings) == (0, 0, 0, None)


def test_whoever_listens_hears_of_intake_and_of_the_end_of_a_run(
    rings: Rings, ledger: Arrivals, database: Database
) -> None:
    rings.answer(uuid4(), "orders", "run", HOME)
    with database.listening("headgate") as connection:
        ledger.open([arrival(), arrival()])
        assert [each.payload for each in connection.notifies(timeout=10, stop_after=1)] == ["orders"]
        rings.leave("run")
        assert [each.payload for each in connection.notifies(timeout=10, stop_after=1)] == ["orders"]


def test_what_is_posted_stays_until_it_was_sent_and_keeps_its_event_id(rings: Rings, ledger: Arrivals) -> None:
    """Told twice, it is the same event: Prefect takes it once."""
    ledger.open([arrival(name="a.csv"), arrival(name="b.csv")])
    first, second = rings.posted()
    assert (first.kind, first.pipeline, first.facts["name"]) == ("file.arrived", "orders", "a.csv")
    assert rings.posted(limit=1) == [first]
    assert rings.posted() == [first, second]
    rings.sent([first.outbox_id])
    assert rings.posted() == [second]
    rings.sent([])
    assert rings.posted() == [second]


@pytest.mark.parametrize("name", ["\\x00.csv", "{{ 7*7 }}.csv", "é😀'\".csv"])
def test_facts_come_back_as_they_were_posted(rings: Rings, ledger: Arrivals, name: str) -> None:
    ledger.open([arrival(name=name)])
    assert [fact.facts["name"] for fact in rings.posted()] == [name]


def test_the_ring_of_a_dead_run_is_closed_and_forgotten(rings: Rings, database: Database, ledger: Arrivals) -> None:
    """Not that of a run that is late by less than a lease: it may still be alive."""
    for holder, silent in (("dead", 61), ("late", 20), ("alive", -20)):
        rings.answer(uuid4(), "orders", holder, HOME)
        with database.transaction() as connection:
            since = timedelta(seconds=silent - 30)
            connection.execute(
                "update headgate.ring set alive_until = now() - %s where answered_by = %s", (since, holder)
            )
    assert rings.over(["dead", "late", "alive", "unknown"]) == {"dead": False, "late": False, "alive": False}
    rings.close_dead()
    assert rings.over(["dead", "late", "alive"]) == {"dead": True, "late": False, "alive": False}
    with database.transaction() as connection:
        connection.execute("update headgate.ring set left_at = left_at - interval '1 day'")
    ledger.forget(timedelta(days=1), pipelines=[])
    assert rings.over(["dead", "late", "alive"]) == {"late": False, "alive": False}
