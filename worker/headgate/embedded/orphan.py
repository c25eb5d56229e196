"""How a child notices that it is no longer supervised because `headgate up` and its warden were both killed.

Both hold the lock of the home as long as they live. So each child waits for that lock. The kernel gives it to one
child, which has a warden end all that is left.
"""

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

from headgate.embedded import warden
from headgate.embedded.home import CHILDREN, LOCK

SUPERVISED = "HEADGATE_SUPERVISED"  # set in the environment of all that `headgate up` starts: its home


def watch() -> None:
    """Wait for the lock in a thread. Call it only once a child forks no more, because threads do not survive a fork."""
    if home := os.environ.get(SUPERVISED):
        threading.Thread(target=_wait, args=(Path(home),), daemon=True, name="orphan").start()


def _wait(home: Path) -> None:
    try:
        descriptor = os.open(home / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # the home was moved: there is no lock to wait for
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    # A separate process, because this one is ended too; it holds the lock while it works.
    subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-I", "-S", warden.__file__, str(home / CHILDREN)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=[descriptor],
        env={},
    )
    os.close(descriptor)
