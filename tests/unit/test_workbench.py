"""Stages of a run begin at once: each waits for the one before, and none for one that cannot come."""

import asyncio
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from worker.app import App
from worker.flows.workbench import Workbench
from worker.model import Claim, Stage
from worker.pipeline import Pipeline
from worker.sinks.postgres import PostgresSink


@pytest.fixture
def bench() -> Workbench:
    """A workbench with nothing on it."""
    nothing = None
    return Workbench(
        cast("App", nothing), cast("Pipeline", nothing), Claim("p", "h", ()), Path(), cast("PostgresSink", nothing)
    )


async def test_a_stage_whose_subflow_could_not_begin_holds_nobody_up(bench: Workbench) -> None:
    """The Prefect server may refuse, or be away, when it is told of a subflow."""

    async def refused() -> None:
        raise ConnectionError

    async def next_one() -> bool:
        return await bench.after(Stage.PARSE, Stage.ENRICH)

    waiting = asyncio.create_task(next_one())
    with pytest.raises(ConnectionError):
        await bench.see_through(Stage.PARSE, refused())
    assert await asyncio.wait_for(waiting, 5) is False


@pytest.mark.parametrize("first", ["head start", "task"])
async def test_a_unit_of_work_is_done_once_whoever_comes_first(bench: Workbench, first: str) -> None:
    """Parsing a larger file takes longer than Prefect takes to be told; so the task can be there before."""
    done: list[int] = []

    def work() -> int:
        done.append(0)
        return len(done)

    ahead, task = partial(bench.begin, Stage.ENRICH, 0, work), partial(bench.do, Stage.ENRICH, 0, work)
    found = await asyncio.gather(*([ahead(), task()] if first == "head start" else [task(), ahead()]))
    assert found == [1, 1]
    await ahead()
    assert done == [0]


async def test_what_went_wrong_ahead_is_met_by_the_task_and_tried_again_by_the_next(bench: Workbench) -> None:
    def fails() -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await bench.begin(Stage.PERSIST, 0, fails)
    with pytest.raises(ConnectionError):
        await bench.do(Stage.PERSIST, 0, lambda: None)
    await bench.do(Stage.PERSIST, 0, lambda: None)
