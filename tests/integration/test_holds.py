"""A pipeline that a person has to see to is held: nobody is rung for it, and no attempt is used."""

from datetime import timedelta
from uuid import UUID

from harness import HOME
from headgate.errors import BadPipeline, RecordsRefused, SinkRefused, SinkUnavailable, WrongDatabase
from headgate.flows.held import Held, is_permanent
from headgate.ledger import Arrivals, Claims, Database, Holds, Rings
from headgate.ledger.holds import FIRST
from headgate.model import Stage
from specimens import arrival, pipeline

MOST = {"orders": 10}


def claimable(rings: Rings) -> int:
    """How many arrivals somebody would be rung for."""
    return rings.outstanding(MOST, UUID(int=HOME.int))["orders"].claimable


def test_nobody_is_rung_for_a_held_pipeline_before_it_is_tried_again(
    database: Database, ledger: Arrivals, rings: Rings
) -> None:
    holds = Holds(database)
    ledger.open([arrival(), arrival(), arrival(pipeline="others")])
    assert claimable(rings) == 2
    holds.put("orders", "Table lacks\na column;  run: ...")
    assert claimable(rings) == 0
    hold = holds.find()["orders"]
    assert (hold.cause, hold.tries) == ("Table lacks a column; run: ...", 1)
    due = rings.outstanding(MOST, HOME)["orders"].next_due_in
    assert due is not None
    assert due <= FIRST
    with database.transaction() as connection:
        connection.execute("update headgate.hold set again_at = now()")
    assert claimable(rings) == 2


def test_each_further_try_waits_longer_up_to_a_limit(database: Database) -> None:
    holds = Holds(database)
    waits = []
    for _ in range(6):
        holds.put("orders", "a cause")
        with database.transaction() as connection:
            row = connection.execute("select again_at - now() as wait from headgate.hold").fetchone()
        waits.append(round(row["wait"].total_seconds()) if row else 0)
    assert waits == [10, 20, 40, 80, 120, 120]


def test_what_waited_for_the_cause_is_due_at_once_when_it_is_put_right(
    database: Database, ledger: Arrivals, claims: Claims, rings: Rings
) -> None:
    holds = Holds(database)
    ledger.open([arrival()])
    (held,) = claims.claim(pipeline(), holder="one").arrivals
    cause = SinkRefused("Table lacks a column")
    claims.postpone(held, Stage.PERSIST, cause, timedelta(hours=1))
    holds.put("orders", str(cause))
    holds.lift("orders")
    assert holds.find() == {}
    assert claimable(rings) == 1
    (record,) = ledger.find()
    assert record.attempts == 0


def test_only_what_meets_every_arrival_is_a_permanent_cause() -> None:
    assert [is_permanent(each) for each in (SinkRefused(""), WrongDatabase(""), BadPipeline(""))] == [True, True, True]
    assert [is_permanent(each) for each in (RecordsRefused(""), SinkUnavailable(""), ValueError())] == [False] * 3


def test_a_run_tries_one_arrival_of_a_held_pipeline_and_lets_it_go_on_when_that_came_through(
    database: Database,
) -> None:
    holds = Holds(database)
    run = Held(holds, "orders")
    assert run.most(None) is None
    run.see(SinkRefused("Table lacks a column"), fenced=False)
    assert set(holds.find()) == {"orders"}
    again = Held(holds, "orders")
    assert again.most(None) == 1
    again.see(None, fenced=True)
    assert set(holds.find()) == {"orders"}, "a fenced run has shown nothing"
    again.see(SinkUnavailable("asks to try again"), fenced=False)
    assert set(holds.find()) == {"orders"}
    again.see(None, fenced=False)
    assert holds.find() == {}
    assert again.most(None) is None
