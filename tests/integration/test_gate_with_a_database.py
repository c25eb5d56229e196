"""The fixture `gate` with a database: look-ups read it, its tables refuse records, and nothing stays written."""

import dataframely as dy
import psycopg
import pytest
from headgate.errors import LedgerUnavailable
from headgate.pipeline import Folder, Pipeline, Table, lookup
from headgate.testing import Gate

DAY = b"id,customer\n1,ann\n2,bob\n3,cyd\n"


class Order(dy.Schema):
    """Two columns, one of them a number."""

    id = dy.Int64(nullable=False)
    customer = dy.String(nullable=False)


CITY = lookup("customers", on="customer", key="name", add={"city": "city"}, required=True)
ORDERS = Pipeline(
    name="orders", sources=(Folder("orders"),), schema=Order, sink=Table("orders", mode="append"), enrich=(CITY,)
)


@pytest.fixture
def connection(database_url: str) -> psycopg.Connection[tuple[object, ...]]:
    """A database with the customers, and a table that takes no order of 3."""
    opened = psycopg.connect(database_url, autocommit=True)
    opened.execute("create table customers (name text primary key, city text)")
    opened.execute("insert into customers values ('ann', 'Rome'), ('cyd', 'Oslo')")
    opened.execute(
        "create table orders (id bigint check (id <> 3), customer text, city text, _arrival_id bigint, _row bigint)"
    )
    return opened


def test_a_table_is_looked_up_in_and_refuses_records_and_keeps_none(
    gate: Gate, database_url: str, connection: psycopg.Connection[tuple[object, ...]]
) -> None:
    with connection:
        gate.connect(database_url)
        outcome = gate.drop(ORDERS, "day.csv", DAY)
        assert outcome.rows == [{"id": 1, "customer": "ann", "city": "Rome"}]
        assert [(each.row, each.reason) for each in outcome.dead_letters] == [(2, "lookup"), (3, "sink")]
        assert outcome.dead_letters[1].original == b"3,cyd\n"
        assert connection.execute("select count(*) from orders").fetchone() == (0,)


def test_a_database_that_is_unavailable_is_an_error_of_the_test(gate: Gate) -> None:
    gate.connect("postgresql://nobody@127.0.0.1:1/none?connect_timeout=1")
    with pytest.raises(LedgerUnavailable, match="does not answer"):
        gate.drop(ORDERS, "day.csv", DAY)
