"""The course of a claim: each unit of work is done once and in order, and who shows it sees what came of it."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial

import pytest
from headgate.errors import BadPipeline, KafkaUnavailable, LedgerUnavailable
from headgate.flows.course import Course


def fails(error: Exception) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


async def test_a_step_gives_what_its_units_gave_in_their_order() -> None:
    course = Course()
    assert await course.do("parse", [partial(int, number) for number in range(5)], at_once=3) == [0, 1, 2, 3, 4]
    assert await course.units("parse") == 5
    for number in range(5):
        await course.outcome("parse", number)


async def test_units_begin_one_after_the_other_unless_more_are_allowed_at_once() -> None:
    at_work, most = 0, 0
    lock = threading.Lock()
    met = threading.Barrier(2)

    def work(*, meet: bool) -> None:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        if meet:
            met.wait(10)
        with lock:
            at_work -= 1

    await Course().do("persist", [partial(work, meet=False)] * 4)
    assert most == 1
    await Course().do("enrich", [partial(work, meet=True)] * 4, at_once=2)
    assert most == 2


async def test_who_shows_a_step_may_come_first_and_waits_for_it() -> None:
    course, go_on = Course(), threading.Event()

    async def shown() -> int:
        units = await course.units("parse")
        await course.outcome("parse", 0)
        return units

    showing = asyncio.create_task(shown())
    working = asyncio.create_task(course.do("parse", [partial(go_on.wait, 10)]))
    await asyncio.sleep(0)
    assert not showing.done()
    go_on.set()
    assert await working == [True]
    assert await showing == 1


async def test_what_fails_for_a_moment_is_tried_again_within_the_run() -> None:
    tries: list[int] = []

    def work() -> str:
        tries.append(0)
        if len(tries) < 3:
            raise LedgerUnavailable("not now")
        return "done"

    course = Course(again_after=(0, 0, 0))
    assert await course.do("persist", [work]) == ["done"]
    await course.outcome("persist", 0)
    assert len(tries) == 3


@pytest.mark.parametrize("error", [BadPipeline("never"), KafkaUnavailable("its client has waited")])
async def test_what_no_other_try_helps_fails_at_once_for_who_works_and_for_who_shows(error: Exception) -> None:
    course = Course(again_after=(60,))
    with pytest.raises(type(error)):
        await course.do("parse", [fails(error)])
    with pytest.raises(type(error)):
        await course.outcome("parse", 0)
    assert course.failed_with(error)
    assert not course.failed_with(BadPipeline("another"))


async def test_after_a_unit_has_failed_no_other_begins_and_those_at_work_end_first() -> None:
    begun: list[str] = []
    failed = threading.Event()

    def first() -> None:
        begun.append("first")
        failed.set()
        raise BadPipeline("broken")

    def second() -> None:
        assert failed.wait(10)
        begun.append("second")

    def third() -> None:
        begun.append("third")

    course = Course()
    with pytest.raises(BadPipeline):
        await course.do("parse", [first, second, third], at_once=2)
    assert begun == ["first", "second"]
    await course.outcome("parse", 1)
    with pytest.raises(BadPipeline):
        await course.outcome("parse", 2)


async def test_a_step_that_never_begins_holds_nobody_up() -> None:
    course = Course()
    showing = [asyncio.create_task(course.units("enrich")), asyncio.create_task(course.units("persist"))]
    course.skip("enrich", "there is nothing to add")
    course.end()
    assert await asyncio.gather(*showing) == [0, 0]
    assert course.skipped("enrich") == "there is nothing to add"
    assert course.skipped("persist") == "A stage before has failed."
    assert course.skipped("parse")
