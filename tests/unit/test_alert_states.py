"""An alert tells once when it breaks, is quiet while it stays broken, and tells once when it heals."""

import itertools
from datetime import UTC, datetime

import pytest
from headgate.errors import BadPipeline
from headgate.operations.alert_states import Key, Reading, Transition, decide
from headgate.pipeline import DeadLetterShare, DiskAlmostFull, SourceSilent, Waiting, WorkerGone
from headgate.pipeline.alerts import checked
from hypothesis import given
from hypothesis import strategies as st

KEY, NOW = Key("orders", "waiting"), datetime(2026, 5, 1, tzinfo=UTC)
READINGS = st.lists(st.sampled_from([True, False, None]), max_size=30)


def told(readings: list[bool | None]) -> list[Transition]:
    """What is told of one alert, look after look."""
    state: dict[Key, datetime | None] = {KEY: None}
    said = []
    for broken in readings:
        for change in decide(state, {KEY: Reading(broken, "a sentence")}):
            state[KEY] = NOW if change.became == "broken" else None
            said.append(change)
    return said


def test_it_tells_when_it_breaks_and_when_it_heals_and_nothing_in_between() -> None:
    became = [change.became for change in told([False, True, True, None, True, False, False, True])]
    assert became == ["broken", "healed", "broken"]
    assert told([None, None]) == []


@given(READINGS)
def test_what_is_told_alternates_and_ends_with_what_is_the_case(readings: list[bool | None]) -> None:
    said = [change.became for change in told(readings)]
    assert said[:1] in ([], ["broken"])
    assert all(before != after for before, after in itertools.pairwise(said))
    known = [broken for broken in readings if broken is not None]
    assert (said[-1:] == ["broken"]) == (known[-1:] == [True])


def test_one_that_was_never_seen_before_tells_that_it_is_broken() -> None:
    assert [change.became for change in decide({}, {KEY: Reading(broken=True, detail="so")})] == ["broken"]
    assert decide({}, {KEY: Reading(broken=False, detail="so")}) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SourceSilent("a day"), r"SourceSilent\(longer='a day'\): write a span of time above 0"),
        (lambda: Waiting("0s"), "above 0"),
        (lambda: Waiting(5), "above 0"),  # type: ignore[arg-type]
        (lambda: DeadLetterShare(5), "write a share from 0 to 1"),
        (lambda: DiskAlmostFull(90), "write a share from 0 to 1"),
        (lambda: WorkerGone(blocks=("ops",)), "write a tuple of <type>/<name>"),
        (lambda: checked("X", [WorkerGone(), WorkerGone()]), "two alerts of one kind"),
        (lambda: checked("X", ["WorkerGone"]), "'WorkerGone' is not an alert"),
    ],
)
def test_an_alert_that_cannot_work_is_refused_when_it_is_declared(make: object, message: str) -> None:
    with pytest.raises(BadPipeline, match=message):
        make()  # type: ignore[operator]
