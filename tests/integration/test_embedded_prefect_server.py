"""The Prefect server on the embedded PostgreSQL. A start takes seconds, so each test makes the most of one."""

import asyncio
import os
import re
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from headgate.embedded.postgres import EmbeddedPostgres
from headgate.embedded.prefect_server import PrefectServer
from headgate.embedded.supervisor import Supervisor
from headgate.private_names import Use

pytestmark = pytest.mark.slow

RESOURCE = {"prefect.resource.id": "test"}
PATCHES = {Use.APPLICATION, Use.CHANGES, Use.SERVICES, Use.TYPES}


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that other users can reach: pytest's own tmp_path is closed to them."""
    with tempfile.TemporaryDirectory(prefix="head gate ") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "home"


@asynccontextmanager
async def up(home: Path, *, internals: bool = True) -> AsyncIterator[tuple[Supervisor, PrefectServer]]:
    async with Supervisor() as supervisor:
        postgres = EmbeddedPostgres(home=home)
        postgres.prepare()
        await supervisor.start(postgres.child())
        postgres.create_databases()
        server = PrefectServer(home=home, database_url=postgres.url("prefect"), internals=internals)
        server.prepare()
        await supervisor.start(server.child())
        yield supervisor, server


def get(url: str) -> httpx.Response:
    return httpx.get(url, follow_redirects=True, timeout=10)


def post(url: str, body: object) -> Any:
    answer = httpx.post(url, json=body, timeout=10).raise_for_status()
    return answer.json() if answer.content else None


async def wait_until(holds: Callable[[], object], *, within: float = 60) -> None:
    deadline = time.monotonic() + within
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.1)


async def test_it_serves_api_and_browser_and_hears_nothing_of_the_users_prefect(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings of the user's own Prefect, in the environment or in the folder, must not steer ours."""
    monkeypatch.setenv("PREFECT_API_URL", "https://user.example/api")
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "sqlite+aiosqlite:////no/such/place.db")
    monkeypatch.setenv("PREFECT_SERVER_UI_ENABLED", "false")
    monkeypatch.setenv("PREFECT_PROFILE", "theirs")
    monkeypatch.chdir(home.parent)
    (home.parent / ".env").write_text("PREFECT_SERVER_API_BASE_PATH=/theirs\n")
    (home.parent / "prefect.toml").write_text("[server.ui]\nenabled = false\n")
    async with up(home) as (supervisor, server):
        assert get(f"{server.api_url}/health").json() is True
        assert get(f"{server.api_url}/ready").is_success
        assert server.ui_url.startswith("http://127.0.0.1:")
        for page in ("/", "/v2/"):
            html = get(server.ui_url + page)
            assert html.headers["content-type"].startswith("text/html")
            scripts = re.findall(r'src="([^"]+\.js)"', html.text)
            assert scripts
            assert all("javascript" in get(server.ui_url + script).headers["content-type"] for script in scripts)
        assert get(f"{server.ui_url}/ui-settings").json()["api_url"] == server.api_url
        settings = get(f"{server.api_url}/admin/settings").json()
        assert settings["server"]["analytics_enabled"] is False
        assert settings["home"] == str(home / "prefect")
        with psycopg.connect(server.database_url) as connection:
            row = connection.execute("select count(*) from flow_run").fetchone()
        assert row == (0,)
        foreign = httpx.get(f"{server.api_url}/health", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in foreign.headers
        pids = [status.pid for status in supervisor.status()]
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


async def test_a_killed_server_and_a_later_start_keep_port_and_data(home: Path) -> None:
    async with up(home) as (supervisor, server):
        made = httpx.post(f"{server.api_url}/variables/", json={"name": "kept", "value": 42}, timeout=10)
        assert made.is_success
        os.kill(supervisor.status()[1].pid, signal.SIGKILL)
        await wait_until(lambda: supervisor.status()[1].restarts and server.ready())
        assert get(f"{server.api_url}/variables/name/kept").json()["value"] == 42
    async with up(home) as (_, later):
        assert later.api_url == server.api_url
        assert get(f"{later.api_url}/variables/name/kept").json()["value"] == 42


@pytest.mark.parametrize("internals", [True, False])
async def test_it_patches_prefect_unless_it_is_told_not_to(home: Path, *, internals: bool) -> None:
    async with up(home, internals=internals) as (_, server):
        assert get(f"{server.api_url}/health").json() is True
    log = (home / "logs" / "prefect-server.log").read_text()
    without = {str(use) for use in PATCHES if str(use) in log}
    assert without == (set() if internals else PATCHES)


async def test_it_is_started_again_when_a_service_of_prefect_fails(home: Path) -> None:
    """A server without its triggers calls itself healthy, and fires no automation any more."""
    async with up(home) as (supervisor, server):
        log = home / "logs" / "prefect-server.log"
        with psycopg.connect(server.database_url, autocommit=True) as connection:
            connection.execute("alter table automation rename to unavailable")
            os.kill(supervisor.status()[1].pid, signal.SIGKILL)
            await wait_until(lambda: "ReactiveTriggers failed" in log.read_text())
            connection.execute("alter table unavailable rename to automation")
        restarts = supervisor.status()[1].restarts
        await wait_until(lambda: supervisor.status()[1].restarts > restarts and server.ready())
        trigger = {"type": "event", "posture": "Reactive", "expect": ["asked"], "threshold": 1, "within": 0}
        body = {"name": "answers", "trigger": trigger, "actions": [{"type": "do-nothing"}]}
        made = post(f"{server.api_url}/automations/", body)["id"]
        firings = {
            "resource": {"id": [f"prefect.automation.{made}"]},
            "event": {"name": ["prefect.automation.triggered"]},
        }

        def fired() -> bool:
            now = datetime.now(UTC).isoformat()
            event = {"id": str(uuid4()), "event": "asked", "resource": RESOURCE, "occurred": now, "payload": {}}
            post(f"{server.api_url}/events", [event])
            return bool(post(f"{server.api_url}/events/filter", {"filter": firings})["total"])

        await wait_until(fired)
