"""What a pipeline is owed: a pure function of what the ledger says."""

import math
from datetime import timedelta

from headgate.events.ladder import LONGEST_WAIT, Due, Ladder, due
from headgate.ledger.rings import Outstanding
from hypothesis import given
from hypothesis import strategies as st

LADDER = Ladder(answer_within=timedelta(seconds=10), again=2)


@st.composite
def outstanding(draw: st.DrawFn) -> Outstanding:
    """What the ledger can say: rung and age are there where unanswered rings are."""
    unanswered = draw(st.integers(0, 5))
    return Outstanding(
        claimable=draw(st.integers(0, 5000)),
        next_due_in=None,
        busy=draw(st.integers(0, 5)),
        unanswered=unanswered,
        rung=draw(st.integers(0, 6)) if unanswered else None,
        oldest_ring_age=draw(st.timedeltas(timedelta(0), timedelta(hours=1))) if unanswered else None,
    )


def owed(found: Outstanding, *, most_arrivals: int = 1000, parallelism: int = 1) -> Due:
    return due(found, most_arrivals=most_arrivals, parallelism=parallelism, ladder=LADDER)


def waiting(claimable: int, *, busy: int = 0, unanswered: int = 0, rung: int = 0, age: float = 0) -> Outstanding:
    ringing = unanswered > 0
    return Outstanding(
        claimable, None, busy, unanswered, rung if ringing else None, timedelta(seconds=age) if ringing else None
    )


@given(outstanding(), st.integers(1, 1000), st.integers(1, 8))
def test_nobody_is_rung_for_nothing(found: Outstanding, most_arrivals: int, parallelism: int) -> None:
    answer = owed(found, most_arrivals=most_arrivals, parallelism=parallelism)
    if not found.claimable:
        assert (answer.rings, answer.rung) == (0, None)


@given(outstanding(), st.integers(1, 1000), st.integers(1, 8))
def test_rings_and_runs_together_are_never_more_than_the_pipeline_allows(
    found: Outstanding, most_arrivals: int, parallelism: int
) -> None:
    answer = owed(found, most_arrivals=most_arrivals, parallelism=parallelism)
    assert answer.rings >= 0
    if answer.rings:
        assert answer.rings + found.busy + found.unanswered <= parallelism
        assert (answer.rings + found.busy + found.unanswered - 1) * most_arrivals < found.claimable


@given(outstanding(), st.integers(1, 1000), st.integers(1, 8))
def test_what_is_ready_is_always_in_somebodys_hands(found: Outstanding, most_arrivals: int, parallelism: int) -> None:
    """Whoever has arrivals due has a ring, a run, or gets one now."""
    answer = owed(found, most_arrivals=most_arrivals, parallelism=parallelism)
    if found.claimable:
        assert answer.rings + found.busy + found.unanswered + (answer.rung is not None) >= 1
        if answer.rung is None:
            wanted = min(parallelism, math.ceil(found.claimable / most_arrivals))
            assert answer.rings + found.busy + found.unanswered >= wanted


@given(outstanding())
def test_the_ladder_is_climbed_one_rung_at_a_time_and_only_when_overdue(found: Outstanding) -> None:
    answer = owed(found)
    if answer.rung is not None:
        assert found.rung is not None
        assert found.oldest_ring_age is not None
        assert answer.rung == found.rung + 1
        assert found.oldest_ring_age >= LADDER.wait(found.rung)
        assert answer.rings == 0


def test_an_idle_pipeline_is_rung_at_once() -> None:
    assert owed(waiting(1)) == Due(rings=1)


def test_a_busy_pipeline_is_not_rung_again() -> None:
    """The run claims once more before it leaves."""
    assert owed(waiting(500, busy=1)) == Due()


def test_a_fresh_ring_is_waited_for() -> None:
    assert owed(waiting(500, unanswered=1, age=9.9)) == Due()


def test_a_backlog_is_shared_by_as_many_runs_as_it_fills() -> None:
    assert owed(waiting(1001), parallelism=4) == Due(rings=2)
    assert owed(waiting(9000), parallelism=4) == Due(rings=4)
    assert owed(waiting(9000, busy=1, unanswered=1), parallelism=4) == Due(rings=2)


def test_each_rung_waits_twice_as_long_as_the_one_before() -> None:
    assert owed(waiting(1, unanswered=1, age=10)) == Due(rung=1)
    assert owed(waiting(1, unanswered=1, rung=1, age=19)) == Due()
    assert owed(waiting(1, unanswered=1, rung=1, age=20)) == Due(rung=2)


def test_an_old_ring_with_nothing_left_to_do_is_settled() -> None:
    assert owed(waiting(0, unanswered=1, age=10)) == Due(settle=True)
    assert owed(waiting(0, unanswered=1, age=9)) == Due()


def test_where_automations_brought_no_answer_the_next_run_is_dispatched_after_the_first_wait() -> None:
    usual = timedelta(seconds=0.5)
    assert LADDER.after(usual) == Ladder(answer_within=timedelta(seconds=2), again=2)
    assert LADDER.after(usual, heard=False) == Ladder(answer_within=timedelta(seconds=2), again=0)
    assert LADDER.after(None, heard=False) == Ladder(answer_within=timedelta(seconds=1), again=0)
    assert LADDER.after(None) == LADDER


@given(st.timedeltas(timedelta(milliseconds=100), timedelta(minutes=15)), st.integers(0, 10_000))
def test_waits_grow_and_end_at_the_longest(first: timedelta, rung: int) -> None:
    ladder = Ladder(answer_within=first, again=2)
    assert first <= ladder.wait(rung) <= ladder.wait(rung + 1) <= LONGEST_WAIT
