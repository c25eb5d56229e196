"""Arrivals: opened by listeners, shown to people, settled once their bytes are at rest."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import structlog
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from headgate.errors import HomeUnavailable, NotFound
from headgate.ledger.database import Connection, Database
from headgate.ledger.homes import Homes
from headgate.ledger.hops import COLUMNS, Hop
from headgate.ledger.opening import row_of
from headgate.ledger.queries import QUERIES
from headgate.model import ArrivalRecord, Fact, FilePosition, NewArrival, Opened, State

if TYPE_CHECKING:  # it imports polars, which `headgate up` and the embedded Prefect server do without
    from headgate.pipeline import Pipeline

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Unsettled:
    """An ended arrival that is not settled yet."""

    arrival_id: int
    pipeline: str
    source: str
    name: str
    path: bytes
    spool: str | None
    state: State
    reason: str | None
    detail: str | None
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of an arrival's state."""

    at: datetime
    from_state: str | None
    to_state: str
    epoch: int
    by: str | None
    reason: str | None
    detail: str | None


class Arrivals:
    """The arrivals of the ledger.

    Args:
        database: the ledger's database.
        homes: tells the home of this process; methods about files cover only files of this home.
        pipelines: their conditions and starts decide how an arrival begins; other arrivals can be claimed at once.

    Raises:
        LedgerUnavailable: from any method, when the database does not answer.
        HomeUnavailable: from methods about files, when the home of this process cannot be used.

    """

    def __init__(self, database: Database, homes: Homes | None = None, pipelines: "Sequence[Pipeline]" = ()) -> None:
        self._database = database
        self._homes = homes
        self._pipelines = {pipeline.name: pipeline for pipeline in pipelines}

    def _here(self, connection: Connection) -> UUID:
        if self._homes is None:
            raise HomeUnavailable("This process has no home: only ranges can be opened here.")
        return self._homes.here(connection)

    def _usable(self, connection: Connection) -> UUID | None:
        return self._homes.usable(connection)[0] if self._homes is not None else None

    def open(self, arrivals: Sequence[NewArrival]) -> list[Opened]:
        """Open arrivals in one transaction, and wake the announcer.

        Args:
            arrivals: what was noticed, for any mix of pipelines.

        Returns:
            What became of each, in the same order: new, already known, rejected as asked, or a duplicate.

        """
        with self._database.transaction() as connection:
            return self.open_within(connection, arrivals)

    def open_within(self, connection: Connection, arrivals: Sequence[NewArrival]) -> list[Opened]:
        """Open arrivals in the caller's transaction."""
        opened = self._open(connection, arrivals)
        fresh = [each for each in opened if not each.known]
        ids = [each.arrival_id for each in fresh]
        kinds = {"of_file": Fact.FILE_ARRIVED, "of_messages": Fact.MESSAGES_ARRIVED}
        connection.execute(QUERIES["post_arrived"], {"ids": ids, **kinds})
        rejected = [each.arrival_id for each in fresh if each.state is State.REJECTED]
        if rejected:
            connection.execute(QUERIES["set_aside_arrival"], {"ids": rejected, "stage": "intake"})
            connection.execute(QUERIES["post_rejected"], {"ids": rejected, "kind": Fact.REJECTED})
        for pipeline in {arrival.pipeline for arrival in arrivals}:
            connection.execute(QUERIES["notify"], {"pipeline": pipeline})
        return opened

    def replay(self, arrival: NewArrival, dead_letters: Sequence[int]) -> Opened | None:
        """Open an arrival that puts dead letters back on the road, and close them, in one transaction.

        Args:
            arrival: holds the dead letters' bytes, and is linked to the arrival that they came in.
            dead_letters: their numbers.

        Returns:
            The new arrival, or the existing one if this replay was made before. None, with nothing done, if some of
            the dead letters are no longer open: somebody else may have replayed or discarded them.

        """
        with self._database.transaction() as connection:
            # Lock first, and everywhere in the same order: of two overlapping replays, one sees what the other closed.
            open_ = connection.execute(QUERIES["lock_dead_letters"], {"ids": list(dead_letters)}).fetchall()
            if len(open_) < len(dead_letters):
                before = connection.execute(QUERIES["known"], {"identity": arrival.identity}).fetchone()
                return Opened(before["arrival_id"], State(before["state"]), known=True) if before else None
            (opened,) = self._open(connection, [arrival])
            closing = {"ids": list(dead_letters), "state": "replayed", "replayed_as": opened.arrival_id}
            connection.execute(QUERIES["close_dead_letters"], closing)
            if not opened.known:
                facts = Jsonb(
                    {"arrival_id": opened.arrival_id, "replay_of": arrival.replay_of, "count": len(dead_letters)}
                )
                asked = {"kind": Fact.REPLAYED, "pipeline": arrival.pipeline, "facts": facts}
                connection.execute(QUERIES["post"], asked)
            connection.execute(QUERIES["notify"], {"pipeline": arrival.pipeline})
        log.info("replayed", action="replay", arrival_id=opened.arrival_id, replay_of=arrival.replay_of)
        return opened

    def _open(self, connection: Connection, arrivals: Sequence[NewArrival]) -> list[Opened]:
        of_files = any(isinstance(arrival.position, FilePosition) for arrival in arrivals)
        home = self._here(connection) if of_files else None
        rows = [row_of(arrival, home, self._pipelines.get(arrival.pipeline)) for arrival in arrivals]
        opened: list[Opened] = []
        if not rows:
            return opened
        with connection.cursor() as cursor:
            cursor.executemany(QUERIES["open"], rows, returning=True)
            results = []
            while True:
                results.append(cursor.fetchone())
                if not cursor.nextset():
                    break
        for row, result in zip(rows, results, strict=True):
            known = False
            if result is None:
                result = connection.execute(QUERIES["known"], row).fetchone()  # noqa: PLW2901 - the same row, found later
                known = result is not None
            if result is None:
                result = connection.execute(QUERIES["open_duplicate"], row).fetchone()  # noqa: PLW2901 - as above
            if result is None:
                # The arrival with the same content was rejected between the two statements, so this one can open now.
                result = connection.execute(QUERIES["open"], row).fetchone()  # noqa: PLW2901 - as above
            if result is None:
                raise AssertionError("an arrival is new, known or a duplicate")
            rest = {"settled": result["settled"], "lost": result["lost"]} if known else {}
            opened.append(Opened(result["arrival_id"], State(result["state"]), known, **rest))
        return opened

    def seen(self, pipeline: str, source: str, files: Sequence[tuple[bytes, int, int]]) -> set[tuple[bytes, int, int]]:
        """Return those of these files (path, size, mtime_ns) that were opened before."""
        with self._database.transaction() as connection:
            paths = [hashlib.sha256(path).digest() for path, _, _ in files]
            asked = {"pipeline": pipeline, "source": source, "paths": paths, "home": self._here(connection)}
            rows = connection.execute(QUERIES["seen"], asked).fetchall()
        return {(row["path"], row["size_bytes"], row["mtime_ns"]) for row in rows} & set(files)

    def spooled(self, spools: Sequence[str]) -> set[str]:
        """Return those of these places in the spool that belong to an arrival."""
        with self._database.transaction() as connection:
            asked = {"spools": list(spools), "home": self._here(connection)}
            return {row["spool"] for row in connection.execute(QUERIES["spooled"], asked)}

    def adopt(self, has: Callable[[str, bytes], bool]) -> int:
        """Assign files opened before homes existed to this home if it has their bytes; return how many.

        Args:
            has: tells whether this home has a file, given its place in the spool and its path.

        """
        with self._database.transaction() as connection:
            home = self._here(connection)
            found = connection.execute(QUERIES["homeless"]).fetchall()
            ids = [row["arrival_id"] for row in found if row["spool"] is None or has(row["spool"], row["path"])]
            return connection.execute(QUERIES["adopt"], {"ids": ids, "home": home}).rowcount if ids else 0

    def found_again(self, arrival_id: int, spool: str) -> bool:
        """Record that the bytes of an arrival given up as lost are in the spool; return whether it was given up."""
        with self._database.transaction() as connection:
            asked = {"arrival_id": arrival_id, "spool": spool, "home": self._here(connection)}
            return connection.execute(QUERIES["found_again"], asked).rowcount == 1

    def settled(self, places: Mapping[int, Path | None]) -> None:
        """Record where the bytes of ended arrivals of this home are kept; None if they are not kept."""
        if not places:
            return
        kept = [
            None if place is None else str(place).encode(errors="backslashreplace").decode()
            for place in places.values()
        ]
        with self._database.transaction() as connection:
            # Files only if the home can be used: while it was unavailable, a file only seemed to be gone.
            asked = {"ids": list(places), "kept_at": kept, "home": self._usable(connection)}
            connection.execute(QUERIES["settled"], asked)

    def unsettled(self, ids: Sequence[int] | None = None, *, limit: int = 10_000) -> list[Unsettled]:
        """Return unsettled arrivals of this home that have ended: all of them, or those with these ids.

        While the home cannot be used, only ranges are returned, which belong to no home.
        """
        with self._database.transaction() as connection:
            asked = {"ids": None if ids is None else list(ids), "limit": limit, "home": self._usable(connection)}
            rows = connection.execute(QUERIES["unsettled"], asked).fetchall()
        return [Unsettled(**{**row, "state": State(row["state"])}) for row in rows]

    def find(  # noqa: PLR0913 - one keyword per filter of the command
        self,
        *,
        arrival_id: int | None = None,
        pipeline: str | None = None,
        state: State | None = None,
        name: str | None = None,
        since: timedelta | None = None,
        limit: int = 50,
    ) -> list[ArrivalRecord]:
        """Return arrivals for display, newest first; `name` is a LIKE pattern."""
        filters = {
            "arrival_id": arrival_id,
            "pipeline": pipeline,
            "state": state,
            "name": name,
            "since": since,
            "limit": limit,
        }
        with self._database.transaction() as connection:
            rows = connection.execute(QUERIES["arrivals"], filters).fetchall()
        return [ArrivalRecord(size=row.pop("size_bytes"), state=State(row.pop("state")), **row) for row in rows]

    def show(self, arrival_id: int) -> tuple[ArrivalRecord, list[Transition]]:
        """Return an arrival and its transitions.

        Raises:
            NotFound: no such arrival exists.

        """
        found = self.find(arrival_id=arrival_id)
        if not found:
            raise NotFound(f"There is no arrival {arrival_id}; `headgate arrivals list` shows what there is.")
        with self._database.transaction() as connection, connection.cursor(row_factory=class_row(Transition)) as cursor:
            return found[0], cursor.execute(QUERIES["transitions"], {"arrival_id": arrival_id}).fetchall()

    def hops(self, arrival_id: int) -> list[Hop]:
        """Return the hops that an arrival has taken, in order.

        The times are the database's, except for "modified" (the file's own) and "noticed" (the listener's).
        """
        with self._database.transaction() as connection:
            row = connection.execute(QUERIES["hops"], {"arrival_id": arrival_id}).fetchone() or {}
        return [Hop(name, row[column]) for name, column in COLUMNS.items() if row.get(column) is not None]

    def hold(self, arrival_id: int) -> None:
        """Keep an arrival from being claimed until it is released.

        Raises:
            NotFound: no such arrival exists, or it is not waiting.

        """
        self._switch("hold", arrival_id, "is not waiting, so it cannot be held")

    def release(self, arrival_id: int) -> None:
        """Let a held or parked arrival be claimed, whatever the start of its pipeline says.

        Raises:
            NotFound: no such arrival exists, or it is neither.

        """
        self._switch("unhold", arrival_id, "is neither held nor parked")

    def _switch(self, query: str, arrival_id: int, refusal: str) -> None:
        with self._database.transaction() as connection:
            changed = connection.execute(QUERIES[query], {"arrival_id": arrival_id}).fetchone()
        if changed is None:
            record, _ = self.show(arrival_id)
            raise NotFound(f"Arrival {arrival_id} is {record.state}: it {refusal}.")
        log.info("arrival switched", action=query, arrival_id=arrival_id)

    def forget(self, retention: timedelta, *, pipelines: "Sequence[Pipeline]") -> int:
        """Delete done, duplicate and skipped arrivals older than `retention`; return how many.

        Args:
            retention: the age at which they are deleted.
            pipelines: files that their sources leave in place stay known for ever, or they would be taken in again.

        """
        staying = [
            (pipeline.name, source.name)
            for pipeline in pipelines
            for source in pipeline.folders
            if source.after == "leave"
        ]
        asked = {
            "retention": retention,
            "pipelines": [pipeline for pipeline, _ in staying],
            "sources": [source for _, source in staying],
        }
        with self._database.transaction() as connection:
            gone = connection.execute(QUERIES["forget"], asked).rowcount
            connection.execute(QUERIES["forget_rings"])
            connection.execute(QUERIES["forget_starts"], asked)
        return gone
