"""The process that a child is: a program that was executed, or a module in a fork of what has its imports already."""

import asyncio
import logging
import multiprocessing
import os
import pwd
import runpy
import signal
import sys
from asyncio.subprocess import DEVNULL, STDOUT
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Protocol

import setproctitle

from worker.embedded.child import Child
from worker.errors import HeadgateError
from worker.fork_server import read_settings_again


class Process(Protocol):
    """A process of a session of its own."""

    @property
    def pid(self) -> int:
        """Of the process, and of its group."""

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it runs, negative for a signal."""

    async def wait(self) -> int:
        """Wait for its end; how that was."""


async def execute(child: Child) -> Process:
    """Execute the program.

    Raises:
        HeadgateError: it cannot be started.

    """
    try:
        with child.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
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
        raise HeadgateError(message) from error


async def fork(child: Child) -> Process:
    """Have the fork server fork a process that runs the module, as `python -m` would.

    Raises:
        HeadgateError: it cannot be started.

    """
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_become, args=(theirs, child), name=child.name)

    def begin() -> None:
        process.start()
        theirs.close()
        ours.recv()  # now it is a group of its own, and can be ended as one

    try:
        await asyncio.to_thread(begin)
        return Fork(process)
    except (OSError, EOFError) as error:
        message = f"{child.name} cannot be started: {error or 'the fork server ended'}."
        raise HeadgateError(message) from error
    finally:
        ours.close()


class Fork:
    """A process that was forked for us, and is no child of this one.

    Its own descriptor tells of its end, for the fork server may end before it; then nobody knows its exit code.
    """

    def __init__(self, process: ForkServerProcess) -> None:
        self.pid: int = process.pid or 0
        self.returncode: int | None = None
        self._process = process
        self._ended = asyncio.Event()
        self._descriptor = os.pidfd_open(self.pid)
        asyncio.get_running_loop().add_reader(self._descriptor, self._end)

    async def wait(self) -> int:
        """Wait for its end; how that was."""
        await self._ended.wait()
        return self.returncode or 0

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._process.join()  # the fork server has its exit code in a moment
        self.returncode = self._process.exitcode or 0
        self._ended.set()


def _become(ready: Connection, child: Child) -> None:
    """Be what `python -m` would be with these arguments, from the first line of its module on."""
    os.setsid()
    ready.send(None)
    ready.close()
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
    logging.getLogger().handlers.clear()  # else Prefect takes them for those of its user
    read_settings_again()
    runpy.run_module(module, run_name="__main__", alter_sys=True)
