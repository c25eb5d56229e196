"""The warm processes of a worker: forked from a server that has imported Prefect, and replaced before they go stale."""

import asyncio
import multiprocessing
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from worker.execution import child, fork_server
from worker.execution.attempt import Attempt
from worker.execution.orders import Leave, Order, Over, Run, Stop

LEAVE_WITHIN = 15.0  # seconds to write logs and events; with the server away, they would try for minutes
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds before a process that died at its start is tried again

log = structlog.get_logger()


@dataclass(eq=False)
class Warm:
    """A warm process, as its worker sees it."""

    process: ForkServerProcess
    connection: Connection
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    attempt: Attempt | None = None
    leaving: bool = False
    runs: int = 0
    memory: int = 0  # bytes, after the last run
    sources: Mapping[str, int] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid or 0

    def send(self, order: Order) -> None:
        """Say something to it; one that is gone hears nothing."""
        with suppress(OSError):
            self.connection.send(order)

    def begin(self, order: Order) -> Attempt:
        """Order something; the attempt tells when it is over."""
        self.runs += isinstance(order, Run)
        self.attempt = Attempt(pid=self.pid, ask=lambda: self.send(Stop()))
        self.send(order)
        return self.attempt

    def is_outdated(self) -> bool:
        """Whether a module that it has imported was changed since."""
        return any(_changed_at(file) != changed for file, changed in self.sources.items())


class Pool:
    """The warm processes of a worker.

    Args:
        size: how many runs there can be at the same time.
        preload: modules that all processes share; a change of these needs a new worker.
        modules: modules that each process imports when it starts; a change of these needs a new process.
        most_runs: a process is replaced after so many.
        most_memory: a process that holds more bytes after a run is replaced.

    """

    def __init__(
        self, *, size: int, preload: Sequence[str], modules: Sequence[str], most_runs: int, most_memory: int
    ) -> None:
        self._size = size
        self._modules = tuple(modules)
        self._most_runs = most_runs
        self._most_memory = most_memory
        self._context = multiprocessing.get_context("forkserver")
        fork_server.preload(preload)
        self._idle: asyncio.LifoQueue[Warm] = asyncio.LifoQueue()  # the one that ran last has all in its caches
        self._all: set[Warm] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting = asyncio.Lock()
        self._pause = SHORTEST_PAUSE
        self._closed = False

    async def __aenter__(self) -> Self:
        """Have the processes started; they are warm some time later."""
        for _ in range(self._size):
            self._spawn(self._keep_one())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all processes."""
        self._closed = True
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
            warm = await self._idle.get()
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
            self._idle.put_nowait(warm)

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
                self._idle.put_nowait(warm)
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


def _changed_at(file: str) -> int | None:
    try:
        return Path(file).stat().st_mtime_ns
    except OSError:
        return None
