"""The fork server of the warm processes: forked from the worker itself, before that starts a thread.

Python's own way is to start an interpreter for it, which imports all anew: seconds of the first run's wait, and memory
for a second copy of Prefect.
"""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing import forkserver, resource_tracker, util
from pathlib import Path

PRELOAD = ("__main__", "worker.execution.preload")


def preload(modules: Sequence[str]) -> None:
    """Say what the server imports when it is started."""
    os.environ["HEADGATE_PRELOAD"] = ",".join(modules)
    # The main module is imported by each process anyway; here, once for all of them.
    forkserver.set_forkserver_preload(list(PRELOAD))


def start(modules: Sequence[str]) -> None:
    """Import what warm processes share, and fork the server; only while this process has no other thread.

    Args:
        modules: what they share.

    """
    preload(modules)
    import_module("worker.execution.preload")
    with _forked():
        forkserver.ensure_running()


@contextmanager
def _forked() -> Iterator[None]:
    """Have Python's fork server be a fork of this process, and not an interpreter of its own."""
    resource_tracker.ensure_running()  # started by the same function, and no server of ours
    name = "spawnv_passfds"
    spawn = getattr(util, name)

    def fork(path: object, args: Sequence[str], descriptors: Sequence[int]) -> int:  # noqa: ARG001 - Python's signature
        pid = os.fork()
        if pid == 0:
            _become_server(args[-1], {0, 1, 2, *descriptors})
        return pid

    setattr(util, name, fork)
    try:
        yield
    finally:
        setattr(util, name, spawn)


def _become_server(code: str, descriptors: AbstractSet[int]) -> None:
    try:
        for descriptor in [int(each.name) for each in Path("/proc/self/fd").iterdir()]:
            if descriptor not in descriptors:
                with suppress(OSError):  # the listing itself had one open
                    os.close(descriptor)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        exec(code, {})  # noqa: S102 - what Python gives its own fork server to execute
    except SystemExit:
        pass
    except BaseException:  # noqa: BLE001 - the copy of the worker must not go on as a worker
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(0)
