"""The inotify watch of one folder. It only saves time: the scan finds what the watch misses."""

import os
import threading
import warnings
from collections.abc import Callable

import structlog
from watchdog.events import (
    EVENT_TYPE_CREATED,
    EVENT_TYPE_MOVED,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import InotifyConstants, InotifyFD, Mask

from headgate.listeners.files.source import Source

log = structlog.get_logger()

# watchdog may add the watch of a new folder twice. That is harmless, but it issues a long warning each time.
warnings.filterwarnings("ignore", message="Callback with id", category=RuntimeWarning)


class _Emitter(InotifyEmitter):
    """Subscribes only to the events needed.

    IN_MOVED_FROM must not be among them: each file taken in causes one, and watchdog delays it and all later events for
    half a second to find its pair.
    """

    def get_event_mask_from_filter(self) -> Mask:
        return Mask(
            InotifyConstants.IN_CREATE
            | InotifyConstants.IN_MOVED_TO
            | InotifyConstants.IN_CLOSE_WRITE
            | InotifyConstants.IN_DELETE_SELF
        )


class _Teller(FileSystemEventHandler):
    """Passes on which path to look at. It must never raise: that would end watchdog's thread for good."""

    def __init__(self, tell: Callable[[bytes], None]) -> None:
        self._tell = tell

    def dispatch(self, event: FileSystemEvent) -> None:
        # Ignore changes of folders: one follows each change of a file, and we would scan the whole folder each time.
        if not event.is_directory or event.event_type in {EVENT_TYPE_CREATED, EVENT_TYPE_MOVED}:
            self._tell(os.fsencode(event.dest_path or event.src_path))


class Watch:
    """Watches the folder of one source, and notices when the watch has stopped.

    Args:
        source: the source whose folder it watches.
        tell: called from another thread, with the absolute path of whatever appeared or was closed.

    """

    def __init__(self, *, source: Source, tell: Callable[[bytes], None]) -> None:
        self._source = source
        self._tell = tell
        self._observer: BaseObserver | None = None
        self._inotify: InotifyFD | None = None
        self._root: tuple[int, int] | None = None  # device and inode of the watched folder
        self._complained = False

    @property
    def threads(self) -> tuple[threading.Thread, ...]:
        """The threads that the watch needs; none if it is not watching."""
        if self._observer is None or self._inotify is None:
            return ()
        return (self._observer, self._inotify, *self._observer.emitters)

    def mend(self) -> bool:
        """Watch the folder if it is not watched: at first, after a thread died, or after the folder was recreated.

        Returns:
            Whether the watch is new: then a scan must find the files it has not reported.

        """
        try:
            found = os.stat(self._source.root)
            root = (found.st_dev, found.st_ino)
            if root == self._root and self.threads and all(thread.is_alive() for thread in self.threads):
                return False
            again = self._root is not None
            self.close()
            self._start()
        except OSError as error:
            self.close()
            if not self._complained:
                self._complained = True
                log.warning(
                    "folder not watched; scans go on, and the watch is tried again",
                    action="watch",
                    pipeline=self._source.pipeline,
                    source=self._source.name,
                    error=str(error),
                )
            return False
        self._root = root
        log.info(
            "folder watched again" if again or self._complained else "folder watched",
            action="watch",
            pipeline=self._source.pipeline,
            source=self._source.name,
        )
        self._complained = False
        return True

    def _start(self) -> None:
        self._inotify = InotifyFD()
        self._inotify.start()
        self._observer = BaseObserver(_Emitter, inotify_fd=self._inotify)
        self._observer.schedule(
            _Teller(self._tell), os.fsdecode(self._source.root), recursive=self._source.folder.recursive
        )
        self._observer.start()

    def close(self) -> None:
        """Stop watching, and wait for the threads to end."""
        threads = self.threads
        observer, inotify = self._observer, self._inotify
        self._observer = self._inotify = None
        if observer is not None:
            observer.stop()
        if inotify is not None:
            inotify.stop()
        for thread in threads:
            if thread.ident is not None:
                thread.join(timeout=5)
