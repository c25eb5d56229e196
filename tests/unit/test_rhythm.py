"""Whether a run waits for the next arrival, by the times between those before."""

from datetime import UTC, datetime, timedelta

import pytest
from headgate.flows.rhythm import LEAST, Rhythm

IDLE = timedelta(seconds=5)
START = datetime(2026, 1, 1, tzinfo=UTC)
NOT_AT_ALL = timedelta(0)


def at(*seconds: float) -> list[datetime]:
    return [START + timedelta(seconds=each) for each in seconds]


def test_a_single_drop_is_not_waited_behind() -> None:
    rhythm = Rhythm(None)
    rhythm.add(at(0), IDLE)
    assert rhythm.patience(IDLE) == NOT_AT_ALL


def test_a_drop_long_after_the_last_one_is_single() -> None:
    rhythm = Rhythm(START - timedelta(minutes=1))
    rhythm.add(at(0), IDLE)
    assert rhythm.patience(IDLE) == NOT_AT_ALL


def test_many_at_once_after_a_pause_are_no_stream() -> None:
    rhythm = Rhythm(START - timedelta(minutes=1))
    rhythm.add(at(0, 0, 0.1, 0.1), IDLE)
    assert rhythm.patience(IDLE) == NOT_AT_ALL


@pytest.mark.parametrize("gap", [0.01, 0.2, 1, 3, 4.9])
def test_a_drop_soon_after_the_last_one_makes_a_stream(gap: float) -> None:
    """Whether an earlier run worked on the last one, or this one."""
    of_another = Rhythm(START)
    of_another.add(at(gap), IDLE)
    of_this = Rhythm(None)
    of_this.add(at(0), IDLE)
    of_this.add(at(gap), IDLE)
    assert of_another.patience(IDLE) == of_this.patience(IDLE)
    assert max(LEAST, timedelta(seconds=gap)) <= of_this.patience(IDLE) <= IDLE


def test_one_long_gap_does_not_end_a_quick_stream() -> None:
    rhythm = Rhythm(None)
    for second in (0, 1, 2, 3, 7):
        rhythm.add(at(second), IDLE)
    assert rhythm.patience(IDLE) == IDLE


def test_gaps_longer_than_a_run_may_wait_are_not_waited_for() -> None:
    rhythm = Rhythm(None)
    for second in (0, 6, 12, 18):
        rhythm.add(at(second), IDLE)
    assert rhythm.patience(IDLE) == NOT_AT_ALL


def test_nobody_waits_where_it_is_switched_off() -> None:
    rhythm = Rhythm(START)
    rhythm.add(at(0.1), NOT_AT_ALL)
    assert rhythm.patience(NOT_AT_ALL) == NOT_AT_ALL


def test_another_attempt_at_what_came_long_ago_makes_no_stream() -> None:
    """A run died a moment ago: what it had claimed came before it."""
    rhythm = Rhythm(START)
    rhythm.add(at(-3), IDLE)
    assert rhythm.last == START
    assert rhythm.patience(IDLE) == NOT_AT_ALL


def test_a_claim_of_nothing_says_nothing() -> None:
    rhythm = Rhythm(None)
    rhythm.add([], IDLE)
    assert rhythm.last is None
