"""A lock shows that the holder of claims lives: once it is free, they are due at once; and no live holder is robbed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

import pytest
from harness import HOME, wait_until
from headgate.errors import Fenced
from headgate.ledger import Arrivals, Claims, Database, Holders, Rings
from headgate.ledger.holders import GRACE
from headgate.model import ClaimedArrival
from specimens import arrival, pipeline

ORDERS = pipeline()


@pytest.fixture
def holders(database: Database) -> Holders:
    """The holders of that ledger."""
    return Holders(database)


def sql(database: Database, query: str) -> list[dict[str, object]]:
    with database.transaction() as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


@contextmanager
def held(database: Database, claims: Claims, holder: str = "run") -> Iterator[None]:
    """Hold, from when the lock is taken."""
    known = f"select 1 from headgate.holder where holder = '{holder}' and free_since is null"
    with claims.holding(holder):
        wait_until(lambda: sql(database, known), every=0.01)
        yield


def dies(database: Database, claims: Claims, holder: str = "run") -> None:
    """Hold, and go without a word: a process that is killed leaves no more than this."""
    with held(database, claims, holder):
        pass


def noticed(database: Database, holders: Holders) -> bool:
    """Whether a look has found a lock free: PostgreSQL takes a moment to see that a client is gone."""
    holders.bury()
    return bool(sql(database, "select 1 from headgate.holder where free_since is not null"))


def gone(holders: Holders) -> list[str]:
    return [each.holder for each in holders.bury().gone]


def fence(database: Database, claims: Claims, one: ClaimedArrival) -> None:
    with database.transaction() as connection:
        claims.fence(connection, {one.arrival_id: one.epoch})


def test_what_a_dead_holder_had_claimed_goes_to_the_next_without_a_wait_for_the_lease(
    database: Database, ledger: Arrivals, claims: Claims, holders: Holders
) -> None:
    ledger.open([arrival(), arrival()])
    (first, _) = claims.claim(ORDERS, holder="run").arrivals
    dies(database, claims)
    began = time.monotonic()
    assert gone(holders) == [], "it gets a moment to come back"
    wait_until(lambda: gone(holders) == ["run"], within=20)
    assert time.monotonic() - began >= GRACE.total_seconds()
    taken = claims.claim(ORDERS, holder="next").arrivals
    assert [each.attempt for each in taken] == [2, 2]
    with pytest.raises(Fenced):
        fence(database, claims, first)


def test_a_claim_itself_finds_out_who_died(
    database: Database, ledger: Arrivals, claims: Claims, holders: Holders
) -> None:
    """Where no announcer is at work, the next run needs none."""
    ledger.open([arrival()])
    claims.claim(ORDERS, holder="run")
    dies(database, claims)
    holders.bury()
    wait_until(lambda: claims.claim(ORDERS, holder="next").arrivals, within=20)


def test_a_live_holder_keeps_what_it_has(
    database: Database, ledger: Arrivals, claims: Claims, holders: Holders
) -> None:
    ledger.open([arrival()])
    (mine,) = claims.claim(ORDERS, holder="run").arrivals
    with held(database, claims), held(database, claims, "another of the same process"):
        deadline = time.monotonic() + 2 * GRACE.total_seconds()
        while time.monotonic() < deadline:
            assert gone(holders) == []
            assert claims.claim(ORDERS, holder="other").arrivals == ()
        assert holders.bury().left == 2
        fence(database, claims, mine)


def test_a_holder_whose_session_was_cut_takes_its_lock_again(
    database: Database, ledger: Arrivals, claims: Claims, holders: Holders
) -> None:
    """As when PostgreSQL is started again: all sessions are gone, and those who hold live on."""
    ledger.open([arrival()])
    (mine,) = claims.claim(ORDERS, holder="run").arrivals
    with held(database, claims):
        for _ in range(3):
            before = sql(database, "select taken_at from headgate.holder")
            sql(
                database,
                "select pg_terminate_backend(pid) from pg_locks "
                "where locktype = 'advisory' and pid <> pg_backend_pid()",
            )
            holders.bury()
            wait_until(lambda before=before: sql(database, "select taken_at from headgate.holder") != before, within=20)  # type: ignore[misc]
            assert gone(holders) == []
        fence(database, claims, mine)


def test_a_holder_that_was_taken_for_dead_writes_nothing_and_can_hold_again(
    database: Database, ledger: Arrivals, claims: Claims, holders: Holders
) -> None:
    ledger.open([arrival()])
    (lost,) = claims.claim(ORDERS, holder="run").arrivals
    dies(database, claims)
    holders.bury()
    wait_until(lambda: gone(holders) == ["run"], within=20)
    with held(database, claims):
        with pytest.raises(Fenced):
            fence(database, claims, lost)
        (again,) = claims.claim(ORDERS, holder="run").arrivals
        time.sleep(1.5 * GRACE.total_seconds())
        assert gone(holders) == []
        fence(database, claims, again)


def test_what_a_dead_holder_is_still_committing_is_left_to_it(
    database: Database, ledger: Arrivals, claims: Claims, holders: Holders
) -> None:
    """A statement may outlive its client; the look neither waits for it nor forgets what it holds."""
    ledger.open([arrival()])
    (mine,) = claims.claim(ORDERS, holder="run").arrivals
    dies(database, claims)
    wait_until(lambda: noticed(database, holders), within=20)
    with database.transaction() as connection:
        claims.fence(connection, {mine.arrival_id: mine.epoch})
        time.sleep(1.2 * GRACE.total_seconds())
        assert gone(holders) == []
    wait_until(lambda: gone(holders) == ["run"], within=20)


def test_the_ring_that_a_dead_run_had_answered_counts_no_more(
    database: Database, ledger: Arrivals, claims: Claims, holders: Holders, rings: Rings
) -> None:
    ledger.open([arrival()])
    rings.answer(uuid4(), "orders", "run", HOME)
    claims.claim(ORDERS, holder="run")
    assert rings.outstanding({"orders": 10}, HOME)["orders"].busy == 1
    dies(database, claims)
    holders.bury()
    with database.listening("headgate") as connection:
        wait_until(lambda: gone(holders) == ["run"], within=20)
        assert [each.payload for each in connection.notifies(timeout=10, stop_after=1)] == ["orders"]
    found = rings.outstanding({"orders": 10}, HOME)["orders"]
    assert (found.busy, found.claimable) == (0, 1)


def test_a_run_that_leaves_is_not_looked_for(
    database: Database, claims: Claims, holders: Holders, rings: Rings
) -> None:
    rings.answer(uuid4(), "orders", "run", HOME)
    with held(database, claims):
        rings.leave("run")
    assert holders.bury().left == 0


def test_a_run_that_leaves_before_it_has_its_lock_does_not_take_it_any_more(
    claims: Claims, holders: Holders, rings: Rings
) -> None:
    """A run that finds nothing to do is over before its session is there; it must not be taken for dead later."""
    for number in range(5):
        rings.answer(uuid4(), "orders", f"run {number}", HOME)
        with claims.holding(f"run {number}") as session:
            session.retire()
            rings.leave(f"run {number}")
    assert holders.bury().left == 0


def test_a_holder_hears_of_what_arrives(ledger: Arrivals, claims: Claims) -> None:
    told: list[str] = []
    with claims.holding("run", told.append):
        wait_until(lambda: told == [""])
        ledger.open([arrival()])
        wait_until(lambda: "orders" in told)  # after another "" if the session was lost
    assert set(told) == {"", "orders"}


def test_how_long_rings_usually_wait_is_known_after_a_few(database: Database, rings: Rings) -> None:
    assert rings.usual_answer() is None
    for number in range(6):
        ring_id = uuid4()
        rings.ring(ring_id, "orders", 0, direct=False, home=HOME)
        rings.answer(ring_id, "orders", f"run {number}", HOME)
    sql(database, "update headgate.ring set answered_at = rung_at + interval '0.3 s'")
    assert rings.usual_answer() == timedelta(seconds=0.3)
