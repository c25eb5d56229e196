"""Homes: the folders into which files are taken. A file belongs to one home, and only its processes touch the file."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import structlog
from psycopg.rows import DictRow, class_row

from headgate.errors import HomeUnavailable, Misuse, NotFound
from headgate.home import DEFAULT, Home, Mark
from headgate.ledger.database import Connection, Database
from headgate.ledger.queries import QUERIES
from headgate.model import Fact

NOBODY = UUID(int=0)  # stands for the home of files opened before homes existed
TROUBLE_HOLDS = timedelta(seconds=20)  # between two runs that check whether a home can be used again

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class HomeRecord:
    """A home as the ledger knows it."""

    home_id: UUID
    name: str
    host: str  # where it was last served
    path: str
    made_at: datetime
    alive_until: datetime
    alive: bool  # a listener serves it
    trouble: str | None  # why its runs cannot use it, as a sentence
    deaf_since: datetime | None  # since when no run has answered a ring for it; None: rings are answered


@dataclass(frozen=True, slots=True)
class Load:
    """The arrivals that a home has left to work on or to settle."""

    home_id: UUID
    waiting: int
    oldest: datetime


class Homes:
    """The homes of the ledger, and the home of this process.

    Args:
        database: the ledger's database.
        home: the folder of this process.
        lease: how long a listener counts as alive without a beat.

    Raises:
        LedgerUnavailable: from any method, when the database does not answer.

    """

    def __init__(self, database: Database, home: Home, *, lease: timedelta) -> None:
        self._database = database
        self._home = home
        self._lease = lease

    def here(self, connection: Connection) -> UUID:
        """Return the home of this process after a look into its folder.

        Raises:
            HomeUnavailable: the folder is missing, or is not the home that the ledger knows.

        """
        mark = self._home.read()
        found = self._known(connection, mark)
        # The beat may have been raised between the two reads: in the folder first, so one more read there is enough.
        if mark.beat < found["beat"] and self._home.read().beat < found["beat"]:
            raise HomeUnavailable(self._old(found["name"]))
        return mark.home

    def usable(self, connection: Connection) -> tuple[UUID | None, HomeUnavailable | None]:
        """Return the home of this process, or why it cannot be used; ranges can be worked on without it."""
        try:
            return self.here(connection), None
        except HomeUnavailable as error:
            return None, error

    def check(self) -> UUID:
        """Return the home of this process as `here` does, in a transaction of its own.

        Raises:
            HomeUnavailable: as for `here`.

        """
        with self._database.transaction() as connection:
            return self.here(connection)

    def name(self) -> str:
        """Return the name that the ledger gave the home of this process.

        The mark in the folder is written before the ledger has the home. If the process is killed in between, the mark
        has a name that may be given to another home.

        Raises:
            HomeUnavailable: the folder is not a home that the ledger knows.

        """
        with self._database.transaction() as connection:
            name: str = self._known(connection, self._home.read())["name"]
        return name

    def join(self) -> Mark:
        """Serve the folder's home from now on; a folder that was never a home becomes one.

        Raises:
            HomeUnavailable: the folder is not the home that the ledger knows, or that home is served elsewhere.

        """
        with self._database.transaction() as connection:
            mark = self._home.find()
            place = {"home": mark.home if mark else NOBODY, "host": self._home.host, "path": str(self._home.path)}
            rows = connection.execute(QUERIES["home_to_join"], place).fetchall()
            mine = next((row for row in rows if row["home_id"] == place["home"]), None)
            if mark is not None and mine is not None:
                self._refuse_a_copy(mark, mine)
                return self._raise(connection, Mark(mark.home, mine["name"], mark.beat))
            if rows:
                raise HomeUnavailable(self._replaced(rows[0]["name"]))
            return self._make(connection, mark)

    def beat(self) -> None:
        """Record that a listener still serves the home.

        Raises:
            HomeUnavailable: the home is no longer ours.

        """
        with self._database.transaction() as connection:
            mark = self._home.read()
            row = connection.execute(
                QUERIES["home_to_join"], {"home": mark.home, "host": None, "path": None}
            ).fetchone()
            if row is None:
                self.here(connection)
                return
            self._refuse_a_copy(mark, row)
            self._raise(connection, mark)

    def look(self, mark: Mark) -> None:
        """Check that the folder is still this home, without asking the ledger.

        Raises:
            HomeUnavailable: it is not.

        """
        found = self._home.find()
        if found is None or found.home != mark.home:
            raise HomeUnavailable(self._replaced(mark.name))

    def leave(self) -> None:
        """Record that no listener serves the home any more."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["home_leave"], {"home": self._home.read().home})

    def report(self, ring_id: UUID, error: HomeUnavailable) -> None:
        """Record that a run could not use its home, so that no rings go out for it for a while."""
        with self._database.transaction() as connection:
            asked = {"ring_id": ring_id, "trouble": str(error), "wait": TROUBLE_HOLDS}
            connection.execute(QUERIES["home_trouble"], asked)

    def find(self, answer_within: timedelta = TROUBLE_HOLDS) -> list[HomeRecord]:
        """Return all homes, oldest first; one with a ring unanswered for longer than `answer_within` counts as deaf."""
        with self._database.transaction() as connection, connection.cursor(row_factory=class_row(HomeRecord)) as cursor:
            return cursor.execute(QUERIES["homes"], {"answer_within": answer_within}).fetchall()

    def loads(self) -> dict[UUID, Load]:
        """Return what each home has left to work on or to settle; homes with nothing are left out."""
        with self._database.transaction() as connection, connection.cursor(row_factory=class_row(Load)) as cursor:
            return {load.home_id: load for load in cursor.execute(QUERIES["homes_waiting"])}

    def give_up(self, name: str) -> int:
        """Remove a home from the ledger because its files are gone; its unfinished arrivals are rejected as lost.

        Returns:
            The number of rejected arrivals.

        Raises:
            NotFound: no such home exists.
            Misuse: a listener serves it.

        """
        home = next((each for each in self.find() if each.name == name), None)
        if home is None:
            raise NotFound(f"There is no home {name!r}; `headgate homes list` shows what there is.")
        if home.alive:
            raise Misuse(f"The home {name!r} is served by `headgate listen` on {home.host}: stop that first.")
        with self._database.transaction() as connection:
            asked = {"home": home.home_id}
            ids = [row["arrival_id"] for row in connection.execute(QUERIES["home_given_up"], asked)]
            connection.execute(QUERIES["set_aside_arrival"], {"ids": ids, "stage": "parse"})
            connection.execute(QUERIES["post_rejected"], {"ids": ids, "kind": Fact.REJECTED})
            connection.execute(QUERIES["home_settled"], asked)
            connection.execute(QUERIES["home_forget"], asked)
        log.warning("home given up", action="give-up", home=name, path=home.path, rejected=len(ids))
        return len(ids)

    def _known(self, connection: Connection, mark: Mark) -> DictRow:
        found = connection.execute(QUERIES["home_beat"], {"home": mark.home}).fetchone()
        if found is None:
            raise HomeUnavailable(
                f"The ledger does not know the home {self._home.path} ({mark.home}): correct HEADGATE_DATABASE_URL, "
                "or start `headgate listen` there."
            )
        return found

    def _raise(self, connection: Connection, mark: Mark) -> Mark:
        # In the folder first: a comparison must never find the folder behind the ledger. The row is locked meanwhile.
        raised = Mark(mark.home, mark.name, mark.beat + 1)
        try:
            self._home.write(raised)
        except HomeUnavailable as error:  # a full disk must not stop the intake, which only renames files
            log.warning("the home's beat is not written; all goes on", action="beat", error=str(error))
            raised = mark
        connection.execute(QUERIES["home_raise"], self._facts(raised))
        return raised

    def _make(self, connection: Connection, mark: Mark | None) -> Mark:
        connection.execute(QUERIES["home_lock"])
        taken = [row["name"] for row in connection.execute(QUERIES["home_names"])]
        name = _free_name(self._home.host, taken)
        made = Mark(uuid4() if mark is None else mark.home, name, 1 if mark is None else mark.beat + 1)
        self._home.write(made)
        connection.execute(QUERIES["home_make"], self._facts(made))
        log.info("a new home", action="join", home=name, path=str(self._home.path))
        return made

    def _facts(self, mark: Mark) -> dict[str, object]:
        return {
            "home": mark.home,
            "name": mark.name,
            "beat": mark.beat,
            "host": self._home.host,
            "path": str(self._home.path),
            "folder": self._home.fingerprint(),
            "lease": self._lease,
        }

    def _refuse_a_copy(self, mark: Mark, row: DictRow) -> None:
        if mark.beat < row["beat"]:
            raise HomeUnavailable(self._old(row["name"]))
        if row["alive"] and row["folder"] != self._home.fingerprint():
            raise HomeUnavailable(
                f"{self._home.path} is a copy of the home {row['name']!r}, which {row['host']}:{row['path']} serves; "
                f"stop that one, or remove {self._home.path}/spool/.home to make this a home of its own."
            )

    def _old(self, name: str) -> str:
        return (
            f"{self._home.path} is an old copy of the home {name!r}: use the folder that was served last, or, if that "
            f"is gone for good, run `headgate homes give-up {name}`."
        )

    def _replaced(self, name: str) -> str:
        return (
            f"The home {name!r} is not in {self._home.path} any more: mount it or bring it back, or, if its files are "
            f"gone for good, run `headgate homes give-up {name}`."
        )


def _free_name(host: str, taken: Iterable[str]) -> str:
    names = set(taken)
    if DEFAULT not in names:
        return DEFAULT
    base = re.sub(r"[^a-z0-9]+", "-", host.lower()).strip("-")[:30] or "home"
    number = 1
    while (name := base if number == 1 else f"{base}-{number}") in names:
        number += 1
    return name
