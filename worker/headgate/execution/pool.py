"""The warm processes of a worker: forked from a server that has imported Prefect, and replaced before they go stale."""

import asyncio
import multiprocessing
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

import structlog

from headgate.execution import child
from headgate.execution.orders import Leave, Over
from headgate.execution.warm_process import Warm
from headgate.forking import fork_server

LEAVE_WITHIN = 15.0  # seconds to write logs and events; with the server unavailable, they would try for minutes
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds before a process that died while starting is replaced

log = structlog.get_logger()


class Pool:
    """The warm processes of a worker.

    Args:
        size: the maximum number of concurrent runs.
        preload: modules that all processes share; a change to them needs a new worker.
        modules: modules that each process imports when it starts; a change to them needs a new process.
        most_runs: replace a process after this many runs.
        most_memory: replace a process that holds more than this many bytes after a run.
        rest: replace a process this many seconds after its last run, unless it is the most recently used one.

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
        fork_server.preload(preload)
        # The most recently used process comes first, because its caches are full. Processes that never ran come last.
        self._idle: asyncio.PriorityQueue[tuple[float, int, Warm]] = asyncio.PriorityQueue()
        self._all: set[Warm] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pause = SHORTEST_PAUSE
        self._closed = False

    async def __aenter__(self) -> Self:
        """Begin to start the processes; they become warm some time later."""
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
        """Return the ids of all processes, including those that are leaving."""
        return [warm.pid for warm in self._all]

    async def acquire(self) -> Warm:
        """Wait for an idle warm process and return it."""
        while True:
            _, _, warm = await self._idle.get()
            if warm.leaving or warm.gone.is_set():
                continue
            if not warm.is_outdated():
                return warm
            log.info("code has changed: a process is replaced", action="recycle", pid=warm.pid)
            self._retire(warm)

    def release(self, warm: Warm) -> None:
        """Give a process back; replace it if it has reached one of its limits."""
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
        """Replace processes that a short peak needed: a used process holds twice the memory of an unused one."""
        while not self._closed:
            await asyncio.sleep(self._rest / 3)
            resting = sorted((each for each in self._all if each.rests_since and not each.leaving), key=_rests_since)
            for warm in resting[:-1]:  # the most recently used one stays, so that the next run begins at once
                if warm.executed is None and time.monotonic() - warm.rests_since > self._rest:
                    self._retire(warm)

    def _retire(self, warm: Warm) -> None:
        warm.send(Leave())
        self._let_go(warm)

    def _let_go(self, warm: Warm) -> None:
        """Stop counting a process that takes no more runs, and make sure that it ends."""
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
        """Start a process, and retry until one is warm."""
        while not self._closed:
            try:
                warm = await self._start()
            except (OSError, EOFError) as error:  # the next try makes another fork server
                log.warning("no process can be forked", action="recycle", error=str(error))
            else:
                await warm.ready.wait()
                if not warm.gone.is_set():
                    self._pause = SHORTEST_PAUSE
                    self._offer(warm)
                    return
                log.warning("a process ended before it was warm", action="recycle", code=warm.code)
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * 2, LONGEST_PAUSE)

    async def _start(self) -> Warm:
        ours, theirs = multiprocessing.Pipe()
        try:
            with theirs:
                process = await fork_server.fork(child.main, self._modules, descriptors=[theirs.fileno()])
        except BaseException:
            ours.close()
            raise
        warm = Warm(process, ours)
        self._all.add(warm)
        asyncio.get_running_loop().add_reader(ours.fileno(), self._hear, warm)
        self._spawn(self._see_out(warm))
        if self._closed:
            self._retire(warm)
        return warm

    def _hear(self, warm: Warm) -> None:
        try:
            self._take(warm, warm.connection.recv())
        except (EOFError, OSError):  # it is ending: its process descriptor reports when it has
            asyncio.get_running_loop().remove_reader(warm.connection.fileno())

    def _take(self, warm: Warm, over: Over) -> None:
        warm.ready.set()
        warm.memory, warm.sources = over.memory, over.sources
        if over.leaving:
            self._let_go(warm)
        executed, warm.executed = warm.executed, None
        if executed is not None:
            executed.finish(over.code)

    async def _see_out(self, warm: Warm) -> None:
        """Wait for the end of a process, read its last messages, and notify those who wait for it."""
        warm.code = await warm.process.wait()
        self._all.discard(warm)
        asyncio.get_running_loop().remove_reader(warm.connection.fileno())
        with suppress(EOFError, OSError):
            while warm.connection.poll():
                self._take(warm, warm.connection.recv())
        warm.connection.close()
        warm.gone.set()
        if warm.ready.is_set():
            self._let_go(warm)
        warm.ready.set()
        if warm.executed is not None:
            warm.executed.finish(warm.code)

    def _spawn(self, coroutine: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _rests_since(warm: Warm) -> float:
    return warm.rests_since
