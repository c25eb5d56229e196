"""Reading ahead in a thread, watched: one block is decoded while the next is read, and a client that hangs is left."""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

from worker.errors import KafkaUnavailable

T = TypeVar("T")

AHEAD = 2  # things read and not taken yet
GLANCE = 0.2  # seconds until a reader that waits for room looks whether anybody still wants what it has


def ahead(source: Generator[T, None, None], patience: float) -> Iterator[T]:
    """Give what a source gives, read by another thread.

    Args:
        source: used by that thread alone.
        patience: how many seconds the source may take for its next one.

    Raises:
        KafkaUnavailable: it took longer. The thread cannot be ended from outside; it is left, and ends with the process
            or when the call that hangs comes back.

    """
    ready: queue.Queue[T | BaseException] = queue.Queue(maxsize=AHEAD)
    over = threading.Event()
    threading.Thread(target=_read, args=(source, ready, over), name="read-ahead", daemon=True).start()
    try:
        while True:
            try:
                found = ready.get(timeout=patience)
            except queue.Empty:
                raise KafkaUnavailable(
                    f"The Kafka client has not come back for {patience:.0f} s; it is left, and reading starts anew."
                ) from None
            if isinstance(found, _End):
                return
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        over.set()


class _End(Exception):
    pass


def _read(source: Generator[T, None, None], ready: "queue.Queue[T | BaseException]", over: threading.Event) -> None:
    try:
        for found in source:
            if not _put(found, ready, over):
                return
        _put(_End(), ready, over)
    except BaseException as error:  # noqa: BLE001 - whatever it was, it is raised where the reading is waited for
        _put(error, ready, over)
    finally:
        source.close()


def _put(found: T | BaseException, ready: "queue.Queue[T | BaseException]", over: threading.Event) -> bool:
    while not over.is_set():
        try:
            ready.put(found, timeout=GLANCE)
        except queue.Full:
            continue
        return True
    return False
