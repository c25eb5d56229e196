"""Whether a file holds so many bad records that it is rejected as a whole."""

import dataframely as dy
import pytest
from headgate.errors import BadPipeline
from headgate.model import Fault
from headgate.pipeline import Folder, Pipeline, Table
from headgate.records.letters import Group
from headgate.records.too_many_bad import too_many_bad


class Item(dy.Schema):
    """What the pipelines here hold."""

    item = dy.Int64(nullable=False, min=0)


def pipeline(max_bad: float | None) -> Pipeline:
    return Pipeline(name="items", sources=(Folder("items"),), schema=Item, sink=Table("items"), max_bad=max_bad)


def bad(*counts: int) -> list[Group]:
    return [Group(1, "schema", count, 7, (Fault("item|min", "item", "-1"),)) for count in counts]


@pytest.mark.parametrize(
    ("max_bad", "records", "counts", "rejected"),
    [
        (None, 10, (10,), False),
        (0.5, 10, (5,), False),
        (0.5, 10, (3, 3), True),
        (0.5, 1, (1,), True),
        (0.5, 0, (), False),
        (0.29, 100, (29,), False),
        (0.29, 100, (30,), True),
        (3, 1000, (3,), False),
        (3, 1000, (3, 1), True),
        (1, 1, (1,), False),
    ],
)
def test_a_share_or_a_number_of_bad_records_is_the_most_that_passes(
    max_bad: float | None,
    records: int,
    counts: tuple[int, ...],
    rejected: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert (too_many_bad(pipeline(max_bad), records, bad(*counts)) is not None) is rejected


def test_a_rejected_file_says_how_many_are_bad_and_what_is_wrong_with_the_first() -> None:
    error = too_many_bad(pipeline(0.1), 1470, bad(1461))
    assert error is not None
    assert error.reason == "too-many-bad"
    assert error.detail.startswith(
        "1,461 of 1,470 records are bad, more than max_bad=0.1 allows; record 7: item: -1 is"
    )


@pytest.mark.parametrize("max_bad", [0, -1, 1.0, 1.5, 0.0, "half", True])
def test_nonsense_is_refused_with_what_to_write(max_bad: float) -> None:
    with pytest.raises(BadPipeline, match=r"max_bad=.*write a share such as 0\.5, or a number of records such as 100"):
        pipeline(max_bad)


def test_an_unknown_fail_on_is_refused_with_the_choices() -> None:
    with pytest.raises(BadPipeline, match="'never' or 'rejected' or 'dead-letters'"):
        Pipeline(
            name="items",
            sources=(Folder("items"),),
            schema=Item,
            sink=Table("items"),
            fail_on="always",  # type: ignore[arg-type]
        )
