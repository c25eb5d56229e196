"""The door to PostgreSQL: migrations, and what is said when it does not open."""

import subprocess
import sys
import threading
from datetime import timedelta

import psycopg
import pytest
from harness import Services
from specimens import arrival

from worker.errors import BadSettings, LedgerUnavailable
from worker.ledger import Arrivals, Database
from worker.ledger.summary import RingCounts, database_time, ring_counts, summaries

MIGRATIONS = ["0001_ledger.sql", "0002_ranges.sql", "0003_hops.sql", "0004_leader_epochs.sql"]
SECRET = "s3cr3t"  # noqa: S105 - what must not be shown
MIGRATE = """
import sys
from worker.ledger import Database
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


def test_a_wrong_password_is_said_and_not_shown(database_url: str) -> None:
    right = psycopg.conninfo.conninfo_to_dict(database_url)
    wrong = psycopg.conninfo.make_conninfo(database_url, password=SECRET, user="nobody_we_know")
    with Database(wrong, wait=1) as database, pytest.raises(LedgerUnavailable) as caught:
        database.migrate()
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
