"""What tests share: real services on free ports, and a stand, which is one installation of Headgate on them."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from uuid import UUID, uuid4

import httpx
import psycopg
import warm
from broker import Broker
from headgate.embedded.postgres import OWNER
from headgate.embedded.prefect_server import PrefectServer
from headgate.home import Home
from headgate.model import Places
from psycopg.rows import DictRow, dict_row
from service_host import Host, administer

T = TypeVar("T")
REPOSITORY = Path(__file__).parents[1]  # the declarations of the demo are found there
COLD = {"up", "work"}  # they have a fork server of their own: forked from ours, they would share it
HOME = UUID(int=1)  # of the `homes` fixture


def wait_until(holds: Callable[[], T], *, within: float = 120, every: float = 0.05) -> T:
    """Wait for a condition, and give what it gave; it fails after a deadline, and says what the condition was."""
    deadline = time.monotonic() + within
    while not (found := holds()):
        if time.monotonic() > deadline:
            message = f"not within {within} s: {getattr(holds, '__doc__', None) or holds}"
            raise AssertionError(message)
        time.sleep(every)
    return found


def is_waited_for(connection: psycopg.Connection[DictRow]) -> bool:
    """Whether another session waits for a lock that this one has."""
    found = connection.execute("select from pg_locks where pg_backend_pid() = any(pg_blocking_pids(pid))").fetchone()
    return found is not None


@contextlib.contextmanager
def open_folder(prefix: str) -> Iterator[Path]:
    """A temporary folder that other users can reach, as PostgreSQL's stand-in user must; pytest's own is closed."""
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def home_in(folder: Path) -> Home:
    """The home of a folder."""
    return Home(Places(folder / "spool", folder / "archive", folder / "rejected", folder / "work"))


class Services:
    """A real PostgreSQL and, once asked for, a real Prefect server and a real Kafka broker.

    Args:
        host: who runs them, in this process or in another.
        whose: the process that tests run in, which has a Prefect server of its own.

    """

    def __init__(self, host: Host, whose: str = "") -> None:
        self._host = host
        self._whose = whose
        self.home = host.home()
        self.postgres = host.postgres()
        self.server: PrefectServer | None = None
        self._broker: Broker | None = None

    def prefect(self) -> PrefectServer:
        """The Prefect server, started when it is first asked for."""
        self.server = self.server or self._host.prefect(self._whose)
        return self.server

    def kafka(self) -> Broker:
        """The Kafka broker, started when it is first asked for."""
        self._broker = self._broker or Broker(self._host.kafka(), self._host)
        return self._broker

    def pid(self, name: str) -> int:
        """The process id of a child by its name: "PostgreSQL" or "Prefect server"."""
        return self._host.pid(name)

    def administer(self, *statements: str) -> None:
        """Do what the owner of the databases may not."""
        administer(self.postgres, *statements)

    def fresh_database(self, *, migrated: bool = False) -> str:
        """Make a database, empty or with the ledger's empty tables; its URL."""
        name = f"t_{uuid4().hex[:12]}"
        template = f" template {self._host.template()}" if migrated else ""
        self.administer(f'create database "{name}" owner {OWNER}{template}')
        return self.postgres.url(name)

    def copy_used_home(self, home: Path) -> None:
        """Make a home that `headgate up` has been run in: it starts sooner than in an empty folder."""
        home.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", f"{self._host.used_home()}/.", str(home)], check=True)

    def drop_database(self, url: str) -> None:
        """Drop a database that was made here, whoever is connected to it."""
        self.administer(f'drop database if exists "{url.rpartition("/")[2]}" with (force)')


@dataclass
class Stand:
    """One installation of Headgate: a home, an inbox, a database, pipelines of its own, on the shared services.

    The pipelines' module is written by the test, so that names on the shared Prefect server are its own.
    """

    services: Services
    folder: Path
    database_url: str
    pool: str = field(default_factory=lambda: f"pool-{uuid4().hex[:8]}")
    environment: dict[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def home(self) -> Path:
        """What Headgate keeps."""
        return self.folder / "home"

    @property
    def inbox(self) -> Path:
        """What the watched folders stand below."""
        return self.folder / "inbox"

    def declare(self, text: str) -> None:
        """Write the pipelines' module; it has to define PIPELINES."""
        module = f"pipelines_{uuid4().hex[:8]}"
        (self.folder / f"{module}.py").write_text(text, encoding="utf-8")
        self.environment["HEADGATE_PIPELINES"] = f"{module}:PIPELINES"

    def env(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of our processes."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("HEADGATE_", "PREFECT_"))}
        return {
            **ours,
            "HEADGATE_HOME": str(self.home),
            "HEADGATE_INBOX": str(self.inbox),
            "HEADGATE_DATABASE_URL": self.database_url,
            "HEADGATE_WORKER_POOL": self.pool,
            "HEADGATE_LISTENER_SCAN_SECONDS": "2",
            "PREFECT_HOME": str(self.folder / "prefect-client"),
            "PYTHONPATH": os.pathsep.join([str(self.folder), str(REPOSITORY)]),
            "NO_COLOR": "1",
            **({"PREFECT_API_URL": self.services.server.api_url} if self.services.server else {}),
            **self.environment,
            **(more or {}),
        }

    def start(self, *command: str, env: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
        """Start one of our commands in the background; its output goes to `<folder>/<command>.log`."""
        with (self.folder / f"{command[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "headgate", *command],
                env=self.env(env),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def run(
        self, *command: str, env: Mapping[str, str] | None = None, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run one of our commands to its end."""
        if command[0] in COLD:
            done = subprocess.run(
                [sys.executable, "-m", "headgate", *command],
                env=self.env(env),
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        else:
            done = warm.run(command, env=self.env(env), folder=self.folder, within=120)
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def log_of(self, command: str) -> str:
        """What a command started in the background has written."""
        path = self.folder / f"{command}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def sql(self, query: str, *values: object) -> list[DictRow]:
        """Ask the stand's database."""
        with psycopg.connect(self.database_url, row_factory=dict_row, autocommit=True) as connection:
            cursor = connection.execute(query.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def arrivals(self) -> list[DictRow]:
        """The ledger's arrivals by number; empty while the ledger is not made yet."""
        with contextlib.suppress(psycopg.errors.UndefinedTable):
            return self.sql("select * from headgate.arrival order by arrival_id")
        return []

    def all_ended(self, count: int) -> bool:
        """Whether so many arrivals are there, each in a terminal state and settled."""
        found = self.arrivals()
        return len(found) >= count and all(
            row["state"] in {"done", "rejected", "duplicate", "skipped"} and row["settled_at"] for row in found
        )

    def api(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Ask the Prefect server."""
        response = httpx.request(method, f"{self.services.prefect().api_url}{path}", json=body, timeout=30)
        response.raise_for_status()
        return response

    def close(self) -> None:
        """End the processes that were started, with all that they started, by their ids."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
