"""The system calls that intake relies on, each with the guarantee it gives."""

import ctypes
import errno
import fcntl
import hashlib
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK, because a file may be replaced by a FIFO between two looks, and opening that would block.
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
BLOCK = 1024 * 1024
FEW = 8  # up to this many fsyncs cost less than one syncfs, and do not wait for the data of other processes

AT_FDCWD = -100
RENAME_NOREPLACE = 1
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def folder_beneath(root: bytes, path: bytes) -> Iterator[int]:
    """Open a folder below a root without following symbolic links.

    Raises:
        OSError: the folder does not exist, or a part of the path is a symbolic link or not a folder.

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
    """Open a file in an open folder; refuse a symbolic link."""
    descriptor = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def entries_beneath(root: bytes, start: bytes, *, recursive: bool) -> Iterator[tuple[bytes, "os.DirEntry[str]"]]:
    """Yield all entries below a folder, with their paths relative to the root; hidden folders are not entered.

    A folder that vanishes or cannot be read is skipped.
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
    """Return whether any process has the file open for writing.

    The kernel refuses a read lease while there is a writer. If it cannot tell (a file system without leases, another
    user's file), return None: then only an unchanged file shows that it is complete.
    """
    # If a writer opens the file while we hold the lease, the kernel sends us a signal. SIGIO, the default, would end
    # the process; SIGURG is ignored.
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
    """Return the sha256 of an open file, read from its current position; also copy the bytes to `into` if given."""
    sha = hashlib.sha256()
    while block := os.read(descriptor, BLOCK):
        sha.update(block)
        while into is not None and block:
            block = block[os.write(into, block) :]
    return sha.digest()


def rename_new(source: bytes, target: bytes) -> None:
    """Rename a file without ever replacing an existing one.

    Raises:
        FileExistsError: the target exists.
        OSError: as `os.rename`.

    """
    if _libc.renameat2(AT_FDCWD, source, AT_FDCWD, target, RENAME_NOREPLACE) == 0:
        return
    number = ctypes.get_errno()
    if number not in {errno.EINVAL, errno.ENOSYS}:
        raise OSError(number, os.strerror(number), source, None, target)
    # This file system does not support RENAME_NOREPLACE (NFS); checking first is the best alternative.
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    os.rename(source, target)


def flush(places: Iterable[bytes]) -> None:
    """Write files and folders to disk, so that they survive a power cut.

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
    """Remove a folder and its parents up to `until` as long as they are empty; `until` itself stays."""
    while folder != until and folder.startswith(until):
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            pass
        except OSError:
            return
        folder = os.path.dirname(folder)
