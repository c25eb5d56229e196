"""The warm processes of a worker: forked from a server that has imported Prefect, and replaced before they go stale."""

import asyncio
import multiprocessing
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

import structlog

from worker import fork_server
from worker.execution import child
from worker.execution.orders import Leave, Over
from worker.execution.warm_process import Warm

LEAVE_WITHIN = 15.0  # seconds to write logs and events; with the server away, they would try for minutes
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds before a process that died at its start is tried again

log = structlog.get_logger()


class Pool:
    """The warm processes of a worker.

    Args:
        size: how many runs there can be at the same time.
        preload: modules that all processes share; a change of these needs a new worker.
        modules: modules that each process imports when it starts; a change of these needs a new process.
        most_runs: a process is replaced after so many.
        most_memory: a process that holds more bytes after a run is replaced.
        rest: seconds after its last run that a process is replaced, unless it is the one that ran last.

    """

    def __init__(  # noqa: PLR0913 - each by its name
        self,
        *,
        size: int,
        preload: Sequence[str],
        modules: Sequence[str],
        most_runs: int,
        most_memory: int,
        rest: float,
    ) -> None:
        self._size = size
        self._modules = tuple(modules)
        self._most_runs = most_runs
        self._most_memory = most_memory
        self._rest = rest
        self._context = multiprocessing.get_context("forkserver")
        fork_server.preload(preload)
        # The one that ran last comes first: it has all in its caches. What never ran comes last.
        self._idle: asyncio.PriorityQueue[tuple[float, int, Warm]] = asyncio.PriorityQueue()
        self._all: set[Warm] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting = asyncio.Lock()
        self._pause = SHORTEST_PAUSE
        self._closed = False

    async def __aenter__(self) -> Self:
        """Have the processes started; they are warm some time later."""
        for _ in range(self._size):
            self._spawn(self._keep_one())
        self._slimming = asyncio.create_task(self._slim())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all processes."""
        self._closed = True
        self._slimming.cancel()
        for warm in list(self._all):
            self._retire(warm)
        while self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def processes(self) -> list[int]:
        """The ids of all processes, those that are leaving included."""
        return [warm.pid for warm in self._all]

    async def acquire(self) -> Warm:
        """Wait for a warm process that has nothing to do."""
        while True:
            _, _, warm = await self._idle.get()
            if warm.leaving or warm.gone.is_set():
                continue
            if not warm.is_outdated():
                return warm
            log.info("code has changed: a process is replaced", action="recycle", pid=warm.pid)
            self._retire(warm)

    def release(self, warm: Warm) -> None:
        """Give it back; it is replaced if it has done enough."""
        if warm.leaving or warm.gone.is_set():
            return
        if warm.runs >= self._most_runs or warm.memory > self._most_memory or self._closed:
            self._retire(warm)
        else:
            warm.rests_since = time.monotonic()
            self._offer(warm)

    def _offer(self, warm: Warm) -> None:
        self._idle.put_nowait((-warm.rests_since, warm.pid, warm))

    async def _slim(self) -> None:
        """Replace what was needed for a while only: a process that ran holds twice the memory of one that did not."""
        while not self._closed:
            await asyncio.sleep(self._rest / 3)
            resting = sorted((each for each in self._all if each.rests_since and not each.leaving), key=_rests_since)
            for warm in resting[:-1]:  # the one that ran last stays: the next run begins at once
                if warm.attempt is None and time.monotonic() - warm.rests_since > self._rest:
                    self._retire(warm)

    def _retire(self, warm: Warm) -> None:
        warm.send(Leave())
        self._let_go(warm)

    def _let_go(self, warm: Warm) -> None:
        """Take a process that takes nothing more out of the count, and see to it that it ends."""
        if not warm.leaving:
            warm.leaving = True
            self._spawn(self._see_off(warm))
            if not self._closed:
                self._spawn(self._keep_one())

    async def _see_off(self, warm: Warm) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(warm.gone.wait(), LEAVE_WITHIN)
        if not warm.gone.is_set():
            warm.process.kill()
            await warm.gone.wait()

    async def _keep_one(self) -> None:
        """Start a process, again and again until it is warm."""
        while not self._closed:
            warm = await self._start()
            await warm.ready.wait()
            if not warm.gone.is_set():
                self._pause = SHORTEST_PAUSE
                self._offer(warm)
                return
            log.warning("a process ended before it was warm", action="recycle", code=warm.process.exitcode)
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * 2, LONGEST_PAUSE)

    async def _start(self) -> Warm:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=child.main, args=(theirs, self._modules), name="headgate-run")
        async with self._starting:
            # The first start waits for the fork server's imports: seconds, in which the loop has other things to do.
            await asyncio.to_thread(process.start)
        theirs.close()
        warm = Warm(process, ours)
        self._all.add(warm)
        loop = asyncio.get_running_loop()
        loop.add_reader(ours.fileno(), self._hear, warm)
        loop.add_reader(process.sentinel, self._bury, warm)
        if self._closed:
            self._retire(warm)
        return warm

    def _hear(self, warm: Warm) -> None:
        try:
            self._take(warm, warm.connection.recv())
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(warm.connection.fileno())

    def _take(self, warm: Warm, over: Over) -> None:
        warm.ready.set()
        warm.memory, warm.sources = over.memory, over.sources
        if over.leaving:
            self._let_go(warm)
        attempt, warm.attempt = warm.attempt, None
        if attempt is not None:
            attempt.finish(over.code)

    def _bury(self, warm: Warm) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(warm.process.sentinel)
        loop.remove_reader(warm.connection.fileno())
        warm.process.join()
        with suppress(EOFError, OSError):
            while warm.connection.poll():  # its last words may still be in the pipe
                self._take(warm, warm.connection.recv())
        warm.connection.close()
        self._all.discard(warm)
        warm.gone.set()
        if warm.ready.is_set():
            self._let_go(warm)
        warm.ready.set()
        if warm.attempt is not None:
            warm.attempt.finish(warm.process.exitcode or 0)

    def _spawn(self, coroutine: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _rests_since(warm: Warm) -> float:
    return warm.rests_since
