"""`headgate up`: it starts PostgreSQL and a Prefect server unless configured, then our own processes, supervised."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import structlog
from pydantic import SecretStr

from headgate.embedded.child import Child
from headgate.embedded.home import CHILDREN, hold
from headgate.embedded.kafka import EmbeddedKafka
from headgate.embedded.orphan import SUPERVISED
from headgate.embedded.postgres import EmbeddedPostgres
from headgate.embedded.prefect_server import PrefectServer
from headgate.embedded.supervisor import Supervisor
from headgate.embedded.warden import end_left
from headgate.endpoints import Endpoints
from headgate.errors import MISUSE, WITHOUT_RULES, HeadgateError, HomeUnavailable, Misuse, Transient
from headgate.execution import PRELOAD
from headgate.forking import fork_server
from headgate.home import Home
from headgate.ledger import Database, Homes
from headgate.processes.prefect_database import beside
from headgate.settings import Settings

LONGEST_PAUSE = 2.0  # seconds between two tries while something is unavailable at the start
PREPARE_AGAIN = (1.0, 5.0)  # seconds between the tries to prepare Kafka
HAND_BACK = 40  # seconds that a worker takes to hand back runs that do not end in time, and to end

T = TypeVar("T")

log = structlog.get_logger()


# Modules that our own processes and those of runs share.
SHARED = (
    "headgate.execution.warm",
    "headgate.processes.listen",
    "headgate.processes.work",
    "headgate.processes.apply",
    *PRELOAD,
)


@contextmanager
def sharing(settings: Settings) -> Iterator[None]:
    """Keep a fork server for our processes; enter before this process has a thread or an event loop.

    Where forking is impossible, each of them is a separate program, which takes 100 MB more and starts later.
    """
    # Prefect's client keeps its own files: we keep them apart, unless the user sets their place.
    own = settings.home / "prefect-client"
    own.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PREFECT_HOME", str(own))
    if fork_server.is_supported():
        fork_server.start(SHARED)
    try:
        yield
    finally:
        fork_server.stop()


@dataclass(frozen=True, slots=True)
class Running:
    """The services that are up."""

    settings: Settings  # with the addresses of the started services
    supervisor: Supervisor
    broker: asyncio.Task[bool] | None  # our own, if any: whether it came up; it may still be starting

    @property
    def ui_url(self) -> str:
        """The URL of the Prefect UI."""
        return self.settings.require_api().removesuffix("/api")


@asynccontextmanager
async def up(settings: Settings, *, kafka: bool = False) -> AsyncIterator[Running]:
    """Start everything in order and keep it running; at the end, drain runs and stop everything in reverse order.

    A process that dies meanwhile is restarted; a slow one is waited for.

    Args:
        settings: the settings of all processes.
        kafka: start a Kafka broker too, unless one is configured. Nothing waits for it; all else runs without it.

    Raises:
        HeadgateError: something cannot start until a person changes something; the text says what.

    """
    async with AsyncExitStack() as stack:
        holding = stack.enter_context(hold(settings.home))
        if left := await asyncio.to_thread(end_left, settings.home / CHILDREN):
            log.warning("ended what a killed `headgate up` had left running", action="up", processes=left)
        supervisor = await stack.enter_async_context(
            Supervisor(
                on_restart=_tell,
                on_trouble=_tell_why,
                holding=holding,
                record=settings.home / CHILDREN,
                forks=fork_server.is_started(),
            )
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
            pipelines=settings.pipelines,
            inbox=settings.inbox,
        ).write(settings.home)
        stack.callback(Endpoints.remove, settings.home)
        with Database(settings.require_database()) as database:
            is_new = bool(await _patiently(database.migrate))
            await _patiently(lambda: _join(settings, database))
        await _start_ours(settings, supervisor, is_new=is_new)
        yield Running(settings, supervisor, broker)


async def _start_ours(settings: Settings, supervisor: Supervisor, *, is_new: bool) -> None:
    """Apply, and start listener and worker.

    Args:
        settings: of all processes.
        supervisor: keeps them running.
        is_new: whether the ledger was made, or changed, just now: then nobody rings before all is applied. Otherwise
            an earlier `up` has applied, so what waits need not wait for this one to do so again.

    """
    applying = asyncio.create_task(_apply(settings, supervisor), name="apply")
    try:
        if is_new:
            await applying
        await supervisor.start(_ours(settings, "listen", grace=30))
        await supervisor.start(_ours(settings, "work", grace=settings.worker.grace_seconds + HAND_BACK))
        await applying
    finally:
        applying.cancel()
        await asyncio.gather(applying, return_exceptions=True)


def _join(settings: Settings, database: Database) -> None:
    """Make the folder a home before its deployments and automations are applied."""
    try:
        Homes(database, Home(settings.places), lease=settings.ledger.lease).join()
    except HomeUnavailable as error:  # the listener waits for it
        log.error(str(error), action="up")  # noqa: TRY400 - the text is complete


async def _kafka(
    settings: Settings, supervisor: Supervisor, server: asyncio.Event, enough: threading.Event
) -> tuple[Settings, asyncio.Task[bool] | None]:
    """Begin to start a broker. Its address is known at once, and each client waits for it by itself.

    The broker is prepared while the Prefect server starts, but started after it: on two cores, the server would
    otherwise start much later.
    """
    broker = EmbeddedKafka(home=settings.home, port=settings.up.kafka_port)
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
        await _prepare(broker, enough)
        await server.wait()
        await supervisor.start(broker.child())
    except HeadgateError as error:
        _go_without(error)
        return False
    return True


async def _prepare(broker: EmbeddedKafka, enough: threading.Event) -> None:
    """Prepare the broker, with retries: java or Maven may be killed, or the network may fail for a moment."""
    for pause in PREPARE_AGAIN:
        try:
            return await asyncio.to_thread(broker.prepare, enough)
        except Misuse:
            raise
        except HeadgateError as error:
            log.warning(str(error), action="up", next_try_seconds=pause)
            await asyncio.sleep(pause)
    return await asyncio.to_thread(broker.prepare, enough)


def _go_without(error: HeadgateError) -> None:
    log.warning("no Kafka broker; all else goes on without it", action="up", reason=str(error))


async def _ended(task: asyncio.Task[bool], enough: threading.Event) -> None:
    """Make sure that nothing more is started, and that preparations end."""
    enough.set()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _database(settings: Settings, supervisor: Supervisor) -> Settings:
    if settings.database_url is not None:
        return settings
    postgres = EmbeddedPostgres(home=settings.home, port=settings.up.postgres_port)
    await asyncio.to_thread(postgres.prepare)
    await supervisor.start(postgres.child())
    await _patiently(postgres.create_databases)
    return settings.model_copy(update={"database_url": SecretStr(postgres.url("headgate"))})


async def _prefect_server(settings: Settings, supervisor: Supervisor) -> Settings:
    if settings.api_url is not None:
        return settings
    database_url = await _patiently(lambda: beside(settings.require_database()))
    server = PrefectServer(
        home=settings.home,
        database_url=database_url,
        port=settings.up.prefect_port,
        internals=settings.prefect_internals,
    )
    server.prepare()
    child = server.child()
    await supervisor.start(replace(child, env={**child.env, SUPERVISED: str(settings.home)}))
    return settings.model_copy(update={"api_url": server.api_url})


async def _apply(settings: Settings, supervisor: Supervisor) -> None:
    """Apply in a separate process: Prefect reads its settings only once, and here they are not those of a client."""
    code, said = await supervisor.run(_ours(settings, "apply", "--unattended", grace=10))
    if code == WITHOUT_RULES:
        log.warning("rules were not applied; run `headgate automations plan` to see why", action="up")
    elif code:
        line = said.rpartition("\n")[2]
        raise HeadgateError(
            line.removeprefix("headgate: ") if line.startswith("headgate: ") else f"`headgate apply` failed:\n{said}"
        )


def _ours(settings: Settings, command: str, *options: str, grace: float) -> Child:
    """Return one of our own commands as a child."""
    return Child(
        name=f"headgate {command}",
        argv=(sys.executable, "-m", "headgate", command, *options),
        log=settings.home / "logs" / f"{command}.log",
        env={**os.environ, **settings.environment(), SUPERVISED: str(settings.home)},
        shares=True,
        permanent=frozenset({MISUSE, WITHOUT_RULES}),
        grace=grace,
        tier=2,
    )


async def _patiently(do: Callable[[], T]) -> T:
    """Do something in a thread; retry while what it needs is unavailable.

    Raises:
        HeadgateError: another try would fail the same way.

    """
    pause = 0.5
    while True:
        try:
            return await asyncio.to_thread(do)
        except Transient as error:
            log.warning(str(error), action="up", next_try_seconds=pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


def _tell_why(name: str, why: str) -> None:
    log.warning("a process is not up yet", action="start", name=name, why=why)


def _tell(name: str, code: int, pause: float) -> None:
    log.warning("a process ended and is started again", action="restart", name=name, code=code, pause_seconds=pause)
