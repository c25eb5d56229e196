"""Which homes are served, and what waits in those that are not."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from headgate.ledger import Homes
from headgate.ledger.homes import HomeRecord

DEAF = timedelta(seconds=60)  # for this long a ring may stay unanswered


@dataclass(frozen=True, slots=True)
class Served:
    """A home, and who serves it."""

    name: str
    host: str
    path: str
    waiting: int  # arrivals to work on, or to settle
    oldest_seconds: int | None  # the age of the oldest of them
    trouble: str | None  # what keeps it from being served, one sentence

    @property
    def neglected(self) -> bool:
        """Whether something waits, and nobody serves the home."""
        return bool(self.waiting and self.trouble)


def served(homes: Homes) -> list[Served]:
    """List who serves each home, the oldest home first.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    loads = homes.loads()
    now = datetime.now(UTC)
    found = []
    for home in homes.find(DEAF):
        load = loads.get(home.home_id)
        age = None if load is None else max(0, int((now - load.oldest).total_seconds()))
        found.append(Served(home.name, home.host, home.path, load.waiting if load else 0, age, _trouble(home)))
    return found


def _trouble(home: HomeRecord) -> str | None:
    if home.trouble is not None:
        return home.trouble
    if not home.alive:
        return f"no listener: start `headgate listen` on {home.host} in {home.path}."
    if home.deaf_since is not None:
        return f"no run answers since {home.deaf_since:%H:%M:%S}: start `headgate work` on {home.host} in {home.path}."
    return None
