"""One flow run in one warm process."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress

# Time between the request over the pipe and SIGTERM: a flow that is busy in plain code does not read the pipe.
ASK_FOR = 3.0  # seconds

# Whoever hands the run back sets its state; no exit code may make it Crashed.
HANDED_BACK = 0


class ExecutedRun:
    """One flow run in one warm process.

    Args:
        pid: the id of the process.
        ask: asks the process over the pipe to end the run.

    """

    def __init__(self, *, pid: int, ask: Callable[[], None]) -> None:
        self.pid = pid
        self.returncode: int | None = None  # Prefect reads it: it takes this object for a process
        self.handed_back = False
        self.over = asyncio.Event()
        self._ask = ask

    def finish(self, code: int) -> None:
        """Tell those who wait that the run is over.

        Args:
            code: the exit code that a separate process would have had.

        """
        if not self.over.is_set():
            self.returncode = HANDED_BACK if self.handed_back else code
            self.over.set()

    async def end(self, grace: float) -> None:
        """End the run: ask, then SIGTERM, then SIGKILL.

        Args:
            grace: seconds until SIGKILL.

        """
        self._ask()
        if await self._is_over_within(min(ASK_FOR, grace)):
            return
        self._signal(signal.SIGTERM)
        if await self._is_over_within(max(grace - ASK_FOR, 0)):
            return
        self.kill()
        await self.over.wait()

    def kill(self) -> None:
        """End the run at once by killing its process."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        # Never signal a process that has moved on to another run; the worker calls `finish` when a run is over.
        if not self.over.is_set():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def _is_over_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), seconds)
        return self.over.is_set()
