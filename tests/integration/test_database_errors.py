"""What PostgreSQL says is told apart: wait, try again, refuse what was sent, or stop."""

import re
import threading
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from harness import Services, wait_until
from headgate.errors import LedgerBusy, LedgerRefused, LedgerUnavailable, WrongDatabase
from headgate.ledger import Arrivals, Claims, Database, Homes, Rings
from headgate.processes.listen import together
from specimens import arrival, pipeline
from structlog.testing import capture_logs


@pytest.fixture
def name(database_url: str) -> str:
    """The name of the database."""
    return str(psycopg.conninfo.conninfo_to_dict(database_url)["dbname"])


@pytest.fixture
def read_only(services: Services, database_url: str, name: str) -> Iterator[str]:
    """Make the database as after a failover: it answers, and nobody may write."""
    with Database(database_url) as database:
        database.migrate()
    services.administer(f"alter database {name} set default_transaction_read_only = on")
    yield database_url
    services.administer(f"alter database {name} reset default_transaction_read_only")


def test_a_server_that_is_read_only_is_waited_for_and_not_said_to_be_silent(read_only: str) -> None:
    with Database(read_only, wait=1) as database, pytest.raises(LedgerUnavailable, match="read-only") as caught:
        Rings(database, lease=timedelta(seconds=1)).sent([])
    assert "does not answer" not in str(caught.value)
    assert not isinstance(caught.value, LedgerBusy)
    with (
        Database(read_only) as database,
        pytest.raises(LedgerUnavailable, match="read-only"),
        database.listening("headgate"),
    ):
        pytest.fail("it listens to what nobody may write")


def test_a_connection_that_became_read_only_is_given_up_for_one_that_is_not(database: Database) -> None:
    with database.transaction() as connection:
        before = connection.info.backend_pid
    with pytest.raises(LedgerUnavailable, match="read-only"), database.transaction() as connection:  # noqa: PT012 - what comes before the error is the case
        connection.execute("set transaction read only")
        connection.execute("create table public.t (id int)")
    with database.transaction() as connection:
        assert connection.info.backend_pid != before


@pytest.mark.parametrize(
    ("limit", "statement", "said"),
    [
        ("set local statement_timeout = '50ms'", "select pg_sleep(5)", "statement timeout"),
        ("set local lock_timeout = '50ms'", "lock table headgate.arrival", "lock timeout"),
        ("set local idle_in_transaction_session_timeout = '50ms'", "select 1", "idle-in-transaction timeout"),
        ("set local transaction_timeout = '50ms'", "select pg_sleep(5)", "transaction timeout"),
    ],
)
def test_a_transaction_that_took_too_long_is_busy_and_not_silent(
    database: Database, limit: str, statement: str, said: str
) -> None:
    with database.transaction() as other:
        other.execute("lock table headgate.arrival")
        with pytest.raises(LedgerBusy, match=said) as caught, database.transaction() as connection:  # noqa: PT012 - what comes before the error is the case
            connection.execute(limit.encode())
            if "idle" in limit:
                pid = connection.info.backend_pid
                wait_until(lambda: not _is_connected(database, pid))
            connection.execute(statement.encode())
    assert "does not answer" not in str(caught.value)


