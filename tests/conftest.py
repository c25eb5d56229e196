"""Fixtures for all tests that need real services; they are started once, when first asked for."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import warm
from broker import Broker
from harness import HOME, Services, Stand, home_in, open_folder
from headgate.home import Mark
from headgate.ledger import Arrivals, Claims, Database, DeadLetters, Homes, Rings
from hypothesis import settings
from message_road import MessageRoad

pytest_plugins = ["parallel"]

# The machine may be busy: no example is timed.
settings.register_profile("untimed", parent=settings(), deadline=None)
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take `make test ARGS=--long`, and `--write-errors` of `make errors`."""
    parser.addoption("--write-errors", action="store_true", help="write docs/errors.md anew")
    parser.addoption("--long", action="store_true", help="hold ten times as many generated records against the table")


def services_for(request: pytest.FixtureRequest) -> Services:
    """Give the shared services, or the expendable ones to a test that is marked `kills_services`."""
    kills = request.node.get_closest_marker("kills_services") is not None
    given: Services = request.getfixturevalue("expendable" if kills else "services")
    return given


@pytest.fixture
def kafka(request: pytest.FixtureRequest) -> Broker:
    """A real Kafka broker, shared by all tests: each makes topics of its own."""
    return services_for(request).kafka()


@pytest.fixture
def database_url(services: Services, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of its own: with the ledger's tables for a test that asks for `database`, else empty."""
    url = services.fresh_database(migrated="database" in request.fixturenames)
    yield url
    services.drop_database(url)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated ledger of its own."""
    with Database(database_url) as opened:
        yield opened


@pytest.fixture
def homes(database: Database, tmp_path: Path) -> Homes:
    """The homes of that ledger, in a folder that is one."""
    folder = home_in(tmp_path)
    folder.write(Mark(HOME, "default", 1))
    made = Homes(database, folder, lease=timedelta(seconds=30))
    made.join()
    return made


@pytest.fixture
def ledger(database: Database, homes: Homes) -> Arrivals:
    """The arrivals of that ledger: what listeners see of it."""
    return Arrivals(database, homes)


@pytest.fixture
def claims(database: Database, homes: Homes) -> Claims:
    """The claims of that ledger, with a lease of 30 seconds."""
    return Claims(database, lease=timedelta(seconds=30), homes=homes)


@pytest.fixture
def rings(database: Database) -> Rings:
    """The rings of that ledger."""
    return Rings(database, lease=timedelta(seconds=30))


@pytest.fixture
def dead_letters(database: Database) -> DeadLetters:
    """The dead letters of that ledger."""
    return DeadLetters(database)


@pytest.fixture
def stand(request: pytest.FixtureRequest) -> Iterator[Stand]:
    """One installation of Headgate, with a database of its own and without a Prefect server of its own."""
    services = services_for(request)
    with open_folder("headgate-stand-") as folder:
        url = services.fresh_database()
        made = Stand(services, folder, url)
        yield made
        made.close()
        services.drop_database(url)


@pytest.fixture
def prefect_stand(stand: Stand) -> Stand:
    """The same, with a Prefect server."""
    stand.services.prefect()
    return stand


@pytest.fixture(scope="session")
def warmed() -> None:
    """The server that processes are forked from."""
    warm.warm_up()


@pytest.fixture
def messages(prefect_stand: Stand, kafka: Broker, warmed: None) -> Iterator[MessageRoad]:  # noqa: ARG001 - it has to be there
    """The road of messages to tables, and what was published on it."""
    made = MessageRoad(prefect_stand, kafka)
    yield made
    made.close()
