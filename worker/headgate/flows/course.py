"""The course of one claim: the work records what begins and how it ends, and the subflows in the UI wait for that.

So the work never waits for Prefect, and Prefect shows what really took place.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar, get_args

import structlog

from headgate.errors import KafkaUnavailable, Transient

Step = Literal["parse", "references", "enrich", "persist"]
T = TypeVar("T")

# Seconds between tries within a run. If they all fail, the ledger retries later, and the lease is given back meanwhile.
TRY_AGAIN_AFTER = (0.5, 2.0, 5.0)

log = structlog.get_logger()


@dataclass(slots=True)
class _Unit:
    """One unit of work of a step."""

    over: asyncio.Event = field(default_factory=asyncio.Event)
    error: BaseException | None = None

    def end(self, error: BaseException | None = None) -> None:
        if not self.over.is_set():
            self.error = error
            self.over.set()


@dataclass(slots=True)
class _Units:
    """The units of a step, once it has begun."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    all: list[_Unit] = field(default_factory=list)
    skipped: str = ""  # why it has none


class Course:
    """The progress of one claim, step by step.

    The code that works calls `do`, `skip` and, at last, `end`. The code that shows it calls `units`, `outcome` and
    `skipped`.
    """

    def __init__(self, again_after: Sequence[float] = TRY_AGAIN_AFTER) -> None:
        self._steps: dict[Step, _Units] = {step: _Units() for step in get_args(Step)}
        self._again_after = again_after

    async def do(self, step: Step, works: Sequence[Callable[[], T]], *, at_once: int = 1) -> list[T]:
        """Do the units of a step, each in a thread; they begin in the given order.

        Args:
            step: the step.
            works: the units; one that fails for a transient reason is tried again.
            at_once: how many units may run at the same time.

        Returns:
            The result of each unit, in order.

        Raises:
            Exception: the error of the first unit that failed, once no other unit is running; the rest never begin.

        """
        units = [_Unit() for _ in works]
        self._steps[step].all = units
        self._steps[step].begun.set()
        room = asyncio.Semaphore(at_once)
        failed: list[BaseException] = []

        async def one(unit: _Unit, work: Callable[[], T]) -> T:
            async with room:
                if failed:
                    raise failed[0]
                try:
                    gave = await self._patiently(step, work)
                except BaseException as error:
                    failed.append(error)
                    raise
                unit.end()
                return gave

        try:
            found = await asyncio.gather(*map(one, units, works), return_exceptions=True)
        finally:
            for unit in units:
                unit.end(failed[0] if failed else None)
        if failed:
            raise failed[0]
        return [each for each in found if not isinstance(each, BaseException)]

    async def _patiently(self, step: Step, work: Callable[[], T]) -> T:
        for wait in self._again_after:
            try:
                return await asyncio.to_thread(work)
            except KafkaUnavailable:
                raise  # the Kafka client has already waited; files in the claim must not wait any longer
            except Transient as error:
                log.warning("tried again within the run", action=step, error=str(error), next_try_seconds=wait)
                await asyncio.sleep(wait)
        return await asyncio.to_thread(work)

    def skip(self, step: Step, why: str) -> None:
        """Record that a step has nothing to do."""
        if not self._steps[step].begun.is_set():
            self._steps[step].skipped = why
            self._steps[step].begun.set()

    def end(self) -> None:
        """Record that no further step will begin."""
        for step in self._steps:
            self.skip(step, "A stage before has failed.")

    async def units(self, step: Step) -> int:
        """Wait until a step has begun; return how many units of work it has."""
        await self._steps[step].begun.wait()
        return len(self._steps[step].all)

    async def outcome(self, step: Step, number: int) -> None:
        """Wait until a unit of work is over.

        Raises:
            Exception: the error it failed with.

        """
        unit = self._steps[step].all[number]
        await unit.over.wait()
        if unit.error is not None:
            raise unit.error

    def failed_with(self, error: BaseException) -> bool:
        """Return whether a unit of work failed with this error."""
        return any(unit.error is error for units in self._steps.values() for unit in units.all)

    def skipped(self, step: Step) -> str:
        """Return why a step that has begun has nothing to do; empty if it has work."""
        return self._steps[step].skipped
