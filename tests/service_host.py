"""Who runs the real services of a test session: one process, for all the processes that tests run in.

Without pytest-xdist that is the process of the tests; with it, the controller, which its workers ask over a socket.
"""

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import cast

import psycopg
from broker import BrokerSite, choose_site
from headgate.embedded.kafka import EmbeddedKafka
from headgate.embedded.postgres import ADMIN, OWNER, EmbeddedPostgres
from headgate.embedded.prefect_server import PrefectServer
from headgate.embedded.supervisor import Supervisor
from headgate.embedded.unprivileged import binaries, owned_folder, stand_in
from headgate.ledger import Database
from structlog.testing import capture_logs

START_WITHIN = 400.0  # seconds
SERVER = "Prefect server"
TEMPLATE = "migrated"  # the database that holds the ledger's empty tables

# Hundreds of databases are made and thrown away; without fsync a power cut could lose something, a kill cannot. Each of
# them would be looked at by autovacuum once a minute.
QUICK = ("fsync = off", "autovacuum_naptime = '1h'")


class Host:
    """A real PostgreSQL, Prefect servers and a Kafka broker, each started when it is first asked for.

    They are supervised from a thread of their own. Safe to use from several threads.

    Args:
        home: where they keep what they have; absolute.
        lend_jars: gives a home the jars of Kafka, so that they are not fetched.

    """

    def __init__(self, home: Path, lend_jars: Callable[[Path], None] | None = None) -> None:
        self._home = home
        self._lend_jars = lend_jars
        self._postgres: EmbeddedPostgres | None = None
        self._prefects: dict[str, PrefectServer] = {}
        self._prefect_locks: dict[str, threading.Lock] = {}
        self._kafka: BrokerSite | None = None
        self._locks = {name: threading.Lock() for name in ("ports", "postgres", "template", "prefect", "kafka")}
        self._has_template = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="services", daemon=True)
        self._thread.start()
        self._supervisor = self._new_supervisor()
        self._broker_supervisor: Supervisor | None = None

    def home(self) -> Path:
        """Where they keep what they have."""
        return self._home

    def postgres(self) -> EmbeddedPostgres:
        """PostgreSQL, with its databases made."""
        with self._locks["postgres"]:
            if self._postgres is None:
                postgres = EmbeddedPostgres(home=self._home)
                with self._locks["ports"]:
                    postgres.prepare()
                self._run(self._supervisor.start(postgres.child()))
                postgres.create_databases()
                administer(postgres, *(f"alter system set {setting}" for setting in QUICK), "select pg_reload_conf()")
                self._postgres = postgres
            return self._postgres

    def template(self) -> str:
        """The name of a database with the ledger's tables, to be copied."""
        postgres = self.postgres()
        with self._locks["template"]:
            if not self._has_template:
                administer(postgres, f"create database {TEMPLATE} owner {OWNER}")
                with capture_logs(), Database(postgres.url(TEMPLATE)) as database:
                    database.migrate()
                self._has_template = True
            return TEMPLATE

    def prefect(self, whose: str = "") -> PrefectServer:
        """A Prefect server on that PostgreSQL, one for each process that tests run in.

        Tests that run beside each other have to have different ones: each `apply` changes the same sweep.
        """
        with self._locks["prefect"]:
            lock = self._prefect_locks.setdefault(whose, threading.Lock())
            first = whose == next(iter(self._prefect_locks))
        with lock:  # several may start at the same time
            if whose not in self._prefects:
                home, database = (self._home, "prefect") if first else (self._home / whose, f"prefect_{whose}")
                if not first:
                    administer(self.postgres(), f'create database "{database}" owner {OWNER}')
                server = PrefectServer(home=home, database_url=self.postgres().url(database))
                with self._locks["ports"]:
                    server.prepare()
                self._run(self._supervisor.start(replace(server.child(), name=f"{SERVER} {whose}".strip())))
                if first:
                    self._back_up()  # now, while it holds nothing of a test
                self._prefects[whose] = server
            return self._prefects[whose]

    def used_home(self) -> Path:
        """A home that `headgate up` has been run in, to be copied: its databases are made and migrated."""
        self.prefect(next(iter(self._prefect_locks), ""))
        return self._home / "used"

    def kafka(self) -> BrokerSite:
        """The Kafka broker."""
        with self._locks["kafka"]:
            if self._kafka is None:
                with self._locks["ports"]:
                    site = choose_site(self._home)
                if self._lend_jars is not None:
                    self._lend_jars(self._home)
                site.prepare()
                self._start_broker(site.embedded)
                self._kafka = site
            return self._kafka

    def start_broker(self) -> None:
        """Start the broker after a stop, on the same ports and data; it answers when this returns."""
        self._start_broker(self.kafka().embedded)

    def stop_broker(self) -> None:
        """Stop the broker until `start_broker`."""
        if self._broker_supervisor is not None:
            self._run(self._broker_supervisor.stop())
            self._broker_supervisor = None

    def broker_pid(self) -> int:
        """The broker's process id at the moment."""
        assert self._broker_supervisor is not None, "the broker is stopped"
        return self._broker_supervisor.status()[0].pid

    def pid(self, name: str) -> int:
        """The process id of a child by its name: "PostgreSQL" or "Prefect server"."""
        return next(status.pid for status in self._supervisor.status() if status.name == name)

    def close(self) -> None:
        """Stop everything."""
        self.stop_broker()
        self._run(self._supervisor.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _back_up(self) -> None:
        """Copy what PostgreSQL has, while it runs."""
        user = stand_in()
        used = self._home / "used"
        used.mkdir(mode=0o755)
        shutil.copy2(self._home / "postgres.password", used)
        given = psycopg.conninfo.conninfo_to_dict(self.postgres().url("postgres"))
        command = [
            *(str(binaries(user) / "pg_basebackup"), "--checkpoint=fast", "--no-sync"),
            *("-h", str(given["host"]), "-p", str(given["port"]), "-U", ADMIN),
            *("-D", str(owned_folder(used / "postgres", user) / "data")),
        ]
        password = {"PATH": os.defpath, "PGPASSWORD": str(given["password"])}
        subprocess.run(command, check=True, user=user, env=password, cwd="/", capture_output=True)
        (used / "postgres" / "data" / "postgresql.auto.conf").unlink()  # what makes ours quick and no other

    def _start_broker(self, broker: EmbeddedKafka) -> None:
        self._broker_supervisor = self._new_supervisor()
        self._run(self._broker_supervisor.start(broker.child()))

    def _new_supervisor(self) -> Supervisor:
        made = Supervisor()
        self._run(made.__aenter__())
        return made

    def _run(self, coroutine: Coroutine[object, object, object]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(START_WITHIN)


def administer(postgres: EmbeddedPostgres, *statements: str) -> None:
    """Do what the owner of the databases may not; the administrator of a fresh home has the same password."""
    admin = postgres.url("postgres").replace(f"://{OWNER}:", f"://{ADMIN}:")
    with psycopg.connect(admin, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


class _Manager(BaseManager):
    """Python's own way to call an object of another process."""


_Manager.register("host")


def serve(host: Host, key: bytes) -> tuple[str, int]:
    """Let processes that know the key call a host, from a thread that ends with this process; where they find it."""

    class Serving(BaseManager):
        pass

    Serving.register("host", callable=lambda: host)
    server = Serving(("127.0.0.1", 0), key).get_server()
    threading.Thread(target=server.serve_forever, name="service host", daemon=True).start()
    return cast("tuple[str, int]", server.address)


def connect(address: tuple[str, int], key: bytes) -> Host:
    """Give a host that another process serves; it is called as one of this process would be."""
    manager = _Manager(address, key)
    manager.connect()
    return cast(Host, vars(_Manager)["host"](manager))
