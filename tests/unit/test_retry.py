"""When a failed arrival is tried again."""

from datetime import timedelta

from headgate.ledger.retry_delay import delay_after
from headgate.pipeline import Retry
from hypothesis import given
from hypothesis import strategies as st

POLICIES = st.builds(
    lambda attempts, first, more: Retry(attempts, first, first + more),
    st.integers(1, 100),
    st.timedeltas(timedelta(milliseconds=1), timedelta(days=1)),
    st.timedeltas(timedelta(0), timedelta(days=30)),
)


@given(POLICIES, st.integers(1, 200))
def test_the_attempts_are_used_up_at_the_last_one_and_never_before(policy: Retry, attempt: int) -> None:
    assert (delay_after(attempt, policy) is None) == (attempt >= policy.attempts)


@given(POLICIES, st.integers(1, 99), st.floats(0, 1))
def test_a_wait_is_between_the_half_and_the_whole_of_its_step(policy: Retry, attempt: int, jitter: float) -> None:
    delay, whole = delay_after(attempt, policy, jitter=jitter), delay_after(attempt, policy, jitter=0)
    if delay is None or whole is None:
        assert attempt >= policy.attempts
        return
    assert whole / 2 - timedelta(microseconds=1) <= delay <= whole <= policy.longest_delay
    assert delay > timedelta(0) or policy.first_delay < timedelta(microseconds=2)


@given(POLICIES, st.integers(1, 98))
def test_waits_double_until_they_are_as_long_as_they_may_be(policy: Retry, attempt: int) -> None:
    now, later = delay_after(attempt, policy, jitter=0), delay_after(attempt + 1, policy, jitter=0)
    if now is not None and later is not None and attempt <= 20:
        assert later == min(now * 2, policy.longest_delay)


def test_waits_without_jitter_are_as_declared() -> None:
    policy = Retry(attempts=6, first_delay=timedelta(seconds=10), longest_delay=timedelta(seconds=60))
    waits = [delay_after(attempt, policy, jitter=0) for attempt in range(1, 7)]
    assert [None if wait is None else wait.total_seconds() for wait in waits] == [10, 20, 40, 60, 60, None]


def test_arrivals_that_failed_together_do_not_come_back_together() -> None:
    assert len({delay_after(1, Retry()) for _ in range(20)}) > 1
