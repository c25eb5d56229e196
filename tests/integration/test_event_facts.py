"""What the ledger posts holds what the catalogue of events says, field by field."""

from headgate.events.described import DESCRIBED
from headgate.ledger import Arrivals, Claims, Database, Rings
from headgate.model import Fact, NewArrival, RangePosition, Reason
from specimens import arrival, part, pipeline

ORDERS = pipeline()


def test_posted_facts_are_those_that_the_catalogue_describes(
    ledger: Arrivals, claims: Claims, database: Database, rings: Rings
) -> None:
    ledger.open([arrival(), arrival(reason=Reason.EMPTY), a_range()])
    claim = claims.claim(ORDERS, holder="run")
    held = claim.arrivals[0]
    with database.transaction() as connection:
        claims.fence(connection, {held.arrival_id: held.epoch})
        claims.advance(connection, ORDERS.name, [part(held, rows=1, dead=1)], {"schema": 1})
    posted = {fact.kind: fact.facts for fact in rings.posted()}
    assert posted.keys() == {
        Fact.FILE_ARRIVED,
        Fact.MESSAGES_ARRIVED,
        Fact.REJECTED,
        Fact.PERSISTED,
        Fact.DEAD_LETTERED,
    }
    for kind, facts in posted.items():
        assert facts.keys() == DESCRIBED[Fact(kind)].payload.keys()


def a_range() -> NewArrival:
    """A range as the listener of topics reports it."""
    return NewArrival(
        pipeline="orders",
        source="kafka:orders",
        identity=b"r" * 32,
        name="orders[0] 0-9",
        position=RangePosition("cluster", "orders", "topic-id", 0, 0, 10, 100),
        content_key=None,
        spool=None,
        reason=None,
        detail=None,
    )
