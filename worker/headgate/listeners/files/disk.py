"""The system calls that taking in rests on, each with the guarantee that makes it needed."""

import ctypes
import errno
import fcntl
import hashlib
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A FIFO that takes a file's name between two looks must not block us: hence O_NONBLOCK.
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
BLOCK = 1024 * 1024
FEW = 8  # so many fsyncs cost less than one sync of the file system, and wait for nobody else's data

AT_FDCWD = -100
RENAME_NOREPLACE = 1
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def folder_beneath(root: bytes, path: bytes) -> Iterator[int]:
    """Open a folder below a root, following no symbolic link on the way down.

    Raises:
        OSError: it is not there, or a part of the path is a symbolic link or no folder.

    """
    descriptor = os.open(root, FOLDER)
    try:
        for part in path.split(b"/") if path else ():
            inner = os.open(part, FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened(name: bytes, folder: int, flags: int = FILE) -> Iterator[int]:
    """Open a file in an open folder; a symbolic link is refused."""
    descriptor = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def entries_beneath(root: bytes, start: bytes, *, recursive: bool) -> Iterator[tuple[bytes, "os.DirEntry[str]"]]:
    """List all entries below a folder, with their paths relative to the root; hidden folders are not entered.

    A folder that vanishes, or may not be read, is passed over: the others go on.
    """
    waiting = [start]
    while waiting:
        folder = waiting.pop()
        try:
            with folder_beneath(root, folder) as descriptor, os.scandir(descriptor) as entries:
                for entry in entries:
                    path = os.path.join(folder, os.fsencode(entry.name))
                    yield path, entry
                    if recursive and not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
        except OSError:
            continue


def has_writer(descriptor: int) -> bool | None:
    """Tell whether any process has the file open for writing.

    The kernel refuses a read lease while there is a writer. Where it cannot tell (a file system without leases, a
    file of another user), the answer is None, and standing still is all there is to go by.
    """
    # A writer that opens the file while we hold the lease has SIGIO sent to us, which would end the process. SIGURG is
    # ignored by default.
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return None
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def digest(descriptor: int, into: int | None = None) -> bytes:
    """Give the sha256 of a file from its start; its bytes are copied on the way if asked for."""
    sha = hashlib.sha256()
    while block := os.read(descriptor, BLOCK):
        sha.update(block)
        while into is not None and block:
            block = block[os.write(into, block) :]
    return sha.digest()


def rename_new(source: bytes, target: bytes) -> None:
    """Rename, but never over something that is there.

    Raises:
        FileExistsError: the target is there.
        OSError: as `os.rename`.

    """
    if _libc.renameat2(AT_FDCWD, source, AT_FDCWD, target, RENAME_NOREPLACE) == 0:
        return
    number = ctypes.get_errno()
    if number not in {errno.EINVAL, errno.ENOSYS}:
        raise OSError(number, os.strerror(number), source, None, target)
    # This file system cannot promise it (NFS); a look beforehand is the best there is.
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    os.rename(source, target)


def flush(places: Iterable[bytes]) -> None:
    """Make files and folders survive a power cut.

    Args:
        places: files and folders, all on one file system.

    """
    places = list(dict.fromkeys(places))
    for place in places if len(places) <= FEW else places[:1]:
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if len(places) <= FEW:
                os.fsync(descriptor)
            elif _libc.syncfs(descriptor) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), place)
        finally:
            os.close(descriptor)


def prune(folder: bytes, *, until: bytes) -> None:
    """Remove a folder and those above it while they are empty; `until` itself stays."""
    while folder != until and folder.startswith(until):
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            pass
        except OSError:
            return
        folder = os.path.dirname(folder)
