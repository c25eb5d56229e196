"""Fixtures for all tests that need real services; they are started once, when first asked for."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import warm
from broker import Broker
from harness import Services, Stand, open_folder
from message_road import MessageRoad

from worker.ledger import Arrivals, Claims, Database, DeadLetters, Rings


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """A real PostgreSQL; its Prefect server starts when it is asked for."""
    with open_folder("headgate-services-") as folder:
        running = Services(folder / "home")
        yield running
        running.close()


@pytest.fixture(scope="session")
def kafka(services: Services) -> Broker:
    """A real Kafka broker, shared by all tests: each makes topics of its own."""
    return services.kafka()


@pytest.fixture
def database_url(services: Services) -> str:
    """An empty database of its own."""
    return services.fresh_database()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated ledger of its own."""
    with Database(database_url) as opened:
        opened.migrate()
        yield opened


@pytest.fixture
def ledger(database: Database) -> Arrivals:
    """The arrivals of that ledger: what listeners see of it."""
    return Arrivals(database)


@pytest.fixture
def claims(database: Database) -> Claims:
    """The claims of that ledger, with a lease of 30 seconds."""
    return Claims(database, lease=timedelta(seconds=30))


@pytest.fixture
def rings(database: Database) -> Rings:
    """The rings of that ledger."""
    return Rings(database, lease=timedelta(seconds=30))


@pytest.fixture
def dead_letters(database: Database) -> DeadLetters:
    """The dead letters of that ledger."""
    return DeadLetters(database)


@pytest.fixture
def stand(services: Services) -> Iterator[Stand]:
    """One installation of Headgate, with a database of its own and without a Prefect server of its own."""
    with open_folder("headgate-stand-") as folder:
        made = Stand(services, folder, services.fresh_database())
        yield made
        made.close()


@pytest.fixture
def prefect_stand(stand: Stand) -> Stand:
    """The same, with a Prefect server."""
    stand.services.prefect()
    return stand


@pytest.fixture(scope="session")
def warmed(services: Services) -> None:
    """The server that processes are forked from."""
    warm.warm_up(services.prefect().api_url, services.home / "prefect-client")


@pytest.fixture
def messages(prefect_stand: Stand, kafka: Broker, warmed: None) -> Iterator[MessageRoad]:  # noqa: ARG001 - it has to be there
    """The road of messages to tables, and what was published on it."""
    made = MessageRoad(prefect_stand, kafka)
    yield made
    made.close()
