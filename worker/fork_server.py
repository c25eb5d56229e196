"""The process that others are forked from: Python's own fork server, itself a fork.

Python's own way is to start an interpreter for it, which imports all anew: seconds until the first process is there,
and memory for a second copy of Prefect.
"""

import gc
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing import forkserver, resource_tracker, util
from pathlib import Path

import setproctitle

PRELOAD = "worker.preload"
VARIABLE = "HEADGATE_PRELOAD"  # what it imports besides, with commas between


def preload(modules: Sequence[str]) -> None:
    """Say what the server imports when it is started."""
    setproctitle.getproctitle()  # it finds the place of the title now, and not after a change of the environment
    os.environ[VARIABLE] = ",".join(modules)
    # The main module is imported by each process anyway; here, once for all of them.
    forkserver.set_forkserver_preload(["__main__", PRELOAD])


def start(modules: Sequence[str]) -> None:
    """Import what is shared, here too, and fork the server; only while this process has no other thread.

    Here too, because what both have is held once: it takes less than what this process alone would have.

    Args:
        modules: what the processes share with this one and with each other, beside Prefect.

    """
    preload(modules)
    import_all((PRELOAD, *modules))
    freeze()
    with _forked():
        forkserver.ensure_running()


def is_started() -> bool:
    """Whether this process has started one."""
    return _pid() is not None


def stop() -> None:
    """End the one that this process has started, if it has; what was forked from it goes on."""
    if (pid := _pid()) is not None:
        os.kill(pid, signal.SIGTERM)
        for helper in (vars(forkserver)["_forkserver"], vars(resource_tracker)["_resource_tracker"]):
            helper._stop()  # noqa: SLF001 - it waits for the end, too


def _pid() -> int | None:
    pid: int | None = vars(forkserver)["_forkserver"]._forkserver_pid  # noqa: SLF001 - there is no other way to it
    return pid


def import_all(modules: Iterable[str]) -> None:
    """Import what can be imported; what is wrong with a module is told by the process that needs it."""
    for name in modules:
        with suppress(Exception):
            import_module(name)


def freeze() -> None:
    """Keep the collector from all that is there now: looking at it, it would write to each page, and so copy it."""
    gc.collect()
    gc.freeze()


def read_settings_again() -> None:
    """Have Prefect, if it is imported, see the environment as it is now; it was read at the import."""
    if "prefect.main" in sys.modules:
        from prefect.context import refresh_global_settings_context  # noqa: PLC0415 - it is imported, or not needed
        from prefect.logging.configuration import setup_logging  # noqa: PLC0415 - as above

        refresh_global_settings_context()
        setup_logging(incremental=False)


@contextmanager
def _forked() -> Iterator[None]:
    """Have Python's fork server be a fork of this process, and not an interpreter of its own."""
    resource_tracker.ensure_running()  # started by the same function; as an interpreter of its own, it is smaller
    name = "spawnv_passfds"
    spawn = getattr(util, name)

    def fork(path: object, args: Sequence[str], descriptors: Sequence[int]) -> int:  # noqa: ARG001 - Python's signature
        pid = os.fork()
        if pid == 0:
            setattr(util, name, spawn)
            _become(args[-1], {0, 1, 2, *descriptors})
        return pid

    setattr(util, name, fork)
    try:
        yield
    finally:
        setattr(util, name, spawn)


def _become(code: str, descriptors: AbstractSet[int]) -> None:
    try:
        # This process holds it while it starts the server; and what is forked from that may start one of its own.
        vars(forkserver)["_forkserver"]._lock.release()  # noqa: SLF001 - there is no other way to it
        for descriptor in [int(each.name) for each in Path("/proc/self/fd").iterdir()]:
            if descriptor not in descriptors:
                with suppress(OSError):  # the listing itself had one open
                    os.close(descriptor)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        exec(code, {})  # noqa: S102 - what Python gives its own fork server to execute
    except SystemExit:
        pass
    except BaseException:  # noqa: BLE001 - the copy of this process must not go on as it
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(0)
