"""The pytest plug-in: the fixture `gate`. pytest loads this module in every run, so it imports nothing else of ours."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from headgate.rules.engine import Engine
    from headgate.testing.gate import Gate


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the option for the rules that every `gate` begins with."""
    parser.addini("headgate_rules", "The automations that every gate begins with, as package.module:NAME or a file.")


@pytest.fixture(scope="session")
def _headgate_engine() -> "Iterator[Engine]":
    """Prefect's evaluation of rules: it takes 2 s to import, once a session."""
    from headgate.rules.engine import Engine  # noqa: PLC0415 - only for those who ask

    with Engine() as engine:
        yield engine


@pytest.fixture
def gate(_headgate_engine: "Engine", tmp_path: Path, pytestconfig: pytest.Config) -> "Gate":
    """Feed files, messages and events; see rows, dead letters and what fired."""
    from headgate.testing.gate import Gate  # noqa: PLC0415 - as above

    made = Gate(_headgate_engine, tmp_path / "headgate")
    if rules := pytestconfig.getini("headgate_rules"):
        made.rules(rules)
    return made
