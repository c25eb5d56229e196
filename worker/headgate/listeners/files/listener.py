"""The file listener: looks at what the watches report, scans for what they miss, and takes in complete files."""

import errno
import os
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic, time

import structlog

from headgate.errors import HomeUnavailable, LedgerUnavailable, WrongDatabase
from headgate.listeners.files.alone import alone_on
from headgate.listeners.files.beat import Beat
from headgate.listeners.files.disk import folder_beneath
from headgate.listeners.files.inspection import files_beneath, inspect
from headgate.listeners.files.intake import Found, Intake
from headgate.listeners.files.ledger import Homes, Ledger
from headgate.listeners.files.paused import PausedSources
from headgate.listeners.files.readiness import Sighting, Stamp, due, marked_by, put_off, sight, wanted
from headgate.listeners.files.settling import Settler
from headgate.listeners.files.source import Source, sources_of
from headgate.listeners.files.spool import Spool
from headgate.listeners.files.untaken import Untaken, Why
from headgate.listeners.files.watch import Watch
from headgate.model import Places
from headgate.pipeline import Pipeline
from headgate.pulse import Pulse
from headgate.setting_groups import ListenerSettings

TURN = 0.5  # seconds; the longest time between two checks of the watches and of the request to stop
AFTER_FAILURE = 2.0  # seconds
HOME_AGAIN = 1.0  # seconds between two tries while the home cannot be used
BURST = 4096  # with this many reports at once, the kernel's queue may have overflowed unnoticed: scan

log = structlog.get_logger()


