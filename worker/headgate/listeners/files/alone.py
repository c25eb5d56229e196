"""The lock of a spool: one listener works on it at a time."""

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from headgate.errors import HomeUnavailable

LOOK = 0.5  # seconds between two tries, and the longest that a request to stop waits

log = structlog.get_logger()


@contextmanager
def alone_on(spool: Path, stop: threading.Event) -> Iterator[bool]:
    """Wait until no other listener works on a spool; yield False if asked to stop before that.

    Raises:
        HomeUnavailable: the spool cannot be created or written.

    """
    try:
        spool.mkdir(parents=True, exist_ok=True)
        file = (spool / ".listener.lock").open("w")
    except OSError as error:
        raise HomeUnavailable(f"{spool} cannot be written ({error.strerror}); mend that.") from error
    with file as lock:
        told = False
        while not stop.is_set():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not told:
                    log.info("another listener is at work; waiting to take over", action="listen")
                    told = True
                stop.wait(LOOK)
            else:
                yield True
                return
        yield False
