"""The listener is killed: no file is lost, none becomes two arrivals, and the next finishes what it had in hand."""

import random
import signal

import pytest
from harness import wait_until
from road import Road, ended

pytest_plugins = ["chaos_fixtures"]


@pytest.mark.parametrize("point", ["intake.after-take", "intake.before-open", "intake.after-open"])
def test_a_listener_that_is_killed_anywhere_neither_loses_nor_repeats_a_file(road: Road, point: str) -> None:
    road.declare("pipeline('inbox')")
    road.drop("inbox", files=3)
    assert ended(road.start("listen", env={"HEADGATE_CRASHPOINT": point})) == -signal.SIGKILL
    assert not list(road.stand.inbox.glob("inbox/*.csv")), "it was to die with files in hand"
    assert len(road.stand.arrivals()) == (3 if point == "intake.after-open" else 0)
    road.drop("inbox", files=2)
    road.take_in()
    assert road.run("inbox") == 0
    road.check()


def test_a_listener_that_is_killed_again_and_again_while_files_are_dropped_loses_none(road: Road) -> None:
    road.declare("pipeline('burst')")
    chosen = random.Random(7)  # noqa: S311 - the same moments each time
    for _ in range(4):
        before = len(road.stand.arrivals())
        listener = road.start("listen")
        road.drop("burst", files=20, rows=3, bad_every=0)
        wanted = before + chosen.randint(1, 10)
        wait_until(lambda wanted=wanted: len(road.stand.arrivals()) >= wanted, every=0.005)  # type: ignore[misc]
        listener.kill()
        assert ended(listener) == -signal.SIGKILL
    road.take_in()
    assert road.run("burst") == 0
    road.check()