class FileListener:
    """Watches the folders of all pipelines until it is asked to stop.

    Only one listener works on a spool at a time; a second one waits, and takes over when the first is gone.

    Args:
        pipelines: the pipelines whose folders it watches.
        inbox: the folder that relative folders are below.
        places: where bytes are kept.
        settings: how often to scan, and how many arrivals to open in one transaction.
        ledger: opens the arrivals.
        homes: the ledger's homes; the listener serves one of them.
        lease: how long the home counts as served without a beat.
        stop: once it is set, the listener finishes what it is doing and returns.
        pulse: reports that the loop turns, and what keeps it from its work.
        paused: returns the paused sources, by pipeline and name.

    """

    def __init__(  # noqa: PLR0913 - one keyword a collaborator
        self,
        *,
        pipelines: Iterable[Pipeline],
        inbox: Path,
        places: Places,
        settings: ListenerSettings,
        ledger: Ledger,
        homes: Homes,
        lease: timedelta,
        stop: threading.Event,
        pulse: Pulse | None = None,
        paused: Callable[[], Collection[tuple[str, str]]] = frozenset,
    ) -> None:
        pipelines = tuple(pipelines)
        self._paused = PausedSources(paused)
        self._pulse = pulse or Pulse()
        self._untaken = Untaken()
        self._homes = homes
        self._beat_every = lease / 3
        self._trouble = ""
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
        self._left: dict[tuple[Source, bytes], Stamp] = {}  # taken in, but still in their folder
        self._next_scan = 0.0
        self.found_by_scan = 0  # files that no watch had reported

    def run(self) -> None:
        """Take files in until asked to stop. An error with one file or folder never stops the others.

        Raises:
            WrongDatabase: the database does not let us in, or lacks what we need.

        """
        with ExitStack() as stack:
            for watch in self.watches.values():
                stack.callback(watch.close)
            while not self._stop.is_set():
                try:
                    # Lock again each time: another folder, with another lock, may be mounted now.
                    with alone_on(self._places.spool, self._stop) as alone:
                        if alone:
                            self._serve()
                except (HomeUnavailable, LedgerUnavailable) as error:
                    self._tell(str(error))
                    self._stop.wait(HOME_AGAIN)

    def _serve(self) -> None:
        """Take files in to the home until asked to stop.

        Raises:
            HomeUnavailable: the home cannot be used, or can no longer be used.
            LedgerUnavailable: the ledger did not answer when the listener joined the home.

        """
        mark = self._homes.join()
        self._tell("")
        for source in self._sources:
            _make(source)
        self._next_scan = 0.0
        self._left.clear()  # look again at files that an outage kept from being opened
        recovered = False
        with Beat(self._homes, self._beat_every) as beat:
            while not self._stop.is_set():
                try:
                    self._homes.look(mark)
                    beat.look()
                    if not recovered:
                        self._intake.recover(self._sources)
                        recovered = True
                    self._turn()
                except LedgerUnavailable:
                    continue  # asked to stop: the next start opens the files taken in
                except (HomeUnavailable, WrongDatabase):
                    raise
                except Exception:
                    log.exception("listener failed; it goes on", action="listen")
                    self._stop.wait(AFTER_FAILURE)

    def _tell(self, trouble: str) -> None:
        """Log once what keeps files from being taken in, and once that it is over."""
        if trouble and trouble != self._trouble:
            log.error("files wait in their folders", action="listen", error=trouble)
        elif self._trouble and not trouble:
            log.info("files are taken in again", action="listen")
        self._trouble = trouble
        self._pulse.trouble = trouble or None

    def _turn(self) -> None:
        self._pulse.turn()
        # Watches before the scan, so that files that come between the two are reported.
        for watch in self.watches.values():
            if watch.mend():
                self._next_scan = 0
        if monotonic() >= self._next_scan:
            self._scan_all()
        self._paused.look()
        complete = self._complete()
        for failed in self._intake.take_in(complete):
            self._left.pop((failed.source, failed.path), None)
            self._sightings[failed.source, failed.path] = Sighting(
                failed.stamp, monotonic(), monotonic() + AFTER_FAILURE
            )
        if self._intake.next_try is not None and monotonic() >= self._intake.next_try:
            self._intake.open_held()
        self._wait()

    def _scan_all(self) -> None:
        self._next_scan = monotonic() + self._scan_every / timedelta(seconds=1)
        before = len(self._sightings)
        self._sight_in_order([file for source in self._sources for file in files_beneath(source, b"", self._untaken)])
        for source in self._sources:
            here = [path for of, path in self._left if of == source]
            for path in here:
                if not os.path.lexists(os.path.join(source.root, path)):
                    del self._left[source, path]
        # Settle what a run committed but did not settle before it died.
        with suppress(LedgerUnavailable):
            self._settler.settle()
        found = len(self._sightings) - before
        self.found_by_scan += found
        if found:
            log.info("scan found files", action="scan", count=found)

    def _sight_in_order(self, files: Iterable[tuple[Source, bytes, Stamp]]) -> None:
        """Sight unreported files, oldest first, because arrivals are numbered in the order of sightings."""
        for source, path, stamp in sorted(files, key=lambda file: (file[2].mtime_ns, file[1])):
            self._sight(source, path, stamp)

    def _told(self, source: Source, path: bytes) -> None:
        self._looks.put((source, path))

    def _wait(self) -> None:
        """Wait until there is something to do, then look at what was reported meanwhile."""
        now = monotonic()
        times = [
            due(source.folder.ready, sighting)
            for (source, _), sighting in self._sightings.items()
            if source not in self._paused
        ]
        until = min([*times, self._next_scan, self._intake.next_try or now + TURN, now + TURN])
        reported: list[tuple[Source, bytes]] = []
        with suppress(Empty):
            reported.append(self._looks.get(timeout=max(0.0, until - now)))
            count = self._looks.qsize()
            if count >= BURST:
                self._next_scan = now
            reported.extend(self._looks.get_nowait() for _ in range(count))
        # Keep only the last report of each path: that is when its writer closed it.
        reported = list(dict.fromkeys(reversed(reported)))[::-1]
        for source, path in reported:
            self._look(source, path)

    def _look(self, source: Source, reported: bytes) -> None:
        """Look at a reported path: a file, a new folder that may hold files, or a marker."""
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
            self._sight_in_order(files_beneath(source, path))
        if wanted(name, source.folder):
            self._sight(source, path, stamp, reported=True)

    def _sight(self, source: Source, path: bytes, stamp: Stamp, *, reported: bool = False) -> None:
        if self._left.get((source, path)) == stamp:
            return
        key = source, path
        before = self._sightings.get(key)
        now, age = monotonic(), time() - stamp.mtime_ns / 1e9
        seen = sight(before, stamp, now, age)
        if seen is before and reported:
            # Its writer may have closed it just now. If it was put off, undo that, or later files overtake it.
            seen = replace(seen, since=min(seen.since, sight(None, stamp, now, age).since))
        if seen is not before:
            self._sightings.pop(key, None)  # move it to the end: sightings are in the order of reports
            self._sightings[key] = seen

    def _complete(self) -> list[Found]:
        """Return the files that are due, have no writer, and have not changed since they were sighted."""
        now = monotonic()
        complete = []
        for (source, path), sighting in list(self._sightings.items()):
            rule = source.folder.ready
            if due(rule, sighting) > now or source in self._paused:
                continue
            key = source, path
            try:
                stamp, marked, writer = inspect(source, path)
            except OSError as error:
                if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                    log.warning("file not readable; tried again", action="look", source=source.name, error=str(error))
                    self._sightings[key] = Sighting(sighting.stamp, sighting.seen, now + AFTER_FAILURE)
                    continue
                del self._sightings[key]
                continue
            if not marked:
                self._untaken.note(source, path, Why.MARKER)
                del self._sightings[key]  # its marker will be reported, and brings it back
            elif writer:
                self._untaken.note(source, path, Why.OPEN)
                self._sightings[key] = put_off(rule, sighting, now)
            elif stamp != sighting.stamp:
                self._sightings[key] = sight(sighting, stamp, now)
            elif writer is None and sighting.told:
                self._sightings[key] = Sighting(stamp, sighting.seen, now)
            else:
                del self._sightings[key]
                if source.folder.after == "leave" or stamp.folder:
                    self._left[key] = stamp
                complete.append(Found(source, path, stamp, _clock(now - sighting.seen)))
        return complete


def _clock(ago: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=ago)


def _make(source: Source) -> None:
    """Create a watched folder if it is missing; if that fails, only log it, so that the other folders go on."""
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