def test_a_deadlock_is_busy_and_not_silent(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("create table public.a (id int); create table public.b (id int)")
    met, ends = threading.Barrier(2), list[Exception | None]()

    def lock(first: str, second: str) -> None:
        try:
            with database.transaction() as connection:
                connection.execute(f"lock table public.{first}".encode())
                met.wait(10)
                connection.execute(f"lock table public.{second}".encode())
            ends.append(None)
        except LedgerUnavailable as error:
            ends.append(error)

    both = [threading.Thread(target=lock, args=pair) for pair in (("a", "b"), ("b", "a"))]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(30)
    (error,) = [end for end in ends if end is not None]
    assert isinstance(error, LedgerBusy)
    assert "deadlock detected" in str(error)


def test_all_connections_in_use_is_said_as_it_is(database_url: str) -> None:
    with (
        Database(database_url, size=1, wait=0.5) as database,
        database.transaction(),
        pytest.raises(LedgerBusy, match=r"all 1 connections of this process were in use for 0\.5 s"),
        database.transaction(),
    ):
        pytest.fail("there was a second connection")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"password": "wrong"}, 'password authentication failed for user ".*"; correct HEADGATE_DATABASE_URL'),
        (
            {"dbname": "nothing_here"},
            'database "nothing_here" does not exist; run `create database nothing_here owner',
        ),
    ],
)
def test_a_database_that_will_not_let_us_in_ends_the_waiting_at_once_with_its_own_reason(
    database_url: str, change: dict[str, str], said: str
) -> None:
    with (
        Database(psycopg.conninfo.make_conninfo(database_url, **change), wait=3600) as database,
        pytest.raises(WrongDatabase, match=said),
    ):
        database.migrate()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("select * from pg_authid", "permission denied for table pg_authid; run `grant all on schema headgate to"),
        ("select * from nothing", 'relation "nothing" does not exist; repair the database'),
    ],
)
def test_what_a_person_has_to_change_is_said_with_what_to_do(database: Database, statement: str, said: str) -> None:
    with pytest.raises(WrongDatabase, match=said), database.transaction() as connection:
        connection.execute(statement.encode())


def test_a_value_that_the_ledger_refuses_is_told_from_an_outage(database: Database, ledger: Arrivals) -> None:
    refusal = "create function no() returns trigger language plpgsql as $$ begin raise 'never'; end $$"
    with database.transaction() as connection:
        connection.execute(refusal.encode())
        connection.execute("create trigger no before insert on headgate.arrival for each row execute function no()")
    with pytest.raises(LedgerRefused, match="never"):
        ledger.open([arrival()])


def test_every_connection_notices_that_the_other_host_is_gone(database: Database) -> None:
    with database.transaction() as pooled, database.listening("headgate") as listening:
        for connection in (pooled, listening):
            found = {option.keyword.decode(): option.val for option in connection.pgconn.info}
            assert found["target_session_attrs"] == b"read-write"
            assert (found["keepalives_idle"], found["tcp_user_timeout"]) == (b"10", b"60000")


def test_a_url_may_say_otherwise(database_url: str) -> None:
    given = psycopg.conninfo.make_conninfo(database_url, target_session_attrs="any")
    with Database(given) as database, database.transaction() as connection:
        found = {option.keyword.decode(): option.val for option in connection.pgconn.info}
        assert found["target_session_attrs"] == b"any"


def test_a_thread_that_fails_ends_the_process_with_its_error_and_stops_the_others() -> None:
    stop = threading.Event()

    def fails() -> None:
        raise WrongDatabase("no such table")

    def waits() -> None:
        assert stop.wait(60)

    with pytest.raises(WrongDatabase, match="no such table"):
        together({"announcer": fails, "listener": waits}, stop)
    assert stop.is_set()


def test_leases_are_renewed_again_after_any_error(ledger: Arrivals, database: Database, homes: Homes) -> None:
    """The thread says what is wrong, goes on, and renews once the ledger is mended."""
    claims = Claims(database, lease=timedelta(seconds=1.5), homes=homes)
    ledger.open([arrival()])
    claims.claim(pipeline(), holder="run")
    with capture_logs() as lines, claims.holding("run"):
        with database.transaction() as connection:
            connection.execute("alter table headgate.ring rename to mislaid")
        wait_until(lambda: any(re.search("not renewed", line["event"]) for line in lines), within=20)
        with database.transaction() as connection:
            connection.execute("alter table headgate.mislaid rename to ring")
            connection.execute("update headgate.arrival set due_at = now() + interval '1 s'")
            (before,) = connection.execute("select due_at from headgate.arrival").fetchall()
        wait_until(lambda: _due(database) > before["due_at"], within=20)


def _is_connected(database: Database, pid: int) -> bool:
    with database.transaction() as connection:
        return connection.execute("select from pg_stat_activity where pid = %s", [pid]).fetchone() is not None


def _due(database: Database) -> object:
    with database.transaction() as connection:
        row = connection.execute("select due_at from headgate.arrival").fetchone()
    assert row is not None
    return row["due_at"]
