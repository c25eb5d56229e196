"""Start children in order, keep them running, stop them in reverse.

A child runs in its own session, so that a terminal's Ctrl-C reaches this process alone, which then stops the
children one after the other. A child writes straight to its log file, not through us: if it outlives us for a
moment, it must not die of a broken pipe.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from headgate.embedded import warden
from headgate.embedded.child import Child
from headgate.embedded.process import Process, execute, fork
from headgate.embedded.vitals import Vitals
from headgate.embedded.ward import Ward
from headgate.errors import HeadgateError, Misuse

logger = structlog.get_logger()

READY_POLL = 0.05  # seconds
LOOK_AFTER = 1.0  # seconds between two checks that the warden lives, and that no log is overlong
# Seconds before a dead child is restarted; doubles while it keeps dying soon. The longest is short, because what it
# needs may be back at any moment.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
STEADY = 5.0  # seconds; after a child has stayed up for this long, the pauses start from the first again


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a child."""

    name: str
    pid: int
    restarts: int
    since: datetime  # when its current process was started


@dataclass(slots=True)
class _Running:
    """A child and its current process."""

    child: Child
    ready: asyncio.Future[None]  # done once it was ready; an error if it reports that it never will be
    process: Process | None = None
    restarts: int = 0
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    keeper: asyncio.Task[None] | None = None


