"""`headgate healthy`: what health checks of containers ask, and its exit codes."""

from datetime import timedelta
from pathlib import Path

import pytest
from cli_runner import Said, run_here
from headgate.ledger import Database, Processes
from headgate.ledger.processes import Member

LEASE = timedelta(seconds=20)
LISTEN = ("listener", "announcer")


@pytest.fixture
def processes(database: Database) -> Processes:
    """The processes of a ledger of this test's own."""
    return Processes(database)


def member(kind: str, home: Path) -> Member:
    return Member(kind, home, "orders:orders", "digest", ("orders",))


def healthy(process: str, folder: Path, url: str) -> Said:
    return run_here("healthy", process, folder=folder, env={"HEADGATE_DATABASE_URL": url})


def test_a_process_that_beats_is_at_work(processes: Processes, tmp_path: Path, database_url: str) -> None:
    for kind in LISTEN:
        processes.beat(member(kind, tmp_path / ".headgate"), trouble=None, lease=LEASE)
    said = healthy("listen", tmp_path, database_url)
    assert (said.code, said.out) == (0, "headgate listen is at work.\n")
    said = healthy("work", tmp_path, database_url)
    assert (said.code, said.out) == (1, "headgate work: no heartbeat of the worker; look into its log.\n")


def test_one_that_is_silent_is_not(processes: Processes, tmp_path: Path, database_url: str) -> None:
    processes.beat(member("listener", tmp_path / ".headgate"), trouble=None, lease=LEASE)
    processes.beat(member("announcer", tmp_path / ".headgate"), trouble=None, lease=timedelta(seconds=-1))
    said = healthy("listen", tmp_path, database_url)
    assert (said.code, said.out) == (
        1,
        "headgate listen: the announcer has been silent for 0 s; look into its log.\n",
    )


def test_its_successor_counts(processes: Processes, tmp_path: Path, database_url: str) -> None:
    processes.beat(member("worker", tmp_path / ".headgate"), trouble=None, lease=timedelta(seconds=-1))
    processes.beat(member("worker", tmp_path / ".headgate"), trouble=None, lease=LEASE)
    assert healthy("work", tmp_path, database_url).code == 0


def test_one_of_another_home_is_not_meant(processes: Processes, tmp_path: Path, database_url: str) -> None:
    processes.beat(member("worker", tmp_path / "other"), trouble=None, lease=LEASE)
    assert healthy("work", tmp_path, database_url).code == 1


def test_trouble_that_a_restart_does_not_mend_is_said(processes: Processes, tmp_path: Path, database_url: str) -> None:
    for kind in LISTEN:
        trouble = "the Prefect server is unavailable" if kind == "announcer" else None
        processes.beat(member(kind, tmp_path / ".headgate"), trouble=trouble, lease=LEASE)
    said = healthy("listen", tmp_path, database_url)
    assert said.code == 0
    assert said.out == "headgate listen is at work. The announcer says: the Prefect server is unavailable.\n"


def test_a_ledger_that_cannot_be_asked_is_told_apart(tmp_path: Path) -> None:
    """A liveness probe must not start everything again because the database is unavailable."""
    said = healthy("work", tmp_path, "postgresql://headgate@127.0.0.1:9/headgate")
    assert said.code == 2


def test_a_process_that_does_not_beat_is_no_command(tmp_path: Path) -> None:
    assert healthy("apply", tmp_path, "postgresql://headgate@127.0.0.1:9/headgate").code == 2
