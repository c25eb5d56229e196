"""PostgreSQL of the integration tests does not wait for the disk: hundreds of databases are made and thrown away."""

import psycopg
import pytest
from harness import Services

from worker.embedded.postgres import ADMIN, OWNER


@pytest.fixture(scope="session")
def services(services: Services) -> Services:
    """The same services. What is lost without fsync is lost by a power cut alone, not by a killed process."""
    admin = services.postgres.url("postgres").replace(f"://{OWNER}:", f"://{ADMIN}:")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("alter system set fsync = off")
        connection.execute("select pg_reload_conf()")
    return services
