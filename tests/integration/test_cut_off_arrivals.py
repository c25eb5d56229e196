"""An arrival given up after some of its chunks were committed: its bytes go on from there when they come back."""

from dataclasses import replace

import pytest
from headgate.errors import ArrivalRejected
from headgate.ledger import Arrivals, Claims, Database
from headgate.model import NewArrival, Reason, Stage
from specimens import arrival, part, pipeline

ORDERS = pipeline()


@pytest.fixture
def cut_off(database: Database, ledger: Arrivals, claims: Claims) -> tuple[NewArrival, int]:
    """An arrival that was rejected when its first 100 rows were in the sink."""
    first = replace(arrival(), content_key=b"the same bytes")
    (opened,) = ledger.open([first])
    (held,) = claims.claim(ORDERS, holder="run").arrivals
    with database.transaction() as connection:
        claims.fence(connection, {held.arrival_id: held.epoch})
        claims.advance(connection, ORDERS.name, [replace(part(held), rows_committed=100, ended=False)], {})
    claims.reject(held, Stage.PERSIST, ArrivalRejected(Reason.ATTEMPTS_USED_UP, "the database was away for a week"))
    return first, opened.arrival_id


def test_the_same_bytes_dropped_again_go_on_behind_the_committed_rows(
    cut_off: tuple[NewArrival, int], ledger: Arrivals, claims: Claims
) -> None:
    first, _ = cut_off
    ledger.open([replace(first, identity=b"dropped again")])
    assert [held.rows_committed for held in claims.claim(ORDERS, holder="next").arrivals] == [100]


def test_a_replay_goes_on_behind_the_committed_rows(
    cut_off: tuple[NewArrival, int], ledger: Arrivals, claims: Claims
) -> None:
    first, arrival_id = cut_off
    again = replace(first, identity=b"replay", content_key=None, replay_of=arrival_id, continues=arrival_id)
    ledger.replay(again, [])
    assert [held.rows_committed for held in claims.claim(ORDERS, holder="next").arrivals] == [100]


def test_other_bytes_begin_at_the_beginning(cut_off: tuple[NewArrival, int], ledger: Arrivals, claims: Claims) -> None:
    first, arrival_id = cut_off
    ledger.open([replace(first, identity=b"other", content_key=b"other bytes")])
    records = replace(first, identity=b"records", content_key=None, replay_of=arrival_id)  # some of its records alone
    ledger.replay(records, [])
    assert [held.rows_committed for held in claims.claim(ORDERS, holder="next").arrivals] == [0, 0]
