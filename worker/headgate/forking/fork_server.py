"""The fork server of this process: itself a fork of it, so that memory holds their shared imports once.

Python's own fork server (`multiprocessing`) is a separate interpreter. It imports everything a second time, which costs
130 MB, and seconds before the first process starts.
"""

import asyncio
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from headgate.forking.preload import import_all
from headgate.forking.serving import serve

ANSWER_WITHIN = 60.0  # seconds; a server that was just executed imports its modules before it answers
LOOK_AGAIN_AFTER = 1.0  # seconds between two checks whether a server that does not answer was stopped
TELL_WITHIN = 1.0  # seconds from the end of a process until the server has reported its exit code
UNKNOWN = 255  # the exit code of a process whose end the server did not report


@dataclass(frozen=True, slots=True)
class _Server:
    """A fork server and the connection to it."""

    pid: int
    requests: socket.socket
    program: subprocess.Popen[bytes] | None = None  # None if it is a fork of this process

    def end(self) -> None:
        """End it; the processes forked from it go on."""
        self.requests.close()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)  # a stopped (SIGSTOP) server obeys no other signal
        if self.program is not None:
            self.program.wait()
        else:
            with suppress(ChildProcessError):
                os.waitpid(self.pid, 0)

    def is_stopped(self) -> bool:
        """Return whether a signal has stopped it."""
        try:
            state = Path(f"/proc/{self.pid}/stat").read_bytes().rpartition(b") ")[2][:1]
        except OSError:
            return False
        return state in b"Tt"


class _Ours:
    """The fork server of this process."""

    server: _Server | None = None
    modules: Sequence[str] = ()


def is_supported() -> bool:
    """Return whether this system can report the end of a process that is not our child."""
    return hasattr(os, "pidfd_open")


def preload(modules: Sequence[str]) -> None:
    """Set what a server that starts later imports, unless one exists already."""
    if _Ours.server is None:
        _Ours.modules = tuple(modules)


def start(modules: Sequence[str]) -> None:
    """Import what is shared, and fork the server; call only while this process has no other thread.

    The server, and each process forked from it, leaves this function by `SystemExit` at its end. So no caller above
    this one may hold something that must not be closed twice.

    Args:
        modules: what the processes share with this one and with each other, besides Prefect.

    """
    import_all(modules)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        _Ours.server = None
        _close_all_but(theirs)
        sys.exit(serve(theirs))
    theirs.close()
    _Ours.server, _Ours.modules = _Server(pid, ours), tuple(modules)


def is_started() -> bool:
    """Return whether this process has a fork server."""
    return _Ours.server is not None


def pid() -> int | None:
    """Return the process id of the fork server, or None."""
    return None if _Ours.server is None else _Ours.server.pid


def stop() -> None:
    """End the fork server, if there is one; the processes forked from it go on."""
    if _Ours.server is not None:
        _Ours.server.end()
        _Ours.server = None


class Forked:
    """A process that was forked for us. It is not a child of this process.

    Args:
        pid: its process id.
        descriptor: its process descriptor.
        status: the connection on which the server reports the exit code.

    """

    def __init__(self, pid: int, descriptor: int, status: socket.socket) -> None:
        self.pid = pid
        self._descriptor = descriptor
        self._status = status
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, self._end)

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        self._ended.set()

    def kill(self) -> None:
        """Kill it; do nothing if it has ended."""
        if not self._ended.is_set():
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    async def wait(self) -> int:
        """Wait for its end.

        Returns:
            The exit code, negative for a signal; `UNKNOWN` if the server ended first, or was stopped.

        """
        await self._ended.wait()
        try:
            async with asyncio.timeout(TELL_WITHIN):
                told = await asyncio.get_running_loop().sock_recv(self._status, 100)
        except (OSError, TimeoutError):
            told = b""
        self._status.close()
        os.close(self._descriptor)
        return int(told) if told else UNKNOWN


async def fork(function: Callable[..., None], *arguments: object, descriptors: Sequence[int] = ()) -> Forked:
    """Fork a process that calls a function and ends.

    A server that does not answer, or that a signal stopped, is killed; the next call starts another.

    Args:
        function: a function of a module; it receives the descriptors, then the arguments.
        *arguments: arguments that can be pickled.
        descriptors: file descriptors that the process receives copies of.

    Raises:
        OSError: the server does not answer.
        EOFError: the server ended meanwhile.

    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(0)
    try:
        with theirs:
            _ask(pickle.dumps((function, arguments)), [theirs.fileno(), *descriptors])
        return await _answer(ours)
    except BaseException:
        ours.close()
        raise


def _ask(message: bytes, descriptors: Sequence[int]) -> None:
    """Send a request; first replace a server that is gone."""
    if _Ours.server is not None:
        with suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(_Ours.server.requests, [message], descriptors, socket.MSG_DONTWAIT)
            return
        stop()
    _Ours.server = _execute()
    socket.send_fds(_Ours.server.requests, [message], descriptors, socket.MSG_DONTWAIT)


async def _answer(status: socket.socket) -> Forked:
    server = _Ours.server
    deadline = time.monotonic() + ANSWER_WITHIN
    answered = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(status, answered.set)
    try:
        while not answered.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(answered.wait(), LOOK_AGAIN_AFTER)
            if not answered.is_set() and (server is None or server.is_stopped() or time.monotonic() > deadline):
                if server is _Ours.server:
                    stop()
                raise OSError("the fork server does not answer")
    finally:
        loop.remove_reader(status)
    said, descriptors, _, _ = socket.recv_fds(status, 100, 1)
    if not said:
        raise EOFError("the fork server ended")
    return Forked(int(said), descriptors[0], status)


def _execute() -> _Server:
    """Start a server as a program: this process may have threads now, and must not fork."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", serve.__module__, str(theirs.fileno()), ",".join(_Ours.modules)],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    return _Server(process.pid, ours, process)


def _close_all_but(kept: socket.socket) -> None:
    for descriptor in [int(each.name) for each in Path("/proc/self/fd").iterdir()]:
        if descriptor not in {0, 1, 2, kept.fileno()}:
            with suppress(OSError):  # the descriptor of the listing itself is closed by now
                os.close(descriptor)


def read_settings_again() -> None:
    """Make Prefect, if imported, reread the environment, which it read at import."""
    if "prefect.main" in sys.modules:
        from prefect.context import refresh_global_settings_context  # noqa: PLC0415 - it is imported, or not needed
        from prefect.logging.configuration import setup_logging  # noqa: PLC0415 - as above

        refresh_global_settings_context()
        setup_logging(incremental=False)
