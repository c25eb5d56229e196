"""Waiting: a run that has nothing left stays for the next arrival of its pipeline, unless somebody needs its place."""

import asyncio
from datetime import timedelta
from time import monotonic

from headgate.app import App
from headgate.crashpoint import crashpoint
from headgate.execution import room
from headgate.flows.rhythm import Rhythm

TURN = 0.1  # seconds between two looks whether somebody needs the place
LOOK_AGAIN = 1.0  # seconds until what came due by itself is looked for, and what nobody told of


class Waiting:
    """Where a run waits.

    Args:
        app: says how long, and whether the worker drains.
        pipeline: whose arrivals.
        rhythm: of these.

    """

    def __init__(self, app: App, pipeline: str, rhythm: Rhythm) -> None:
        self._app = app
        self._pipeline = pipeline
        self._rhythm = rhythm
        self._loop = asyncio.get_running_loop()
        self._heard = asyncio.Event()
        self._until = monotonic() + app.settings.worker.stream_seconds

    @property
    def over(self) -> bool:
        """Whether the run should end, even if more is there: it took its time, or somebody needs its place."""
        return monotonic() >= self._until or room.is_asked() or self.drains

    @property
    def drains(self) -> bool:
        """Whether the worker of this run is being stopped."""
        return self._app.settings.draining.exists()

    def hear(self, pipeline: str) -> None:
        """Be told, from any thread, that something arrived; "" if that may have been missed."""
        if pipeline in {self._pipeline, ""}:
            self._loop.call_soon_threadsafe(self._heard.set)

    async def for_next(self, longest: timedelta) -> bool:
        """Wait for the next arrival; whether there may be one.

        Args:
            longest: how long at most.

        """
        now = monotonic()
        until = min(now + longest.total_seconds(), self._until)
        look = now + LOOK_AGAIN
        while not self.over:
            try:
                async with asyncio.timeout(min(TURN, max(0.0, until - monotonic()))):
                    await self._heard.wait()
            except TimeoutError:
                crashpoint("run.waits")
                if monotonic() >= until:
                    return False
                if monotonic() >= look:
                    return True
            else:
                self._heard.clear()
                return True
        return False
