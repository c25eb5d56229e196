"""Start children in order, keep them running, stop them in reverse.

A child runs in a session of its own, so that a terminal's Ctrl-C reaches this process alone, which then stops the
children one after the other. It writes straight into its log file, not through us: a child that outlives us for a
moment must not die of a broken pipe.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import structlog

from worker.embedded import warden
from worker.embedded.child import Child
from worker.embedded.process import Process, execute, fork
from worker.errors import HeadgateError

logger = structlog.get_logger()

READY_POLL = 0.05  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before a dead child is started again; doubles
STEADY = 60.0  # seconds; a child that stayed up so long begins with the first pause again


@dataclass(frozen=True, slots=True)
class Status:
    """How a child is doing."""

    name: str
    pid: int
    restarts: int
    since: datetime  # when this process of it was started


@dataclass(slots=True)
class _Running:
    """A child, and the process it is at the moment."""

    child: Child
    process: Process
    restarts: int = 0
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    keeper: asyncio.Task[None] | None = None


class Supervisor:
    """Starts children, starts them again when they die, and stops them.

    Args:
        on_restart: called with the child's name, its exit code and the pause in seconds before it is started again.
        on_line: called with the child's name and each new line of its log, for display.
        holding: a file descriptor that stays open until the last child is gone, whatever happens to this process.
        forks: whether a fork server was started, for the children that share what it has imported.

    """

    def __init__(
        self,
        *,
        on_restart: Callable[[str, int, float], None] | None = None,
        on_line: Callable[[str, str], None] | None = None,
        holding: int | None = None,
        forks: bool = False,
    ) -> None:
        self._on_restart = on_restart
        self._on_line = on_line
        self._holding = () if holding is None else (holding,)
        self._forks = forks
        self._running: list[_Running] = []
        self._display: set[asyncio.Task[None]] = set()
        self._groups: dict[int, asyncio.Task[None]] = {}
        self._warden: subprocess.Popen[str] | None = None

    async def __aenter__(self) -> Self:
        """Start the warden, which ends the children if this process is killed."""
        self._warden = subprocess.Popen(  # noqa: S603 ASYNC220 - our own script; nothing else runs yet
            [sys.executable, "-I", "-S", warden.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            pass_fds=self._holding,
            env={},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop what still runs."""
        await self.stop()

    def status(self) -> list[Status]:
        """How each child is doing, in the order they were started."""
        return [Status(one.child.name, one.process.pid, one.restarts, one.since) for one in self._running]

    async def start(self, child: Child) -> None:
        """Start a child and return once it is ready; from then on it is kept running.

        Raises:
            HeadgateError: it ended, or was not ready in time; the text ends with the last lines of its log.

        """
        began = child.open_log()
        running = _Running(child, await self._spawn(child))
        try:
            await _until_ready(running, began)
        except BaseException:
            await self._end(running)
            raise
        self._running.append(running)
        running.keeper = asyncio.create_task(self._keep(running), name=f"keep {child.name}")
        if self._on_line is not None:
            self._display.add(asyncio.create_task(_follow(child, began, self._on_line), name=f"show {child.name}"))

    async def run(self, child: Child) -> tuple[int, str]:
        """Run a child to its end; its exit code, and what it wrote.

        Raises:
            HeadgateError: it cannot be started.

        """
        began = child.open_log()
        process = await self._spawn(child)
        return await process.wait(), child.words(began)

    async def stop(self) -> None:
        """Stop all children, the highest tier first and in each the last started, and return once they are gone."""
        self._running.sort(key=lambda running: running.child.tier)
        while self._running:
            running = self._running.pop()
            if running.keeper is not None:
                running.keeper.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running.keeper
            await self._end(running)
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        await asyncio.gather(*self._groups.values())
        for task in self._display:
            task.cancel()
        await asyncio.gather(*self._display, return_exceptions=True)
        self._display.clear()
        if self._warden is not None and self._warden.stdin is not None:
            self._warden.stdin.close()
            await asyncio.to_thread(self._warden.wait)

    async def _spawn(self, child: Child) -> Process:
        process = await (fork(child) if self._forks and child.shares else execute(child))
        self._tell("started", process.pid, child.stop_signal, child.grace, child.tier)
        self._groups[process.pid] = asyncio.create_task(self._clear(child, process), name=f"clear {child.name}")
        return process

    async def _clear(self, child: Child, process: Process) -> None:
        """Give what a child leaves running when it ends its grace to finish; then it is killed."""
        await process.wait()
        await asyncio.to_thread(warden.end_group, process.pid, None, child.grace)
        self._tell("ended", process.pid)
        del self._groups[process.pid]

    async def _keep(self, running: _Running) -> None:
        """Start the child again whenever it dies, after a pause that grows while it keeps dying."""
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            code = await running.process.wait()
            if time.monotonic() - began > STEADY:
                pause = FIRST_PAUSE
            logger.warning(
                "A child died and is started again.", action="restart", child=running.child.name, code=code, pause=pause
            )
            if self._on_restart is not None:
                self._on_restart(running.child.name, code, pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            try:
                running.process = await self._spawn(running.child)
            except HeadgateError as error:  # the next round finds it still dead, and waits longer
                logger.warning("A child cannot be started.", action="restart", child=running.child.name, error=error)
            else:
                running.restarts += 1
                running.since = datetime.now(UTC)

    async def _end(self, running: _Running) -> None:
        child, process = running.child, running.process
        if process.returncode is None:
            await asyncio.to_thread(warden.end_group, process.pid, child.stop_signal, child.grace)
            await process.wait()

    def _tell(self, word: str, group: int, *how: float) -> None:
        if self._warden is None or self._warden.stdin is None:
            message = "A supervisor is used as `async with Supervisor() as supervisor`."
            raise HeadgateError(message)
        # Without the warden work goes on as before; only a SIGKILL of this process would then leave children behind.
        with contextlib.suppress(BrokenPipeError):
            self._warden.stdin.write(json.dumps([word, group, *how]) + "\n")
            self._warden.stdin.flush()


async def _until_ready(running: _Running, began: int) -> None:
    child = running.child
    deadline = time.monotonic() + child.ready_within
    while not await asyncio.to_thread(child.ready):
        if running.process.returncode is not None:
            what = f"{child.name} ended with exit code {running.process.returncode} before it was ready"
        elif time.monotonic() > deadline:
            what = f"{child.name} was not ready within {child.ready_within:g} seconds"
        else:
            await asyncio.sleep(READY_POLL)
            continue
        message = "\n".join([f"{what}. The last lines of {child.log}:", *child.last_words(began)])
        raise HeadgateError(message)


async def _follow(child: Child, began: int, on_line: Callable[[str, str], None]) -> None:
    with child.log.open("rb") as log:
        log.seek(began)
        rest = b""
        while True:
            *lines, rest = (rest + log.read()).split(b"\n")
            for line in lines:
                on_line(child.name, line.decode(errors="replace"))
            await asyncio.sleep(0.2)
