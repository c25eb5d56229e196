"""What the home keeps between two starts of `headgate up`: its lock and the ports."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headgate.errors import Misuse

LOCK = "up.lock"
CHILDREN = "up.children"  # the record of running children, for whoever finds them left behind
LOOPBACK = "127.0.0.1"
LEFT_BEHIND = 120.0  # seconds that a killed `headgate up` may take until its warden has ended all children


@contextmanager
def hold(home: Path, *, wait: float = LEFT_BEHIND) -> Iterator[int]:
    """Make this process the only `headgate up` of the home.

    Args:
        home: the folder for all that Headgate keeps; created if missing.
        wait: seconds to wait for the warden of a `headgate up` that was killed.

    Yields:
        A file descriptor to hand to the `Supervisor`: the home stays held as long as its warden has it open.

    Raises:
        Misuse: another `headgate up` runs in this home.

    """
    home.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, home, wait)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def remembered_port(file: Path, wanted: int | None = None) -> int:
    """Return the port recorded in the file, or record and return a free one if that port is taken or missing.

    Args:
        file: where the port is kept between two starts.
        wanted: take this one and no other.

    Raises:
        Misuse: the wanted port is taken.

    A service owns a port only once it listens on it. So a port recorded in another file of the folder counts as taken,
    and two services must not ask at the same time.
    """
    if wanted is not None:
        if not _bindable(wanted):
            raise Misuse(f"Port {wanted} ({file.stem}) is in use by another process: stop it, or set another port.")
        file.write_text(str(wanted), encoding="ascii")
        return wanted
    others = {other.read_text(encoding="ascii") for other in file.parent.glob("*.port") if other != file}
    try:
        port = int(file.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        port = _bindable(0)
    while str(port) in others or not _bindable(port):
        port = _bindable(0)
    file.write_text(str(port), encoding="ascii")
    return port


def _lock(descriptor: int, home: Path, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 20, 0).decode() or "?"
            if Path("/proc", holder).exists() or time.monotonic() > deadline:
                message = f"`headgate up` already runs in {home} (process {holder}): stop it, or set HEADGATE_HOME."
                raise Misuse(message) from error
            time.sleep(0.1)
        else:
            return


def _bindable(port: int) -> int:
    """Return the port if we can listen on it (0: any free port), else 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return 0
        found: int = probe.getsockname()[1]
        return found
