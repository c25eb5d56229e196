"""The file listener: looks where something happened, scans for what nobody reported, takes in what is complete."""

import errno
import fcntl
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic, time

import structlog

from worker.errors import LedgerUnavailable
from worker.listeners.disk import entries_beneath, folder_beneath, has_writer, opened
from worker.listeners.intake import Found, Intake
from worker.listeners.ledger import Ledger
from worker.listeners.readiness import Sighting, Stamp, due, marked_by, marker_of, put_off, sight, wanted
from worker.listeners.settling import Settler
from worker.listeners.source import Source, sources_of
from worker.listeners.spool import Spool
from worker.listeners.watch import Watch
from worker.model import Places
from worker.pipeline import Pipeline
from worker.settings import ListenerSettings

TURN = 0.5  # seconds; the longest wait between two looks at the watches and at the request to stop
AFTER_FAILURE = 5.0  # seconds
BURST = 4096  # so many reports at once, and the kernel's queue may have overflowed without a word

log = structlog.get_logger()


class FileListener:
    """Watches the folders of all pipelines until it is asked to stop.

    Only one listener works on a spool at a time; a second one waits, and takes over when the first is gone.

    Args:
        pipelines: whose folders.
        inbox: what relative folders stand below.
        places: where bytes are kept.
        settings: how often to scan, and how many arrivals to open in one transaction.
        ledger: where arrivals are opened.
        stop: set: finish what is in hand and return.

    """

    def __init__(  # noqa: PLR0913 - one keyword a collaborator
        self,
        *,
        pipelines: Iterable[Pipeline],
        inbox: Path,
        places: Places,
        settings: ListenerSettings,
        ledger: Ledger,
        stop: threading.Event,
    ) -> None:
        pipelines = tuple(pipelines)
        self._sources = sources_of(pipelines, inbox)
        self._places = places
        self._scan_every = settings.scan_every
        self._stop = stop
        self._settler = Settler(places=places, ledger=ledger, pipelines=pipelines)
        self._intake = Intake(
            ledger=ledger,
            spool=Spool(places=places),
            settler=self._settler,
            batch=settings.batch,
            stop=stop,
        )
        self._looks: SimpleQueue[tuple[Source, bytes]] = SimpleQueue()
        self.watches = {source: Watch(source=source, tell=partial(self._told, source)) for source in self._sources}
        self._sightings: dict[tuple[Source, bytes], Sighting] = {}
        self._left: dict[tuple[Source, bytes], Stamp] = {}  # taken in, and still in the folder
        self._next_scan = 0.0
        self.found_by_scan = 0  # files that no watch had reported

    def run(self) -> None:
        """Take files in until asked to stop. An error with one file or folder never stops the others."""
        with ExitStack() as stack:
            if not stack.enter_context(self._alone()):
                return
            for watch in self.watches.values():
                stack.callback(watch.close)
            for source in self._sources:
                _make(source)
            recovered = False
            while not self._stop.is_set():
                try:
                    if not recovered:
                        self._intake.recover(self._sources)
                        recovered = True
                    self._turn()
                except LedgerUnavailable:
                    continue  # asked to stop: what was taken in is opened at the next start
                except Exception:
                    log.exception("listener failed; it goes on", action="listen")
                    self._stop.wait(AFTER_FAILURE)

    def _turn(self) -> None:
        # First the watches, then the scan: what comes between the two is reported.
        for watch in self.watches.values():
            if watch.mend():
                self._next_scan = 0
        if monotonic() >= self._next_scan:
            self._scan_all()
        complete = self._complete()
        for failed in self._intake.take_in(complete):
            self._left.pop((failed.source, failed.path), None)
            self._sightings[failed.source, failed.path] = Sighting(failed.stamp, monotonic() + AFTER_FAILURE)
        if self._intake.next_try is not None and monotonic() >= self._intake.next_try:
            self._intake.open_held()
        self._wait()

    def _scan_all(self) -> None:
        self._next_scan = monotonic() + self._scan_every / timedelta(seconds=1)
        before = len(self._sightings)
        for source in self._sources:
            self._scan(source, b"")
            here = [path for of, path in self._left if of == source]
            for path in here:
                if not os.path.lexists(os.path.join(source.root, path)):
                    del self._left[source, path]
        # What a run committed and did not live to put away.
        with suppress(LedgerUnavailable):
            self._settler.settle()
        found = len(self._sightings) - before
        self.found_by_scan += found
        if found:
            log.info("scan found files", action="scan", count=found)

    def _scan(self, source: Source, folder: bytes) -> None:
        for path, entry in entries_beneath(source.root, folder, recursive=source.folder.recursive):
            if wanted(os.path.basename(path), source.folder):
                try:
                    self._sight(source, path, Stamp.of(entry.stat(follow_symlinks=False)))
                except FileNotFoundError:
                    continue

    def _told(self, source: Source, path: bytes) -> None:
        self._looks.put((source, path))

    def _wait(self) -> None:
        """Wait until there is something to do, and look at what was reported meanwhile."""
        now = monotonic()
        times = [due(source.folder.ready, sighting) for (source, _), sighting in self._sightings.items()]
        until = min([*times, self._next_scan, self._intake.next_try or now + TURN, now + TURN])
        reported: set[tuple[Source, bytes]] = set()
        try:
            reported.add(self._looks.get(timeout=max(0.0, until - now)))
            count = self._looks.qsize()
            if count >= BURST:
                self._next_scan = now
            for _ in range(count):
                reported.add(self._looks.get_nowait())
        except Empty:
            pass
        for source, path in reported:
            self._look(source, path)

    def _look(self, source: Source, reported: bytes) -> None:
        """Look at what was reported: a file, a folder that came with files in it, or a marker."""
        path = marked_by(os.path.relpath(reported, source.root), source.folder.ready)
        if any(part.startswith(b".") for part in path.split(b"/")):
            return
        folder, name = os.path.split(path)
        try:
            with folder_beneath(source.root, folder) as descriptor:
                found = os.lstat(name, dir_fd=descriptor)
        except OSError:
            self._sightings.pop((source, path), None)
            return
        stamp = Stamp.of(found)
        if stamp.folder and source.folder.recursive:
            self._scan(source, path)
        if wanted(name, source.folder):
            self._sight(source, path, stamp)

    def _sight(self, source: Source, path: bytes, stamp: Stamp) -> None:
        if self._left.get((source, path)) != stamp:
            key = source, path
            age = time() - stamp.mtime_ns / 1e9
            self._sightings[key] = sight(self._sightings.get(key), stamp, monotonic(), age)

    def _complete(self) -> list[Found]:
        """Pick the files whose time has come, and which are as they were when they were seen."""
        now = monotonic()
        complete = []
        for (source, path), sighting in list(self._sightings.items()):
            rule = source.folder.ready
            if due(rule, sighting) > now:
                continue
            key = source, path
            try:
                stamp, marked, writer = _inspect(source, path)
            except OSError as error:
                if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                    log.warning("file not readable; tried again", action="look", source=source.name, error=str(error))
                    self._sightings[key] = Sighting(sighting.stamp, now + AFTER_FAILURE)
                    continue
                del self._sightings[key]
                continue
            if not marked:
                del self._sightings[key]  # its marker will be reported
            elif writer:
                self._sightings[key] = put_off(rule, sighting, now)
            elif stamp != sighting.stamp:
                self._sightings[key] = sight(sighting, stamp, now)
            elif writer is None and sighting.told:
                self._sightings[key] = Sighting(stamp, now)
            else:
                del self._sightings[key]
                if source.folder.after == "leave" or stamp.folder:
                    self._left[key] = stamp
                complete.append(Found(source, path, stamp))
        return complete

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Wait until no other listener works on this spool; False if asked to stop before."""
        self._places.spool.mkdir(parents=True, exist_ok=True)
        with (self._places.spool / ".listener.lock").open("w") as lock:
            told = False
            while not self._stop.is_set():
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if not told:
                        log.info("another listener is at work; waiting to take over", action="listen")
                        told = True
                    self._stop.wait(TURN)
                else:
                    yield True
                    return
            yield False


def _inspect(source: Source, path: bytes) -> tuple[Stamp, bool, bool | None]:
    """Look at a file in its folder: what it is, whether its marker is there, whether somebody writes to it if known."""
    folder, name = os.path.split(path)
    with folder_beneath(source.root, folder) as descriptor:
        stamp = Stamp.of(os.lstat(name, dir_fd=descriptor))
        if marker := marker_of(name, source.folder.ready):
            try:
                os.lstat(marker, dir_fd=descriptor)
            except FileNotFoundError:
                return stamp, False, False
        if not stamp.regular:
            return stamp, True, False
        with opened(name, descriptor) as file:
            return stamp, True, has_writer(file)


def _make(source: Source) -> None:
    """Make a watched folder that is not there; one that cannot be made is reported, and the others go on."""
    try:
        os.makedirs(source.root, exist_ok=True)
    except OSError as error:
        log.warning(
            "folder not made; make it, or correct its path",
            action="listen",
            pipeline=source.pipeline,
            source=source.name,
            error=str(error),
        )
