"""`headgate up`: starts PostgreSQL and a Prefect server unless they are given, then our own processes, supervised."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from urllib.parse import urlsplit, urlunsplit

import psycopg
import structlog
from psycopg import sql
from pydantic import SecretStr

from worker import fork_server
from worker.embedded.child import Child
from worker.embedded.home import hold
from worker.embedded.kafka import EmbeddedKafka
from worker.embedded.postgres import EmbeddedPostgres
from worker.embedded.prefect_server import PrefectServer
from worker.embedded.supervisor import Supervisor
from worker.errors import HeadgateError, LedgerUnavailable, Misuse
from worker.execution import PRELOAD
from worker.execution.prefect_internals import VERSION
from worker.ledger import Database
from worker.settings import Endpoints, Settings

HAND_BACK = 40  # seconds that a worker whose runs do not end in time takes to hand them back, and to end

log = structlog.get_logger()


# What our own processes, and those of runs, have in common.
SHARED = (
    "worker.execution.warm",
    "worker.processes.listen",
    "worker.processes.work",
    "worker.processes.apply",
    *PRELOAD,
)


@contextmanager
def sharing(settings: Settings) -> Iterator[None]:
    """Have a process that ours are forked from; to be entered before this one has a thread or an event loop.

    Where that cannot be, each of them is a program of its own, which takes 100 MB more and starts later.
    """
    # Prefect's client keeps files of its own: they are ours to keep apart, unless the user says where.
    own = settings.home / "prefect-client"
    own.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PREFECT_HOME", str(own))
    if hasattr(os, "pidfd_open") and version("prefect") == VERSION:
        fork_server.start(SHARED)
    try:
        yield
    finally:
        fork_server.stop()


@dataclass(frozen=True, slots=True)
class Running:
    """What is up."""

    settings: Settings  # with the addresses of what was started
    supervisor: Supervisor
    broker: asyncio.Task[bool] | None  # of our own, if there is one: whether it came up; it may still be starting

    @property
    def ui_url(self) -> str:
        """Where the Prefect UI is."""
        return self.settings.require_api().removesuffix("/api")


@asynccontextmanager
async def up(settings: Settings, *, kafka: bool = False) -> AsyncIterator[Running]:
    """Start everything in order and keep it running; at the end stop it in reverse, runs drained first.

    Args:
        settings: of all processes.
        kafka: start a Kafka broker too, unless one is given. Nothing waits for it, and all goes on without it.

    Raises:
        HeadgateError: something could not be started; the text names it and has its last words.

    """
    async with AsyncExitStack() as stack:
        holding = stack.enter_context(hold(settings.home))
        supervisor = await stack.enter_async_context(
            Supervisor(on_restart=_tell, holding=holding, forks=fork_server.is_started())
        )
        broker, server, enough = None, asyncio.Event(), threading.Event()
        if kafka and settings.kafka.bootstrap is None:
            settings, broker = await _kafka(settings, supervisor, server, enough)
            if broker is not None:
                stack.push_async_callback(_ended, broker, enough)
        settings = await _database(settings, supervisor)
        settings = await _prefect_server(settings, supervisor)
        server.set()
        Endpoints(
            database_url=settings.require_database(),
            api_url=settings.require_api(),
            kafka_bootstrap=settings.kafka.bootstrap,
        ).write(settings.home)
        stack.callback(Endpoints.remove, settings.home)
        with Database(settings.require_database()) as database:
            await asyncio.to_thread(database.migrate)
        await _apply(settings, supervisor)
        await supervisor.start(_ours(settings, "listen", grace=30))
        await supervisor.start(_ours(settings, "work", grace=settings.worker.grace_seconds + HAND_BACK))
        yield Running(settings, supervisor, broker)


async def _kafka(
    settings: Settings, supervisor: Supervisor, server: asyncio.Event, enough: threading.Event
) -> tuple[Settings, asyncio.Task[bool] | None]:
    """Begin to start a broker. Its address is known at once, and who uses it waits for it by itself.

    It is made ready beside the Prefect server, but started after it: on two cores the server would start much later.
    """
    broker = EmbeddedKafka(home=settings.home)
    broker.choose_ports()
    try:
        await asyncio.to_thread(broker.require_tools)
    except Misuse as error:
        _go_without(error)
        return settings, None
    kafka = settings.kafka.model_copy(update={"bootstrap": broker.bootstrap})
    task = asyncio.create_task(_start(broker, supervisor, server, enough), name="start Kafka")
    return settings.model_copy(update={"kafka": kafka}), task


async def _start(broker: EmbeddedKafka, supervisor: Supervisor, server: asyncio.Event, enough: threading.Event) -> bool:
    try:
        await asyncio.to_thread(broker.prepare, enough)
        await server.wait()
        await supervisor.start(broker.child())
    except HeadgateError as error:
        _go_without(error)
        return False
    return True


def _go_without(error: HeadgateError) -> None:
    log.warning("no Kafka broker; all else goes on without it", action="up", reason=str(error))


async def _ended(task: asyncio.Task[bool], enough: threading.Event) -> None:
    """See to it that nothing is started any more, and that what makes ready to start ends."""
    enough.set()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _database(settings: Settings, supervisor: Supervisor) -> Settings:
    if settings.database_url is not None:
        return settings
    postgres = EmbeddedPostgres(home=settings.home)
    await asyncio.to_thread(postgres.prepare)
    await supervisor.start(postgres.child())
    await asyncio.to_thread(postgres.create_databases)
    return settings.model_copy(update={"database_url": SecretStr(postgres.url("headgate"))})


async def _prefect_server(settings: Settings, supervisor: Supervisor) -> Settings:
    if settings.api_url is not None:
        return settings
    database_url = await asyncio.to_thread(_beside, settings.require_database(), "prefect")
    server = PrefectServer(home=settings.home, database_url=database_url)
    server.prepare()
    await supervisor.start(server.child())
    return settings.model_copy(update={"api_url": server.api_url})


def _beside(url: str, database: str) -> str:
    """Name another database on the same server, and make it if it is not there: Prefect's own things stay apart."""
    parts = urlsplit(url)
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            if not connection.execute("select from pg_database where datname = %s", [database]).rowcount:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(database)))
    except psycopg.errors.InsufficientPrivilege as error:
        raise HeadgateError(
            f"There is no database {database!r} for the Prefect server, and we may not make one: "
            f"run `create database {database}` as its owner, or set PREFECT_API_URL to a server of yours."
        ) from error
    except psycopg.OperationalError as error:
        where = f"{parts.hostname}:{parts.port or 5432}"
        raise LedgerUnavailable(
            f"PostgreSQL at {where} does not answer; start it, or correct HEADGATE_DATABASE_URL."
        ) from error
    return urlunsplit((parts.scheme, parts.netloc, f"/{database}", "", ""))


async def _apply(settings: Settings, supervisor: Supervisor) -> None:
    """Apply in a process of its own: Prefect reads its settings but once, and here they are not those of a client."""
    code, said = await supervisor.run(_ours(settings, "apply", grace=10))
    if code:
        line = said.rpartition("\n")[2]
        raise HeadgateError(
            line.removeprefix("headgate: ") if line.startswith("headgate: ") else f"`headgate apply` failed:\n{said}"
        )


def _ours(settings: Settings, command: str, *, grace: float) -> Child:
    """One of our own commands as a child."""
    return Child(
        name=f"headgate {command}",
        argv=(sys.executable, "-m", "worker", command),
        log=settings.home / "logs" / f"{command}.log",
        env={**os.environ, **settings.environment()},
        shares=True,
        grace=grace,
        tier=2,
    )


def _tell(name: str, code: int, pause: float) -> None:
    log.warning("a process ended and is started again", action="restart", name=name, code=code, pause_seconds=pause)
