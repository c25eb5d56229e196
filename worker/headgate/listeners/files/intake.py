"""From complete files to arrivals in the ledger, many in one transaction."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from time import monotonic
from typing import TypeVar

import structlog

from headgate.crashpoint import crashpoint
from headgate.errors import FileUnsettled, HomeUnavailable, LedgerRefused, LedgerUnavailable, WrongDatabase
from headgate.listeners.files.ledger import Ledger
from headgate.listeners.files.readiness import Stamp
from headgate.listeners.files.settling import Settler
from headgate.listeners.files.source import Source
from headgate.listeners.files.spool import Held, Sealed, Spool
from headgate.model import NewArrival, Opened, Reason

SHORTEST_PAUSE = 0.1  # seconds
LONGEST_PAUSE = 2.0  # seconds

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Found:
    """A complete file in the inbox."""

    source: Source
    path: bytes  # relative to the source's root
    stamp: Stamp
    noticed: datetime  # when it was first seen in its present state


class Intake:
    """Takes files in, opens their arrivals, and lets go of the files that the ledger knows.

    It holds files that are taken in but cannot be opened as arrivals yet: those with a writer, and unreadable ones.

    Args:
        ledger: opens the arrivals.
        spool: takes the bytes.
        settler: settles duplicates and rejected arrivals.
        batch: the most arrivals to open in one transaction.
        stop: once it is set, no more files are taken in, and nothing waits for the ledger.

    """

    def __init__(self, *, ledger: Ledger, spool: Spool, settler: Settler, batch: int, stop: threading.Event) -> None:
        self._ledger = ledger
        self._spool = spool
        self._settler = settler
        self._batch = batch
        self._stop = stop
        self._held: dict[str, Held] = {}  # by token
        self._pause = SHORTEST_PAUSE
        self._next_try = 0.0

    @property
    def next_try(self) -> float | None:
        """When to call `open_held` again, on the monotonic clock, or None if nothing is held."""
        return self._next_try if self._held else None

    def recover(self, sources: Iterable[Source]) -> None:
        """Recover the files left from when the home was last served: open orphans, and settle what has ended.

        Raises:
            LedgerUnavailable: only if asked to stop while the ledger was unavailable.
            HomeUnavailable: the home cannot be used.

        """
        self._held = {token: held for token, held in self._held.items() if held.moved}  # the scan finds the others
        sources = tuple(sources)
        if adopted := self._patiently(lambda: self._ledger.adopt(self._spool.has)):
            log.info("files from before there were homes belong to this one", action="adopt", arrivals=adopted)
        self._report_strays(sources)
        found = sorted(self._spool.left_over(sources), key=_age)
        known = self._patiently(lambda: self._ledger.spooled([held.place for held in found])) if found else set()
        for held in found:
            if held.place in known:
                self._spool.acknowledge(held)
            else:
                self._held[held.token] = held
        if found:
            log.info("spool looked through", action="recover", known=len(known), orphans=len(self._held))
        self.open_held()
        self._patiently(self._settler.settle)

    def take_in(self, found: Sequence[Found]) -> list[Found]:
        """Take files in and open their arrivals.

        Returns:
            The files that could not be taken in; they stay where they are.

        Raises:
            LedgerUnavailable: only if asked to stop while the ledger was unavailable.

        """
        failed: list[tuple[Found, OSError]] = []
        for start in range(0, len(found), self._batch):
            for one in self._unseen(found[start : start + self._batch]):
                try:
                    held = replace(self._spool.take(one.source, one.path), noticed=one.noticed)
                    self._held[held.token] = held
                except FileNotFoundError:
                    continue  # its owner removed it
                except OSError as problem:
                    failed.append((one, problem))
            self.open_held()
            if self._stop.is_set():
                break
        if failed:
            first, error = failed[0]
            log.warning(
                "files not taken in; they stay where they are and are tried again",
                action="take",
                pipeline=first.source.pipeline,
                count=len(failed),
                first=printable(first.path),
                error=str(error),
            )
        return [one for one, _ in failed]

    def _unseen(self, found: Sequence[Found]) -> list[Found]:
        """Leave out files that stay in their folder and were opened before."""
        left: dict[Source, list[tuple[bytes, int, int]]] = {}
        for one in found:
            if one.source.folder.after == "leave":
                left.setdefault(one.source, []).append((one.path, one.stamp.size, one.stamp.mtime_ns))
        seen = {
            (source, *file)
            for source, files in left.items()
            for file in self._patiently(partial(self._ledger.seen, source.pipeline, source.name, files))
        }
        return [one for one in found if (one.source, one.path, one.stamp.size, one.stamp.mtime_ns) not in seen]

    def open_held(self) -> None:
        """Open the arrivals of all held files that are complete.

        Raises:
            LedgerUnavailable: only if asked to stop while the ledger was unavailable; the next start opens them.
            HomeUnavailable: the home cannot be used; the files stay held.

        """
        held = list(self._held.values())
        for start in range(0, len(held), self._batch):
            sealed = self._seal(held[start : start + self._batch])
            crashpoint("intake.after-take")
            self._spool.flush(sealed)
            crashpoint("intake.before-open")
            opened = self._open(sealed)
            crashpoint("intake.after-open")
            self._let_go(opened)
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if self._held else SHORTEST_PAUSE
        self._next_try = monotonic() + self._pause

    def _seal(self, held: Sequence[Held]) -> list[Sealed]:
        sealed = []
        for one in held:
            try:
                sealed.append(self._spool.seal(one))
            except FileUnsettled:
                continue
            except FileNotFoundError as error:
                del self._held[one.token]
                if one.moved:
                    log.error("file lost from the spool", action="seal", place=one.place, error=str(error))  # noqa: TRY400 - the error says it all
            except OSError as error:
                log.warning("file not readable; tried again", action="seal", place=one.place, error=str(error))
        return sealed

    def _open(self, sealed: Sequence[Sealed]) -> list[tuple[Sealed, Opened]]:
        if not sealed:
            return []
        try:
            answers = self._patiently(lambda: self._ledger.open([arrival_of(one) for one in sealed]))
        except (LedgerUnavailable, WrongDatabase, HomeUnavailable):
            raise
        except Exception as error:
            # A file that the ledger refuses must not block the others: halve the batch until it is alone.
            if len(sealed) > 1:
                half = len(sealed) // 2
                return self._open(sealed[:half]) + self._open(sealed[half:])
            if isinstance(error, LedgerRefused):
                return self._open_rejected(sealed[0], error)
            log.exception("arrival not opened; tried again", action="open", place=sealed[0].held.place)
            return []
        return list(zip(sealed, answers, strict=True))

    def _open_rejected(self, sealed: Sealed, error: LedgerRefused) -> list[tuple[Sealed, Opened]]:
        """Open a refused arrival as rejected; if that is refused too, it stays in the spool and is tried again."""
        rejected = replace(arrival_of(sealed), content_key=None, reason=Reason.REFUSED, detail=str(error))
        try:
            (answer,) = self._patiently(lambda: self._ledger.open([rejected]))
        except LedgerRefused as again:
            log.error("arrival not opened; tried again", action="open", place=sealed.held.place, error=str(again))  # noqa: TRY400 - the error says it all
            return []
        return [(sealed, answer)]

    def _let_go(self, opened: Sequence[tuple[Sealed, Opened]]) -> None:
        known = [one.held.place for one, answer in opened if answer.known]
        here = self._patiently(lambda: self._ledger.spooled(known)) if known else set()
        for one, answer in opened:
            if answer.known and one.held.place not in here:
                self._let_go_again(one.held, answer)
            else:
                self._spool.acknowledge(one.held)
            del self._held[one.held.token]
            log.info(
                "arrival opened",
                action="open",
                pipeline=one.held.source.pipeline,
                arrival_id=answer.arrival_id,
                state=answer.state.value,
                known=answer.known,
            )
        ended = [answer.arrival_id for _, answer in opened if answer.state.terminal]
        if ended:
            self._patiently(lambda: self._settler.settle(ended))

    def _let_go_again(self, held: Held, answer: Opened) -> None:
        """Let go of bytes whose arrival is known in another place; drop them only if that arrival is settled."""
        if answer.settled:
            self._spool.drop(held)
            self._spool.acknowledge(held)
        elif answer.lost and self._patiently(lambda: self._ledger.found_again(answer.arrival_id, held.place)):
            self._spool.acknowledge(held)
            log.warning("bytes of a lost arrival found again", action="open", arrival_id=answer.arrival_id)
        else:
            # The arrival's bytes are in another home, or elsewhere in this one, and not settled yet.
            log.warning(
                "bytes of an arrival that is on its way elsewhere; they are kept",
                action="open",
                arrival_id=answer.arrival_id,
                place=held.place,
            )

    def _report_strays(self, sources: Sequence[Source]) -> None:
        """Log files in the spool whose source is no longer declared; without an arrival, nothing else reports them."""
        found = list(self._spool.strays(sources))
        known = self._patiently(lambda: self._ledger.spooled(found)) if found else set()
        if strays := sorted(set(found) - known):
            log.error(
                "the spool has files of sources that are not declared any more; declare them again, or take them away",
                action="recover",
                count=len(strays),
                first=strays[0],
            )

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask the ledger until it answers; log one line when it is unavailable, and one when it is back."""
        delay = SHORTEST_PAUSE
        while True:
            try:
                answer = ask()
            except LedgerUnavailable as error:
                if delay == SHORTEST_PAUSE:
                    log.warning("ledger away; intake waits", action="open", held=len(self._held), error=str(error))
                if self._stop.wait(delay):
                    raise
                delay = min(2 * delay, LONGEST_PAUSE)
            else:
                if delay > SHORTEST_PAUSE:
                    log.info("ledger back; intake goes on", action="open")
                return answer


