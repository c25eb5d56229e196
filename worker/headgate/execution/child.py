"""A warm process, seen from inside: it executes flow runs one after the other, in its main thread.

It runs one at a time and in the main thread, because Prefect's engine uses signal handlers to answer SIGTERM and to
time out sync flows, and Python runs signal handlers in the main thread only.
"""

import asyncio
import contextvars
import logging
import os
import queue
import signal
import site
import sys
import sysconfig
import threading
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from importlib import import_module
from itertools import takewhile
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

import setproctitle
from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import AsyncClientContext, SyncClientContext
from prefect.exceptions import Abort, Pause, TerminationSignal
from prefect.flows import load_flow_from_entrypoint
from prefect.logging.loggers import flow_run_logger

from headgate.execution import room
from headgate.execution.orders import Leave, MakeRoom, Order, Over, Run, RunHooks, Stop, Suspend
from headgate.execution.prefect_internals import engine

TERMINATED = 128 + signal.SIGTERM
FAILED = 1
# A marker, not a real module: modules imported before it are shared with other processes. They are not inspected, not
# even counted, because each memory page that Python touches is copied and costs this process memory from then on.
FORKED = "headgate.execution.forked"
NEVER = 0  # a modification time that no file has
INSTALLED = tuple({*site.getsitepackages(), *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))})


def main(descriptor: int, modules: Sequence[str]) -> None:
    """Be a warm process until told to leave, or until the worker is gone.

    Args:
        descriptor: file descriptor of the connection to the worker.
        modules: modules that the runs will import; one that fails is reported by the run that needs it.

    """
    setproctitle.setproctitle("headgate run")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches all its processes; the worker drains us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.dont_write_bytecode = True  # matched by size and whole seconds, it would hide a second save in one second
    began = time.time_ns()
    sys.modules[FORKED] = ModuleType(FORKED)
    engine.become_child()
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # a user's own flow may be imported before any pipeline
    for name in modules:
        with suppress(Exception):
            import_module(name)
    WarmChild(Connection(descriptor), began).serve()


class WarmChild:
    """A process that takes one order after the other.

    Args:
        connection: the connection to the worker.
        began: when the process was forked, in nanoseconds.

    """

    def __init__(self, connection: Connection, began: int) -> None:
        self._connection = connection
        self._inbox: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._flows: dict[str, Flow[..., Any]] = {}
        self._runner = asyncio.Runner()
        self._plain = contextvars.copy_context()  # without the open async client, which is bound to our loop
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[object] | None = None
        self._stopping = False
        self._found: dict[str, int] = {}
        self._looked = began

    def serve(self) -> None:
        """Take orders until told to leave."""
        threading.Thread(target=self._read, daemon=True, name="orders").start()
        self._open_clients()
        self._say(Over())
        leaving = False
        while not leaving:
            match self._inbox.get():
                case Run() as order:
                    code = self._run(order)
                    leaving = self._stopping or code != 0
                    self._say(Over(code, leaving))
                case RunHooks() as order:
                    self._run_hooks(order)
                    self._say(Over())
                case _:
                    leaving = True
        # Threads write logs and events; Python waits for them when this function returns.

    def _read(self) -> None:
        """Listen to the worker in a thread, so that orders about the run in hand are heard while it runs."""
        while True:
            try:
                order: Order = self._connection.recv()
            except (EOFError, OSError):
                os._exit(FAILED)  # the worker was killed: the next one puts its runs back, so this one must not go on
            except Exception:
                logging.getLogger(__name__).exception("an order cannot be read")
                os._exit(FAILED)  # if it no longer heard the worker, it could not be stopped
            match order:
                case Stop():
                    self._stop()
                case MakeRoom():
                    room.ask()
                case Suspend(flow_run_id, state):
                    engine.suspend(flow_run_id, State[Any].model_validate_json(state))
                case Run():
                    room.forget()  # clear what was asked of the previous run
                    self._inbox.put(order)
                case RunHooks() | Leave():
                    self._inbox.put(order)

    def _stop(self) -> None:
        self._stopping = True
        task = self._task
        if task is None:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            # A signal handler's exception may surface inside asyncio, which takes it for a broken connection.
            self._runner.get_loop().call_soon_threadsafe(task.cancel)

    def _run(self, order: Run) -> int:
        """Execute a flow run; return the exit code that it would have had as a separate process."""
        flow_run = FlowRun.model_validate_json(order.flow_run)
        os.environ.update(order.environment)
        self._plain.run(engine.expect_run)
        try:
            flow = self._flow(order.entrypoint)
            if flow.isasync:
                self._runner.run(self._watched(flow, flow_run), context=self._context.copy())
            else:
                self._plain.copy().run(engine.run_sync, flow, flow_run)
        except (Abort, Pause):
            return 0
        except TerminationSignal:
            self._stopping = True
            with suppress(BaseException):
                self._runner.close()  # cancels what is left of the flow, so that the engine can report it
            return 0 if engine.is_accounted_for() else TERMINATED
        except BaseException:  # noqa: BLE001 - whatever a flow raises ends the flow run alone
            if engine.is_accounted_for():
                return 0
            flow_run_logger(flow_run).exception("The run could not be executed.")
            return FAILED
        finally:
            for name in order.environment:
                os.environ.pop(name, None)
        return 0

    async def _watched(self, flow: Flow[..., Any], flow_run: FlowRun) -> None:
        self._task = asyncio.current_task()
        try:
            await engine.run_async(flow, flow_run)
        finally:
            self._task = None
            # The loop lives on: tasks that the flow left running would go on during the next flow.
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    def _run_hooks(self, order: RunHooks) -> None:
        flow_run = FlowRun.model_validate_json(order.flow_run)
        state = State[Any].model_validate_json(order.state)
        try:
            hooks: Coroutine[Any, Any, None] = engine.run_hooks(self._flow(order.entrypoint), flow_run, state)
            self._runner.run(hooks, context=self._context.copy())
        except Exception:  # noqa: BLE001 - the run is over; all that is left is to report it
            flow_run_logger(flow_run).exception("The hooks could not be run.")

    def _flow(self, entrypoint: str) -> Flow[..., Any]:
        """Return the flow of an entry point; load it once, because loading executes its module again."""
        if entrypoint not in self._flows:
            self._flows[entrypoint] = load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
        return self._flows[entrypoint]

    def _open_clients(self) -> None:
        """Open the clients that all runs use; without them, each run would open its own."""

        async def enter() -> None:
            await AsyncClientContext().__aenter__()

        with suppress(Exception):  # the server may be unavailable
            self._plain.run(lambda: SyncClientContext().__enter__())
            self._context = self._plain.copy()
            self._runner.run(enter(), context=self._context)

    def _say(self, over: Over) -> None:
        told = Over(over.code, over.leaving, _memory(), self._sources())
        with suppress(OSError):
            self._connection.send(told)

    def _sources(self) -> dict[str, int]:
        """Return the files of this process's own modules that are not installed: somebody may be editing them."""
        since, self._looked = self._looked, time.time_ns()
        for name in _imported_here():
            file = getattr(sys.modules.get(name), "__file__", None)
            if file and file not in self._found and not file.startswith(INSTALLED):
                with suppress(OSError):
                    changed = Path(file).stat().st_mtime_ns
                    # Imported since the last look, so a file saved since then may differ from what was imported.
                    self._found[file] = changed if changed < since else NEVER
        return dict(self._found)


def _imported_here() -> list[str]:
    while True:
        with suppress(RuntimeError):  # a thread has imported something meanwhile
            return list(takewhile(FORKED.__ne__, reversed(sys.modules)))


def _memory() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE")
