"""Fixtures of the chaos tests."""

from collections.abc import Iterator

import pytest
from harness import Services
from road import Road, open_road


@pytest.fixture
def road(services: Services, warmed: None) -> Iterator[Road]:  # noqa: ARG001 - it has to be there
    """A stand on the shared services, with a manifest of what is dropped there."""
    with open_road(services) as opened:
        yield opened
