"""A broken rule is said as people say it."""

import dataframely as dy
import polars as pl
import pytest
from headgate.records.batch import number_rows
from headgate.records.contract import validate
from headgate.records.saying import say


class Trip(dy.Schema):
    """A column of each kind that rules are about."""

    distance = dy.Int64(nullable=False)
    amount = dy.Decimal(10, 2, nullable=True, min=0)
    share = dy.Float64(nullable=True, max_exclusive=1)
    code = dy.String(nullable=True, regex="^[A-Z]{3}$", max_length=3)
    day = dy.Date(nullable=True)
    paid = dy.Bool(nullable=True)
    kind = dy.Enum(["EUR", "USD"], nullable=True)
    place = dy.Struct({"x": dy.Int64()}, nullable=True)

    @dy.rule()
    def amount_is_paid(cls) -> pl.Expr:  # noqa: N805 - dataframely calls it with the class
        """No free trips."""
        return cls.amount.col != 7


GOOD = {
    "distance": "1",
    "amount": None,
    "share": None,
    "code": None,
    "day": None,
    "paid": None,
    "kind": None,
    "place": None,
}


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"distance": "six"}, ["distance: 'six' is not an integer"]),
        ({"distance": None}, ["distance: is empty, and has to have a value"]),
        ({"amount": "-3"}, ["amount: -3 is less than 0"]),
        ({"amount": "1.234"}, ["amount: '1.234' is not a decimal"]),
        ({"share": "1"}, ["share: 1 is not less than 1"]),
        ({"code": "abcd"}, ["code: 'abcd' does not match ^[A-Z]{3}$", "code: 'abcd' is longer than 3"]),
        ({"day": "31.12.2024"}, ["day: '31.12.2024' is not a date (2024-12-31)"]),
        ({"paid": "yes"}, ["paid: 'yes' is not true or false"]),
        ({"kind": "CHF"}, ["kind: 'CHF' is not one of EUR, USD"]),
        ({"place": '{"x":1,"y":2}'}, ["place.y: is a key that the schema does not have"]),
        (
            {"code": "A\0B"},
            [
                "code: 'A\\x00B' has a NUL character, which PostgreSQL cannot store",
                "code: 'A\\x00B' does not match ^[A-Z]{3}$",
            ],
        ),
        ({"amount": "7"}, ["amount is paid"]),
    ],
)
def test_a_rule_that_a_record_breaks_is_said_in_a_sentence(cells: dict[str, str | None], said: list[str]) -> None:
    frame = number_rows(pl.DataFrame([{**GOOD, **cells}], schema=dict.fromkeys(GOOD, pl.String)), 1, 1)
    (refusal,) = validate(frame, Trip).refused
    faults = [{"rule": each.rule, "column": each.column, "value": each.value} for each in refusal.faults]
    assert sorted(say(each, Trip) for each in faults) == sorted(said)


@pytest.mark.parametrize(
    ("rule", "column", "value", "said"),
    [
        ("amount|min", "amount", "-3", "amount: '-3' breaks the rule min"),
        ("lookup airlines", "carrier", "ZZ", "carrier: 'ZZ' is not in airlines"),
        ("number of cells", None, "3, not 4", "number of cells: 3, not 4"),
        ("empty", None, "the file has no bytes", "empty: the file has no bytes"),
        ("orders_key: duplicate key", "id", "1", "id: '1': orders_key: duplicate key"),
    ],
)
def test_without_a_schema_the_rule_is_said_as_far_as_it_is_known(
    rule: str, column: str | None, value: str, said: str
) -> None:
    assert say({"rule": rule, "column": column, "value": value}, None) == said