class Supervisor:
    """A supervisor that starts children, restarts them when they die, and stops them.

    Args:
        on_restart: called with the child's name, its exit code and the pause in seconds before it is restarted.
        on_trouble: called with the child's name and a line that explains why it is not up yet.
        on_line: called with the child's name and each new line of its log, for display.
        holding: a file descriptor that stays open until the last child is gone, whatever happens to this process.
        record: a file that lists what runs, for `warden.end_left`, in case this process and its warden are killed.
        forks: whether a fork server runs, for the children that share its imports.

    """

    def __init__(  # noqa: PLR0913 - each by its name
        self,
        *,
        on_restart: Callable[[str, int, float], None] | None = None,
        on_trouble: Callable[[str, str], None] | None = None,
        on_line: Callable[[str, str], None] | None = None,
        holding: int | None = None,
        record: Path | None = None,
        forks: bool = False,
    ) -> None:
        self._on_restart = on_restart
        self._on_trouble = on_trouble
        self._on_line = on_line
        self._ward = Ward(() if holding is None else (holding,), record)
        self._forks = forks
        self._running: list[_Running] = []
        self._display: set[asyncio.Task[None]] = set()
        self._groups: dict[int, asyncio.Task[None]] = {}
        self._guard: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start the warden, which ends the children if this process is killed."""
        self._ward.start()
        self._guard = asyncio.create_task(self._look_after(), name="look after the warden and logs")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all children that still run."""
        await self.stop()

    def status(self) -> list[Status]:
        """Return the state of each child, in the order they were started."""
        return [
            Status(one.child.name, one.process.pid, one.restarts, one.since)
            for one in self._running
            if one.process is not None
        ]

    async def start(self, child: Child) -> None:
        """Start a child, keep it running from then on, and return once it is ready.

        A child that dies before it is ready is restarted like one that dies later. A slow child is waited for.

        Raises:
            Misuse: the program does not exist.
            HeadgateError: it ended with a code that means another start would fail the same way; the text ends with
                the last lines of its log.

        """
        began = child.open_log()
        running = _Running(child, asyncio.get_running_loop().create_future())
        running.keeper = asyncio.create_task(self._keep(running), name=f"keep {child.name}")
        self._running.append(running)
        if self._on_line is not None:
            self._display.add(asyncio.create_task(_follow(child, began, self._on_line), name=f"show {child.name}"))
        try:
            await running.ready
        except BaseException:
            if running in self._running:  # otherwise it is being stopped
                self._running.remove(running)
                await self._end(running)
            raise

    async def run(self, child: Child) -> tuple[int, str]:
        """Run a child to its end; restart it if it dies on the way.

        Returns:
            Its exit code, 0 or one that means another try would fail the same way; and its output.

        Raises:
            Misuse: the program does not exist.

        """
        pauses = _pauses()
        while True:
            began = child.open_log()
            try:
                process = await self._spawn(child)
            except Misuse:
                raise
            except HeadgateError as error:
                await self._pause(child, str(error), next(pauses))
                continue
            code = await process.wait()
            if code in {0, *child.permanent}:
                return code, child.words(began)
            await self._pause(child, _how(child, code, began), next(pauses))

    async def stop(self) -> None:
        """Stop all children, highest tier first, last started first within a tier; return once they are gone."""
        self._running.sort(key=lambda running: running.child.tier)
        while self._running:
            await self._end(self._running.pop())
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        await asyncio.gather(*self._groups.values())
        for task in self._display:
            task.cancel()
        await asyncio.gather(*self._display, return_exceptions=True)
        self._display.clear()
        if self._guard is not None:
            self._guard.cancel()
        await asyncio.to_thread(self._ward.close)

    async def _spawn(self, child: Child) -> Process:
        def known(pid: int) -> None:
            self._ward.started(pid, child.stop_signal, child.grace, child.tier)

        process = await (fork if self._forks and child.shares else execute)(child, known)
        self._groups[process.pid] = asyncio.create_task(self._clear(child, process), name=f"clear {child.name}")
        return process

    async def _clear(self, child: Child, process: Process) -> None:
        """Give processes that a child left running its grace to finish, then kill them."""
        await process.wait()
        await asyncio.to_thread(warden.end_group, process.pid, None, child.grace)
        self._ward.ended(process.pid)
        del self._groups[process.pid]

    async def _keep(self, running: _Running) -> None:
        """Start the child, and restart it whenever it dies, after a pause that grows while it keeps dying."""
        child = running.child
        pauses = _pauses()
        while True:
            began = time.monotonic()
            try:
                ended = await self._live(running)
            except HeadgateError as error:
                if isinstance(error, Misuse) and not running.ready.done():
                    running.ready.set_exception(error)
                    return
                await self._pause(child, str(error), next(pauses))
                continue
            except Exception as error:
                # A log on a full disk, for example. Nobody awaits this task: the child would stay dead if it ended.
                logger.exception("A child's life went wrong.", action="restart", child=child.name)
                await self._kill(running)
                await self._pause(child, f"{type(error).__name__}: {error}", next(pauses))
                continue
            if ended is None:
                return
            code, how = ended
            if time.monotonic() - began > STEADY:
                pauses = _pauses()
            pause = next(pauses)
            if self._on_restart is not None:
                self._on_restart(child.name, code, pause)
            await self._pause(child, how, pause, tell=not running.ready.done())
            running.restarts += 1

    async def _live(self, running: _Running) -> tuple[int, str] | None:
        """Start the child once and wait for its end; return how it ended, or None if it must not be started again."""
        child = running.child
        mark = child.open_log()
        running.process = await self._spawn(child)
        running.since = datetime.now(UTC)
        if not running.ready.done():
            await self._until_ready(running, running.process)
        code = await running.process.wait()
        how = _how(child, code, mark)
        if code in child.permanent and not running.ready.done():
            running.ready.set_exception(HeadgateError("\n".join([how, *child.last_words(mark)])))
            return None
        return code, how

    async def _until_ready(self, running: _Running, process: Process) -> None:
        """Wait until a child is ready or has ended; kill it if it does nothing."""
        child = running.child
        vitals, look = Vitals(child, process.pid), time.monotonic() + child.ready_within
        while process.returncode is None:
            is_ready = await asyncio.to_thread(child.ready)
            if is_ready and process.returncode is None:  # otherwise another process answered
                running.ready.set_result(None)
                return
            if time.monotonic() > look:
                look += child.ready_within
                if vitals.has_worked():
                    self._say(
                        child, f"it works, and is not ready after {child.ready_within:g} seconds: see {child.log}"
                    )
                else:
                    self._say(child, f"it has done nothing for {child.ready_within:g} seconds, and is killed")
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
            await asyncio.sleep(READY_POLL)

    async def _pause(self, child: Child, why: str, pause: float, *, tell: bool = True) -> None:
        logger.warning("A child is started again.", action="restart", child=child.name, why=why, pause=pause)
        if tell:
            self._say(child, why)
        await asyncio.sleep(pause)

    def _say(self, child: Child, line: str) -> None:
        if self._on_trouble is not None:
            self._on_trouble(child.name, line)

    async def _end(self, running: _Running) -> None:
        """End a child and the task that keeps it running."""
        if running.keeper is not None:
            running.keeper.cancel()
            await asyncio.wait([running.keeper])
        running.ready.cancel()
        await self._kill(running)

    async def _kill(self, running: _Running) -> None:
        child, process = running.child, running.process
        if process is not None and process.returncode is None:
            await asyncio.to_thread(warden.end_group, process.pid, child.stop_signal, child.grace)
            await process.wait()

    async def _look_after(self) -> None:
        """Restart the warden when it was killed, and set overlong logs aside."""
        while True:
            await asyncio.sleep(LOOK_AFTER)
            self._ward.look()
            for running in self._running:
                with contextlib.suppress(OSError):  # a full disk, for example
                    running.child.trim_log()


def _pauses() -> Iterator[float]:
    """Yield the pauses in seconds before each restart of a child that keeps dying."""
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * 2, LONGEST_PAUSE)


def _how(child: Child, code: int, began: int) -> str:
    """Describe how a child ended, with the last lines it wrote."""
    ended = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    *_, last = child.last_words(began) or [""]
    return f"{child.name} {ended}" + (f": {last}" if last else "")


async def _follow(child: Child, began: int, on_line: Callable[[str, str], None]) -> None:
    with child.log.open("rb") as log:
        log.seek(began)
        rest = b""
        while True:
            if os.fstat(log.fileno()).st_size < log.tell():  # it was emptied
                log.seek(0)
            *lines, rest = (rest + log.read()).split(b"\n")
            for line in lines:
                on_line(child.name, line.decode(errors="replace"))
            await asyncio.sleep(0.2)
