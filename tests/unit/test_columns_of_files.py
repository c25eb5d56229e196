"""A file's columns against the schema's."""

import pytest
from headgate.errors import ArrivalRejected
from headgate.model import Reason
from headgate.records.columns import check_columns


def test_the_schemas_columns_are_fine_in_any_order() -> None:
    check_columns(["b", "a"], ["a", "b"], "reject")


def test_more_columns_are_fine_where_they_are_dropped() -> None:
    check_columns(["a", "x", "x"], ["a"], "drop")


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (["a"], "missing 'b'"),
        (["a", "b", "x"], "unexpected 'x'"),
        (["a", "b", "b"], "named twice 'b'"),
        (["x"], "missing 'a', 'b'; unexpected 'x'"),
    ],
)
def test_other_columns_are_said_all_at_once(found: list[str], says: str) -> None:
    with pytest.raises(ArrivalRejected) as caught:
        check_columns(found, ["a", "b"], "reject")
    assert caught.value.reason == Reason.COLUMNS
    assert caught.value.detail == f"{says}; the schema has 'a', 'b'. Correct the file or the schema."


def test_a_thousand_columns_do_not_make_a_thousand_words() -> None:
    with pytest.raises(ArrivalRejected, match="and 960 more"):
        check_columns([f"{number}{'x' * 100}" for number in range(1000)], [], "reject")
