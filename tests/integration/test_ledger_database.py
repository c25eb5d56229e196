"""The door to PostgreSQL: migrations, and what is said when it does not open."""

import subprocess
import sys
import threading
from datetime import timedelta
from importlib import resources
from typing import Any

import psycopg
import pytest
from harness import Services, Stand
from headgate.errors import BadSettings, LedgerUnavailable, WrongDatabase
from headgate.ledger import Arrivals, Database
from headgate.ledger.database import RELIABLE
from headgate.ledger.locks import Lock
from headgate.ledger.summary import RingCounts, database_time, ring_counts, summaries
from specimens import arrival

MIGRATIONS = sorted(
    each.name for each in resources.files("headgate.ledger").joinpath("migrations").iterdir() if each.name[0].isdigit()
)
SECRET = "s3cr3t"  # noqa: S105 - what must not be shown
MIGRATE = """
import sys
from headgate.ledger import Database
with Database(sys.argv[1]) as database:
    sys.stdin.readline()
    applied = database.migrate()
print(",".join(applied))
"""


def test_migrations_applied_again_change_nothing(database_url: str) -> None:
    with Database(database_url) as database:
        assert database.migrate() == MIGRATIONS
        assert database.migrate() == []


def test_migrations_applied_by_two_processes_at_once_are_applied_once(database_url: str) -> None:
    both = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATE, database_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ended = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    assert sorted(output.splitlines()[-1] for output, _ in ended) == ["", ",".join(MIGRATIONS)]
    with Database(database_url) as database:
        assert database.migrate() == []


def test_a_ledger_that_a_newer_headgate_has_migrated_is_refused_and_left_as_it_is(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("insert into headgate.migration (name) values ('9999_later.sql')")
        connection.execute("delete from headgate.migration where name = %s", (MIGRATIONS[-1],))
    with pytest.raises(WrongDatabase, match=r"newer Headgate \(9999_later\.sql is unknown here\); upgrade this one\.$"):
        database.migrate()
    with database.transaction() as connection:
        there = {row["name"] for row in connection.execute("select name from headgate.migration")}
    assert there == {*MIGRATIONS[:-1], "9999_later.sql"}


@pytest.mark.parametrize("command", ["listen", "work"])
def test_an_old_process_on_a_newer_ledger_ends_with_one_line(
    prefect_stand: Stand, database: Database, database_url: str, command: str
) -> None:
    """It is started again during an upgrade, say, on a machine whose turn has not come."""
    with database.transaction() as connection:
        connection.execute("insert into headgate.migration (name) values ('9999_later.sql')")
    done = prefect_stand.run(command, env={"HEADGATE_DATABASE_URL": database_url}, check=False)
    assert done.returncode == 2
    *_, last = done.stderr.splitlines()
    assert last.startswith("headgate: PostgreSQL at")
    assert last.endswith("upgrade this one.")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://someone:{SECRET}@127.0.0.1:9/orders",
        f"host=127.0.0.1 port=9 user=someone password={SECRET} dbname=orders",
    ],
)
def test_a_database_that_is_away_is_said_in_one_line_without_the_password(url: str) -> None:
    with Database(url, wait=1) as database, pytest.raises(LedgerUnavailable) as caught:
        database.migrate()
    text = str(caught.value)
    assert text.startswith("PostgreSQL at 127.0.0.1:9/orders does not answer (")
    assert "\n" not in text
    assert SECRET not in text
    assert caught.value.__cause__ is not None


def test_a_listening_connection_says_the_same(database_url: str) -> None:
    with (
        Database(f"postgresql://someone:{SECRET}@127.0.0.1:9/orders") as database,
        pytest.raises(LedgerUnavailable, match="does not answer") as caught,
        database.listening("headgate"),
    ):
        pytest.fail("it listens to nobody")
    assert SECRET not in str(caught.value)
    with Database(database_url) as database, database.listening("headgate") as connection:
        assert connection.info.status.name == "OK"


