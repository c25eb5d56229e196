"""The process that others are forked from: it has imported what they share, has one thread, and forks on request.

A request is one message on a socket: the pickled function and its arguments, and descriptors. The first descriptor is a
socket for this request alone: it returns the process id, with a process descriptor, and later the exit code. The
function receives the others.
"""

import os
import pickle
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

import setproctitle

from headgate.forking.preload import import_all

TITLE = "headgate fork server"
LARGEST = 200_000  # bytes of a request; Linux accepts messages of this size by default
MOST_DESCRIPTORS = 8  # of a request


def serve(requests: socket.socket) -> int:
    """Fork on request until the other end of the socket is closed.

    Returns:
        The exit code, in this process and in each one forked from it. The caller passes it to `sys.exit`, so that
        Python ends as usual: threads joined, buffers written.

    """
    setproctitle.setproctitle(TITLE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches all its processes; our client ends us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    woken, wake = socket.socketpair()
    for end in (woken, wake):
        end.settimeout(0)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    living: dict[int, socket.socket] = {}
    while True:
        readable, _, _ = select.select([requests, woken], [], [])
        if woken in readable:
            with suppress(BlockingIOError):
                woken.recv(4096)
            _reap(living)
        if requests in readable:
            message, descriptors, _, _ = socket.recv_fds(requests, LARGEST, MOST_DESCRIPTORS)
            if not message:
                return 0
            status, *rest = descriptors
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                os.close(status)
                for opened in (requests, woken, wake, *living.values()):
                    opened.close()
                return _call(message, rest)
            for descriptor in rest:
                os.close(descriptor)
            living[pid] = socket.socket(fileno=status)
            _tell(living[pid], pid)


def _tell(status: socket.socket, pid: int) -> None:
    descriptor = os.pidfd_open(pid)
    with suppress(OSError):  # the requester is gone
        socket.send_fds(status, [str(pid).encode()], [descriptor])
    os.close(descriptor)


def _reap(living: dict[int, socket.socket]) -> None:
    for pid in list(living):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with living.pop(pid) as told, suppress(OSError):  # the requester is gone
                told.send(str(os.waitstatus_to_exitcode(status)).encode())


def _call(message: bytes, descriptors: Sequence[int]) -> int:
    call: tuple[Callable[..., object], tuple[object, ...]] = pickle.loads(message)  # noqa: S301 - from our own process
    function, arguments = call
    try:
        function(*descriptors, *arguments)
    except SystemExit as error:
        return _code(error)
    except BaseException:  # noqa: BLE001 - it ends as the main program would
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _code(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    print(error.code, file=sys.stderr)  # noqa: T201 - as Python does
    return 1


if __name__ == "__main__":
    import_all(sys.argv[2].split(","))
    sys.exit(serve(socket.socket(fileno=int(sys.argv[1]))))
