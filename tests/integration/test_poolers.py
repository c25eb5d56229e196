"""Behind a pooler: where a connection is a session, all is as without one; where it is not, leases tell who lives."""

import re
import time
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from harness import wait_until
from headgate.ledger import Claims, Database, Holders, Rings
from pooler import pooler


@pytest.fixture(params=[False, True], ids=["session", "transaction"])
def mode(request: pytest.FixtureRequest) -> bool:
    """Whether the pooler gives sessions away after each transaction."""
    return bool(request.param)


@pytest.fixture
def pooled(database: Database, database_url: str, mode: bool) -> Iterator[Database]:  # noqa: ARG001, FBT001 - a fixture
    """The same ledger, reached by a pooler."""
    parts = urlsplit(database_url)
    with pooler(parts.hostname or "", parts.port or 0, by_transaction=mode) as port:
        url = re.sub(r":\d+/", f":{port}/", database_url)
        with Database(url) as opened:
            yield opened


def test_a_connection_without_a_pooler_is_a_session(database: Database) -> None:
    with database.listening("headgate") as connection:
        assert database.keeps_sessions(connection)


def test_what_a_pooler_does_with_sessions_is_found_out(pooled: Database, mode: bool) -> None:  # noqa: FBT001 - a fixture
    with pooled.listening("headgate") as connection:
        assert pooled.keeps_sessions(connection) is not mode


def test_a_holder_takes_no_lock_that_would_be_given_away(
    pooled: Database,
    database: Database,
    mode: bool,  # noqa: FBT001 - a fixture
) -> None:
    """And where it takes none, nobody looks whether it is free: its lease alone tells."""
    heard: list[str] = []
    with Claims(pooled, lease=timedelta(seconds=30)).holding("run", heard.append) as held:
        wait_until(lambda: heard, within=20)
        if mode:
            time.sleep(0.5)
            assert held.is_deaf
        else:
            wait_until(lambda: Holders(database).bury().left == 1, within=20)
            assert not held.is_deaf
    assert Holders(database).bury().left == (0 if mode else 1)


def test_where_no_session_holds_a_lock_one_announcer_leads_until_its_lease_is_over(database: Database) -> None:
    short = Rings(database, lease=timedelta(seconds=0.5))
    assert short.lead("one")
    assert short.lead("one")
    assert not short.lead("two")
    wait_until(lambda: short.lead("two"), within=10)
    assert not Rings(database, lease=timedelta(seconds=30)).lead("one")
