"""The values that travel the road."""

from dataclasses import FrozenInstanceError

import pytest
from headgate.errors import ArrivalRejected, BadPipeline, Fenced, Misuse, Permanent, SinkUnavailable, Transient
from headgate.model import Claim, ClaimedArrival, Fault, Reason, State


def held(size: int) -> ClaimedArrival:
    return ClaimedArrival(1, 1, 1, "in", "a.csv", b"a.csv", None, size, b"", 0)


def test_four_states_are_terminal() -> None:
    assert {state for state in State if state.terminal} == {
        State.DONE,
        State.REJECTED,
        State.DUPLICATE,
        State.SKIPPED,
    }


def test_the_size_of_a_claim_is_that_of_all_its_arrivals() -> None:
    assert Claim("orders", "run", (held(3), held(4))).size == 7
    assert Claim("orders", "run", ()).size == 0


def test_values_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Fault("rule", None, None).rule = "other"  # type: ignore[misc]


def test_reasons_are_stable_words() -> None:
    """Tools count and filter by them."""
    assert all(reason.value == reason.name.lower().replace("_", "-") for reason in Reason)


def test_a_rejection_says_reason_and_sentence() -> None:
    error = ArrivalRejected(Reason.EMPTY, "no bytes in it")
    assert str(error) == "empty: no bytes in it"
    assert (error.reason, error.detail) == ("empty", "no bytes in it")


def test_what_is_worth_another_attempt_is_told_by_its_branch() -> None:
    assert issubclass(SinkUnavailable, Transient)
    assert issubclass(ArrivalRejected, Permanent)
    assert issubclass(BadPipeline, Misuse)
    assert not issubclass(Fenced, Transient | Permanent | Misuse)