def _age(held: Held) -> tuple[int, bytes]:
    """Return a sort key for files that an earlier process took in: their order is lost, so it is that of a scan."""
    try:
        return os.lstat(os.path.join(held.root, held.inside)).st_mtime_ns, held.path
    except OSError:
        return 0, held.path


def arrival_of(sealed: Sealed) -> NewArrival:
    """Return the arrival to open for a sealed file."""
    held, position, source = sealed.held, sealed.position, sealed.held.source
    scope = (source.pipeline.encode(), source.name.encode(errors="surrogateescape"))
    # A file that was moved cannot be taken in twice, so its token identifies it, and the same file dropped again is a
    # new arrival. A file that stays in the inbox is identified by its path, size, time and content alone.
    token = held.token.encode() if held.moved else b""
    detail = f"{printable(held.path)} is a {sealed.kind}: put a regular file in its place."
    return NewArrival(
        pipeline=source.pipeline,
        source=source.name,
        identity=fingerprint(
            *scope,
            held.path,
            b"%d" % position.size,
            b"%d" % position.mtime_ns,
            position.sha256,
            sealed.kind.encode(),
            token,
        ),
        name=printable(held.path),
        position=position,
        content_key=(
            fingerprint(*scope, position.sha256)
            if source.folder.duplicates == "content" and sealed.problem is None
            else None
        ),
        spool=held.place if sealed.kept else None,
        reason=sealed.problem,
        detail=None if sealed.problem is None else detail,
        noticed_at=held.noticed,
    )


def fingerprint(*parts: bytes) -> bytes:
    """Return the sha256 of several values, each preceded by its length, so that different lists never collide."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "big") + part)
    return sha.digest()


def printable(path: bytes) -> str:
    r"""Return a path as text for people; bytes that are not UTF-8 or not printable are escaped as `\xe9`."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