def test_each_connection_passes_standbys_over_and_gives_a_vanished_host_up(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of transactions, of notifications and of locks: after a failover none may wait for an old primary."""
    made: list[dict[str, str]] = []
    connect = psycopg.Connection.connect

    def seen(_: object, /, url: str, **options: Any) -> psycopg.Connection[Any]:
        opened = connect(url, **options)
        made.append(opened.info.get_parameters())
        return opened

    monkeypatch.setattr(psycopg.Connection, "connect", classmethod(seen))
    with Database(database_url) as database:
        with database.transaction() as connection:
            made.append(connection.info.get_parameters())
        with database.listening("headgate"), database.alone(Lock.APPLY):
            pass
    assert len(made) >= 3
    wanted = {name: str(value) for name, value in RELIABLE.items()}
    assert wanted.keys() >= {"target_session_attrs", "tcp_user_timeout", "keepalives_idle"}
    assert [{name: each[name] for name in RELIABLE} for each in made] == [wanted] * len(made)


def test_what_the_url_says_of_a_connection_holds(database_url: str) -> None:
    own = psycopg.conninfo.make_conninfo(database_url, tcp_user_timeout=7000, target_session_attrs="any")
    with Database(own) as database, database.transaction() as connection:
        found = connection.info.get_parameters()
    assert found["tcp_user_timeout"] == "7000"
    assert found.get("target_session_attrs", "any") == "any"  # defaults are left out
    assert found["keepalives_idle"] == "10"


def test_a_wrong_password_is_said_and_not_shown(database_url: str) -> None:
    right = psycopg.conninfo.conninfo_to_dict(database_url)
    wrong = psycopg.conninfo.make_conninfo(database_url, password=SECRET, user="nobody_we_know")
    with Database(wrong) as database, pytest.raises(WrongDatabase, match="correct HEADGATE_DATABASE_URL") as caught:
        database.migrate()
    assert "does not answer" not in str(caught.value)
    assert SECRET not in str(caught.value)
    assert str(right["password"]) not in str(caught.value)


@pytest.mark.parametrize("url", [f"postgres//u:{SECRET}@h/d", f"postgresql://u:{SECRET}@h/d?nonsense", "orders"])
def test_a_url_that_is_none_is_a_wrong_setting_without_its_password(url: str) -> None:
    """The driver's own complaint quotes the whole text, and so does a traceback that holds it as the cause."""
    with pytest.raises(BadSettings, match="HEADGATE_DATABASE_URL") as caught:
        Database(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_connection_cut_in_a_transaction_is_transient_and_leaves_nothing(database: Database) -> None:
    with pytest.raises(LedgerUnavailable), database.transaction() as connection:  # noqa: PT012 - what comes before the error is the case
        connection.execute("create table public.half (id int)")
        with database.transaction() as other:
            other.execute("select pg_terminate_backend(%s)", (connection.info.backend_pid,))
        connection.execute("select 1")
    with database.transaction() as connection:
        row = connection.execute("select to_regclass('public.half') as there").fetchone()
    assert row == {"there": None}


def test_an_error_of_the_caller_rolls_back_and_stays_what_it_is(database: Database) -> None:
    with pytest.raises(KeyError), database.transaction() as connection:  # noqa: PT012 - what comes before the error is the case
        connection.execute("create table public.half (id int)")
        raise KeyError
    with database.transaction() as connection:
        row = connection.execute("select to_regclass('public.half') as there").fetchone()
    assert row == {"there": None}


def test_more_threads_than_connections_take_turns(database: Database) -> None:
    seen: list[int] = []

    def ask() -> None:
        with database.transaction() as connection:
            connection.execute("select pg_sleep(0.02)")
            seen.append(connection.info.backend_pid)

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(seen) == 12
    assert len(set(seen)) <= 4


def test_an_empty_ledger_sums_up_to_nothing(database: Database, services: Services) -> None:
    assert services.pid("PostgreSQL") > 0
    assert summaries(database) == []
    assert ring_counts(database) == RingCounts(0, 0)
    assert Arrivals(database).forget(timedelta(0), pipelines=()) == 0


def test_the_summary_counts_from_a_time_on(database: Database, ledger: Arrivals) -> None:
    ledger.open([arrival(content=b"x"), arrival(content=b"x"), arrival(pipeline="others")])
    now = database_time(database)
    ledger.open([arrival()])
    orders, others = summaries(database)
    assert (orders.pipeline, orders.arrived, orders.waiting, orders.duplicates, orders.under_way) == (
        "orders",
        3,
        2,
        1,
        2,
    )
    assert (others.pipeline, others.arrived) == ("others", 1)
    assert [(each.pipeline, each.arrived) for each in summaries(database, now)] == [("orders", 1)]
