"""Tests in several processes: the services that they share, who runs beside whom, and what runs first.

`make test` starts pytest-xdist; without it (`pytest tests/unit`) all is in one process, and means the same.
"""

import secrets
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import Services, open_folder
from service_host import Host, connect, serve

HERE = Path(__file__).parent
# What takes longest begins first, so that no process is left alone with it at the end.
LONGEST_FIRST = ("chaos", "acceptance", "integration", "unit")

# A test that asks for one of these needs a Prefect server, a broker or processes of ours.
NEEDS_MORE = frozenset({"stand", "kafka", "warmed", "expendable"})

_SERVING = pytest.StashKey[tuple[tuple[str, int], bytes]]()


@contextmanager
def own_host(prefix: str, lend_jars: Callable[[Path], None] | None = None) -> Iterator[Host]:
    """Run services in a temporary folder."""
    with open_folder(prefix) as folder:
        host = Host(folder / "home", lend_jars)
        try:
            yield host
        finally:
            host.close()


@pytest.fixture(scope="session")
def services(request: pytest.FixtureRequest) -> Iterator[Services]:
    """The services, which all processes that tests run in share; each of those has a Prefect server of its own."""
    given: dict[str, Any] | None = getattr(request.config, "workerinput", None)
    if given is not None:
        yield Services(connect(tuple(given["services"]), given["services_key"]), given["workerid"])
        return
    with own_host("headgate-services-") as host:
        yield Services(host)


@pytest.fixture(scope="session")
def expendable(services: Services) -> Iterator[Services]:
    """Services that tests may stop and kill. Such tests run one after the other."""
    with own_host("headgate-expendable-", lambda home: services.kafka().lend_jars(home)) as host:
        yield Services(host)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist, from its controller, where the services are; the first one has them made."""
    config = node.config
    if _SERVING not in config.stash:
        running = own_host("headgate-services-")
        host = running.__enter__()
        key = secrets.token_bytes(32)
        config.add_cleanup(lambda: running.__exit__(None, None, None))
        config.stash[_SERVING] = serve(host, key), key
    node.workerinput["services"], node.workerinput["services_key"] = config.stash[_SERVING]


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    """Have one worker run what stops services, and put first what takes longest, after pytest-randomly's shuffle."""
    for item in items:
        if not NEEDS_MORE.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
        if item.get_closest_marker("kills_services"):
            item.add_marker(pytest.mark.xdist_group("kills services"))
    yield
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    kinds = item.path.relative_to(HERE).parts
    return LONGEST_FIRST.index(kinds[0]) if kinds[0] in LONGEST_FIRST else len(LONGEST_FIRST)
