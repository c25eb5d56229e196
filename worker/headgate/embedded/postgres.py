"""PostgreSQL from a wheel, with its data in the home."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from headgate.embedded.child import Child
from headgate.embedded.home import LOOPBACK, remembered_port
from headgate.embedded.unprivileged import binaries, owned_folder, stand_in
from headgate.errors import HeadgateError, LedgerUnavailable

ADMIN = "postgres"
OWNER = "headgate"  # of the databases; not a superuser, so that our statements cannot reach outside the database
DATABASES = ("headgate", "prefect")
FAST_SHUTDOWN = 30.0  # seconds

# Sized for a laptop: repeated reads come from the operating system's cache. fsync and full_page_writes stay on, as they
# are by default: a power cut must lose nothing.
OPTIONS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "16MB",
    "wal_buffers": "4MB",  # the default is 1/32 of the above, too little for big files
    "io_method": "sync",  # otherwise three read-ahead processes run, without a benefit here
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
}
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}  # without the caller's PG* variables


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedPostgres:
    """PostgreSQL in a home. Use it under `headgate.embedded.home.hold`: two servers must not share one data folder.

    Args:
        home: the folder of all that Headgate keeps; absolute.
        port: where it listens; None: the port of the last start, or a free one.

    """

    home: Path
    port: int | None = None

    def prepare(self) -> None:
        """Prepare for the start: data folder, password and port. Stop a server left running by a killed `headgate up`.

        Raises:
            Misuse: PostgreSQL cannot run here; the text says what to change.
            HeadgateError: the data folder cannot be created, or an old server does not stop.

        """
        self.home.mkdir(parents=True, exist_ok=True)
        user = stand_in()
        folder = owned_folder(self._folder, user)
        if not (folder / "data").exists():
            self._initdb(folder, user)
        _stop_orphan(folder / "data")
        remembered_port(self._port_file, self.port)

    def child(self) -> Child:
        """The server, to be supervised."""
        user = stand_in()
        options = {**OPTIONS, "port": str(self._port)}
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return Child(
            name="PostgreSQL",
            argv=(str(binaries(user) / "postgres"), "-D", str(self._folder.resolve() / "data"), *arguments),
            log=self.home / "logs" / "postgres.log",
            env=ENVIRONMENT,
            cwd=self._folder.resolve(),
            user=user,
            ready=self.ready,
            stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait for every client to leave
            grace=FAST_SHUTDOWN,
        )

    def ready(self) -> bool:
        """Return whether the server takes connections."""
        try:
            self._connect(timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def create_databases(self) -> None:
        """Create the databases and their owner where they do not exist yet.

        Raises:
            LedgerUnavailable: the server does not answer.

        """
        try:
            with contextlib.closing(self._connect(timeout=10)) as connection:
                owner = sql.Identifier(OWNER)
                if not connection.execute("select from pg_roles where rolname = %s", [OWNER]).rowcount:
                    connection.execute(sql.SQL("create role {} login password {}").format(owner, self._password))
                    # Otherwise tables made by hand would go to the ledger's schema, which has the owner's name.
                    connection.execute(sql.SQL("alter role {} set search_path to public").format(owner))
                for name in DATABASES:
                    if not connection.execute("select from pg_database where datname = %s", [name]).rowcount:
                        connection.execute(sql.SQL("create database {} owner {}").format(sql.Identifier(name), owner))
                # Prefect's data follows from the ledger: after a power cut, the last half second is sent again.
                connection.execute("alter database prefect set synchronous_commit = off")
        except psycopg.OperationalError as error:
            message = f"PostgreSQL in {self.home} does not answer on port {self._port}: see logs/postgres.log there."
            raise LedgerUnavailable(message) from error

    def url(self, database: str) -> str:
        """Return the URL of a database with its password: for drivers only, never shown."""
        return f"postgresql://{OWNER}:{self._password}@{LOOPBACK}:{self._port}/{database}"

    @property
    def _folder(self) -> Path:
        return self.home / "postgres"

    @property
    def _port_file(self) -> Path:
        return self.home / "postgres.port"

    @property
    def _port(self) -> int:
        return int(self._port_file.read_text(encoding="ascii"))

    @property
    def _password_file(self) -> Path:
        return self.home / "postgres.password"

    @property
    def _password(self) -> str:
        return self._password_file.read_text(encoding="ascii")

    def _connect(self, *, timeout: int) -> psycopg.Connection:
        return psycopg.connect(
            host=LOOPBACK,
            port=self._port,
            user=ADMIN,
            password=self._password,
            dbname="postgres",
            connect_timeout=timeout,
            autocommit=True,
        )

    def _initdb(self, folder: Path, user: str | None) -> None:
        """Create the whole data folder or nothing: it gets its final name last."""
        fresh = folder / "fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        self._password_file.unlink(missing_ok=True)
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(secrets.token_hex(24), encoding="ascii")
        with tempfile.NamedTemporaryFile("w", encoding="ascii") as password:
            if user is not None:
                entry = pwd.getpwnam(user)
                os.fchown(password.fileno(), entry.pw_uid, entry.pw_gid)
            password.write(self._password)
            password.flush()
            command = [
                *(str(binaries(user) / "initdb"), "-D", str(fresh), "-U", ADMIN, f"--pwfile={password.name}"),
                *("-A", "scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),  # the same order on every machine
            ]
            done = subprocess.run(  # noqa: S603 - no part of it comes from outside
                command,
                check=False,
                env=ENVIRONMENT,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                user=user,
                group=None if user is None else pwd.getpwnam(user).pw_gid,
                extra_groups=None if user is None else [],
            )
        if done.returncode != 0:
            message = f"PostgreSQL's initdb failed in {folder}:\n{done.stdout.decode(errors='replace').strip()}"
            raise HeadgateError(message)
        fresh.rename(folder / "data")


def _stop_orphan(data: Path) -> None:
    """Stop a server that still runs on this data folder, and remove a lock file that names an unrelated process.

    PostgreSQL itself notices a dead process. But after a reboot the process id may belong to another program, which
    PostgreSQL would take for a server, and it would refuse to start.
    """
    lock = data / "postmaster.pid"
    try:
        pid = int(lock.read_text().splitlines()[0])
        own = Path(f"/proc/{pid}/cwd").readlink() == data  # a server's working directory is its data folder
    except (FileNotFoundError, ProcessLookupError, ValueError, IndexError):
        return
    except PermissionError:  # another user's process, so not our server
        own = False
    if not own:
        lock.unlink()
        return
    os.kill(pid, signal.SIGINT)
    deadline = time.monotonic() + FAST_SHUTDOWN
    while lock.exists():  # the server removes it last
        if time.monotonic() > deadline:
            message = f"An old PostgreSQL (process {pid}) on {data} does not stop: end it, then start again."
            raise HeadgateError(message)
        time.sleep(0.05)
