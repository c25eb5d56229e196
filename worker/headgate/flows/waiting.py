"""Waiting: a run with nothing left waits for its pipeline's next arrival, unless another run needs its place."""

import asyncio
from datetime import timedelta
from time import monotonic

from headgate.app import App
from headgate.crashpoint import crashpoint
from headgate.execution import room
from headgate.flows.rhythm import Rhythm

TURN = 0.1  # seconds between two checks whether another run needs the place
LOOK_AGAIN = 1.0  # seconds until the ledger is asked again, for arrivals that became due or were not notified


class Waiting:
    """Waits for a run's next arrival.

    Args:
        app: its settings say how long a run may take, and whether the worker drains.
        pipeline: the pipeline's name.
        rhythm: of the pipeline's arrivals.

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
        """Whether the run should end even if there is more: its time is up, or another run needs its place."""
        return monotonic() >= self._until or room.is_asked() or self.drains

    @property
    def drains(self) -> bool:
        """Whether the worker of this run is being stopped."""
        return self._app.settings.draining.exists()

    def hear(self, pipeline: str) -> None:
        """Note, from any thread, that something arrived for a pipeline; "" means that notifications may be lost."""
        if pipeline in {self._pipeline, ""}:
            self._loop.call_soon_threadsafe(self._heard.set)

    async def for_next(self, longest: timedelta) -> bool:
        """Wait for the next arrival; return whether there may be one.

        Args:
            longest: the longest time to wait.

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
