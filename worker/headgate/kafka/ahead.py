"""Reading ahead in a watched thread: one block is decoded while the next is read, and a hanging client is abandoned."""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

T = TypeVar("T")

AHEAD = 2  # items read but not taken yet
GLANCE = 0.2  # seconds until a reader that waits for room checks whether anybody still wants its items


def ahead(source: Generator[T, None, None], patience: float) -> Iterator[T]:
    """Yield the items of a source that another thread reads.

    Args:
        source: the source; only that thread uses it.
        patience: how many seconds the source may take for its next item.

    Raises:
        Hangs: the source took longer. The thread cannot be ended from outside; it is abandoned, and ends with the
            process or when the hanging call returns.

    """
    ready: queue.Queue[T | BaseException] = queue.Queue(maxsize=AHEAD)
    over = threading.Event()
    threading.Thread(target=_read, args=(source, ready, over), name="read-ahead", daemon=True).start()
    try:
        while True:
            try:
                found = ready.get(timeout=patience)
            except queue.Empty:
                raise Hangs(f"the Kafka client has not come back for {patience:.0f} s") from None
            if isinstance(found, _End):
                return
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        over.set()


class Hangs(Exception):
    """The source did not return in time."""


class _End(Exception):
    pass


def _read(source: Generator[T, None, None], ready: "queue.Queue[T | BaseException]", over: threading.Event) -> None:
    try:
        for found in source:
            if not _put(found, ready, over):
                return
        _put(_End(), ready, over)
    except BaseException as error:  # noqa: BLE001 - any error is raised again in the thread that waits
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
