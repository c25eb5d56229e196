"""The process of a child: an executed program, or a module in a fork of a process that has its imports already."""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import pwd
import runpy
import signal
import sys
from asyncio.subprocess import DEVNULL, STDOUT
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

import setproctitle

from headgate.embedded.child import Child
from headgate.errors import HeadgateError, Misuse
from headgate.forking import fork_server

FORKED_WITHIN = 30.0  # seconds from the fork until the process has reported itself


class Process(Protocol):
    """A process in its own session."""

    @property
    def pid(self) -> int:
        """The id of the process and of its group."""

    @property
    def returncode(self) -> int | None:
        """The exit code; None while it runs, negative for a signal."""

    async def wait(self) -> int:
        """Wait for its end; return the exit code."""


async def execute(child: Child, known: Callable[[int], None]) -> Process:
    """Execute the program.

    Args:
        child: what to run.
        known: called with the process id.

    Raises:
        Misuse: the program does not exist, or we may not execute it.
        HeadgateError: it cannot be started now.

    """
    try:
        with child.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *child.argv,
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
                cwd=child.cwd,
                env=dict(child.env),
                start_new_session=True,
                user=child.user,
                group=None if child.user is None else pwd.getpwnam(child.user).pw_gid,
                extra_groups=None if child.user is None else [],
            )
    except OSError as error:
        message = f"{child.name} cannot be started: {error}."
        lasting = isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError)
        raise (Misuse if lasting else HeadgateError)(message) from error
    known(process.pid)
    return process


async def fork(child: Child, known: Callable[[int], None]) -> Process:
    """Have the fork server fork a process that runs the module, as `python -m` would.

    Args:
        child: what to run.
        known: called with the process id before the module runs, so that every running process is known and can be
            ended.

    Raises:
        HeadgateError: the fork server or the process ended meanwhile; a retry starts another.

    """
    ours, theirs = multiprocessing.Pipe()
    try:
        with theirs:
            forked = await fork_server.fork(_become, child, descriptors=[theirs.fileno()])
        await _readable(ours, FORKED_WITHIN)
        ours.recv()  # now it is a group of its own, and can be ended as one
        known(forked.pid)
        with contextlib.suppress(OSError):  # it was killed: its process descriptor reports that
            ours.send(None)
    except (OSError, EOFError) as error:
        message = f"{child.name} cannot be started: {error}."
        raise HeadgateError(message) from error
    finally:
        ours.close()  # a process that was not told to go on ends when it sees this
    return Fork(forked)


async def _readable(connection: Connection, within: float) -> None:
    """Wait until there is something to read, or the other end is closed.

    Raises:
        TimeoutError: neither happened in time.

    """
    loop = asyncio.get_running_loop()
    there = asyncio.Event()
    loop.add_reader(connection.fileno(), there.set)
    try:
        async with asyncio.timeout(within):
            await there.wait()
    finally:
        loop.remove_reader(connection.fileno())


class Fork:
    """A forked process, as the supervisor sees one."""

    def __init__(self, forked: fork_server.Forked) -> None:
        self.pid = forked.pid
        self.returncode: int | None = None
        self._waiting = asyncio.create_task(self._wait(forked))

    async def wait(self) -> int:
        """Wait for its end; return the exit code."""
        return await asyncio.shield(self._waiting)

    async def _wait(self, forked: fork_server.Forked) -> int:
        self.returncode = await forked.wait()
        return self.returncode


def _become(descriptor: int, child: Child) -> None:
    """Become the process that `python -m` would start with these arguments, and run its module."""
    connection = Connection(descriptor)
    os.setsid()
    connection.send(None)
    try:
        connection.recv()
    except EOFError:  # the supervisor gave this process up, so nobody would end it
        return
    connection.close()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    output = os.open(child.log, os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        signal.signal(number, handler)
    setproctitle.setproctitle(child.name)
    os.environ.clear()
    os.environ.update(child.env)
    if child.cwd is not None:
        os.chdir(child.cwd)
    sys.path[0] = str(Path.cwd())
    _, _, module, *arguments = child.argv
    sys.argv[:] = module, *arguments
    logging.getLogger().handlers.clear()  # otherwise Prefect takes them for handlers that the user set
    fork_server.read_settings_again()
    runpy.run_module(module, run_name="__main__", alter_sys=True)
