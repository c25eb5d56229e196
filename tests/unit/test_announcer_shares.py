"""Whom the announcer rings for ranges, which any home may work on: a pure function of what the ledger says of homes."""

import math
from datetime import UTC, datetime
from uuid import UUID

from headgate.events.ladder import shares
from headgate.ledger.homes import HomeRecord
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def home(*, alive: bool = True, deaf: bool = False) -> HomeRecord:
    return HomeRecord(
        home_id=UUID(int=0),
        name="default",
        host="here",
        path="/headgate",
        made_at=NOW,
        alive_until=NOW,
        alive=alive,
        trouble=None,
        deaf_since=NOW if deaf else None,
    )


def share(ranges: int, *homes: HomeRecord, most_arrivals: int = 10, parallelism: int = 4) -> list[int]:
    return shares(ranges, homes, most_arrivals=most_arrivals, parallelism=parallelism)


HOMES = st.lists(st.builds(home, alive=st.booleans(), deaf=st.booleans()), min_size=1, max_size=5)


@given(st.integers(0, 1000), HOMES, st.integers(1, 100), st.integers(1, 8))
def test_each_range_is_rung_for_in_one_home_by_no_more_runs_than_it_takes(
    ranges: int, homes: list[HomeRecord], most_arrivals: int, parallelism: int
) -> None:
    found = share(ranges, *homes, most_arrivals=most_arrivals, parallelism=parallelism)
    assert sum(found) == ranges
    assert sum(count > 0 for count in found) <= min(parallelism, math.ceil(ranges / most_arrivals))


@given(st.integers(1, 1000), HOMES)
def test_none_is_rung_for_where_nobody_would_come_while_another_home_answers(
    ranges: int, homes: list[HomeRecord]
) -> None:
    found = share(ranges, *homes)
    if any(each.alive for each in homes):
        assert not any(count for count, each in zip(found, homes, strict=True) if not each.alive)
    if any(each.alive and each.deaf_since is None for each in homes):
        assert not any(count for count, each in zip(found, homes, strict=True) if each.deaf_since is not None)


def test_ranges_of_one_run_go_to_one_home() -> None:
    assert share(10, home(), home()) == [10, 0]


def test_ranges_of_more_runs_are_shared_out_evenly() -> None:
    assert share(40, home(), home(), home()) == [20, 10, 10]
    assert share(1000, home(), home(), parallelism=2) == [500, 500]


def test_a_home_that_does_not_answer_leaves_its_ranges_to_the_others() -> None:
    assert share(10, home(deaf=True), home()) == [0, 10]
    assert share(10, home(alive=False), home(deaf=True), home()) == [0, 0, 10]


def test_while_nobody_answers_the_ranges_are_rung_for_all_the_same() -> None:
    assert share(10, home(deaf=True), home(deaf=True)) == [10, 0]
    assert share(10, home(alive=False)) == [10]


def test_without_ranges_or_homes_there_is_nothing_to_ring_for() -> None:
    assert share(0, home(), home()) == [0, 0]
    assert share(0) == []
