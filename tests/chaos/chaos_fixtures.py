"""Fixtures of the chaos tests."""

from collections.abc import Iterator

import pytest
import warm
from harness import Services
from road import Road, open_road


@pytest.fixture(scope="session")
def warmed(services: Services) -> None:
    """The server that processes are forked from."""
    warm.warm_up(services.prefect().api_url, services.home / "prefect-client")


@pytest.fixture
def road(services: Services, warmed: None) -> Iterator[Road]:  # noqa: ARG001 - it has to be there
    """A stand on the shared services, with a manifest of what is dropped there."""
    with open_road(services) as opened:
        yield opened
