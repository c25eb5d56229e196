"""The processes as docker-compose.yml runs them: its environment, secrets in files, a password for Prefect.

There is no container here. As root they get what a container of ours has: a read-only root with a /tmp of its own, no
capabilities, and a user that /etc/passwd does not know, in group 0, if such a user can reach this Python. Other users,
and a Python below /tmp, run them as they are.
"""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from harness import REPOSITORY, Services, wait_until
from headgate.embedded.home import remembered_port
from headgate.project import make_project
from ruamel.yaml import YAML

CONFINED = """
mount --bind "$1" "$1" && mount -o remount,ro,bind / && mount -t tmpfs tmpfs /tmp && cd "$2" && shift 2 &&
exec setpriv --reuid $USER_ID --regid 0 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""
PYTHON = Path(sys.executable).resolve()
USER_ID = 54321 if all(path.stat().st_mode & stat.S_IXOTH for path in (PYTHON, *PYTHON.parents)) else 0
IS_CONFINED = (
    os.geteuid() == 0
    and all(map(shutil.which, ("unshare", "setpriv")))
    and not Path(sys.executable).is_relative_to("/tmp")  # noqa: S108 - it would be out of reach below the /tmp of their own
)


class Deployed:
    """A folder with a project, its secrets, an inbox and a home, and the processes on them."""

    def __init__(self, folder: Path, database: str, prefect_database: str) -> None:
        self.folder, self.database = folder, database
        self.processes: list[subprocess.Popen[bytes]] = []
        make_project(folder / "project")
        for name in ("home", "inbox/orders", "secrets", "logs"):
            (folder / name).mkdir(parents=True)
        self.port = remembered_port(folder / "prefect.port")
        parts = urlsplit(database)
        (folder / "secrets/database_password").write_text(f"{parts.password}\n", encoding="utf-8")
        (folder / "secrets/prefect_auth").write_text("headgate:a secret\n", encoding="utf-8")
        self.given = {
            "HEADGATE_HOME": str(folder / "home"),
            "HEADGATE_INBOX": str(folder / "inbox"),
            "HEADGATE_DATABASE_URL": database.replace(f":{parts.password}@", "@"),
            "HEADGATE_DATABASE_PASSWORD_FILE": str(folder / "secrets/database_password"),
            "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api",
            "PREFECT_API_AUTH_STRING_FILE": str(folder / "secrets/prefect_auth"),
        }
        self.prefect = {
            "HEADGATE_HOME": "/tmp/headgate" if IS_CONFINED else str(folder / "prefect"),  # noqa: S108 - a tmpfs of its own
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": prefect_database.replace("://", "+asyncpg://"),
        }
        compose = YAML(typ="safe").load(REPOSITORY / "docker-compose.yml")["services"]
        assert set(compose["listen"]["environment"]) == set(self.given), "what docker compose sets, and nothing else"
        if IS_CONFINED:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, USER_ID, 0)

    def _how(self, *command: str) -> dict[str, object]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("HEADGATE_", "PREFECT_"))}
        temporary = "/tmp" if IS_CONFINED else str(self.folder)  # noqa: S108 - as above
        project = {"HEADGATE_PIPELINES": "pipelines:PIPELINES", "HEADGATE_RULES": "rules:RULES"}
        of_image = {"HOME": temporary, "USER": "headgate", "PREFECT_HOME": f"{temporary}/prefect-client"}
        own = self.prefect if command[0] == "prefect-server" else {}
        run = [sys.executable, "-m", "headgate", *command]
        folders = [str(self.folder), str(self.folder / "project")]
        return {
            "args": ["unshare", "--mount", "sh", "-c", CONFINED, "sh", *folders, *run] if IS_CONFINED else run,
            "env": {**clean, **of_image, **self.given, **project, **own, "NO_COLOR": "1", "USER_ID": str(USER_ID)},
            "cwd": folders[1],
        }

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start one in the background."""
        with (self.folder / "logs" / f"{command[0]}.log").open("ab") as log:
            made = subprocess.Popen(**self._how(*command), stdout=log, stderr=log, start_new_session=True)  # type: ignore[call-overload]
        self.processes.append(made)
        return made  # type: ignore[no-any-return]

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run one to its end."""
        return subprocess.run(**self._how(*command), capture_output=True, text=True, check=False, timeout=120)  # type: ignore[call-overload, no-any-return]

    def logs(self) -> str:
        """What all have written."""
        return "\n".join(path.read_text(errors="replace") for path in (self.folder / "logs").iterdir())

    def rows(self) -> int:
        """How many orders are in the table."""
        with suppress(psycopg.errors.UndefinedTable), psycopg.connect(self.database) as connection:
            return connection.execute("select from orders").rowcount
        return 0


@contextmanager
def open_deployed(services: Services) -> Iterator[Deployed]:
    """Make one, and end all that it started."""
    urls = services.fresh_database(), services.fresh_database()
    with tempfile.TemporaryDirectory(prefix="headgate-deployed-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        made = Deployed(Path(folder), *urls)
        try:
            yield made
        finally:
            for process in made.processes:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
    for url in urls:
        services.drop_database(url)


@pytest.fixture
def deployed(services: Services) -> Iterator[Deployed]:
    """One of this test's own."""
    with open_deployed(services) as made:
        yield made


@pytest.mark.slow
def test_a_file_becomes_rows_and_each_process_says_how_it_is(deployed: Deployed) -> None:
    api = f"http://127.0.0.1:{deployed.port}/api"

    def ready() -> bool:
        """The Prefect server is ready."""
        assert server.poll() is None, deployed.logs()
        with suppress(httpx.TransportError):
            return httpx.get(f"{api}/ready", timeout=5).is_success
        return False

    assert deployed.run("apply").returncode == 2, "the server is not there yet: docker compose tries again"
    server = deployed.start("prefect-server", "--port", str(deployed.port))
    wait_until(ready, within=180, every=0.5)
    assert httpx.post(f"{api}/flows/filter", json={}, timeout=10).status_code == 401
    assert httpx.post(f"{api}/flows/filter", json={}, auth=("headgate", "a secret"), timeout=10).status_code == 200
    applied = deployed.run("apply")
    assert applied.returncode == 0, applied.stderr
    ours = {name: deployed.start(name) for name in ("listen", "work")}
    shutil.copy(deployed.folder / "project/samples/orders.csv", deployed.folder / "inbox/orders/orders.csv")
    wait_until(lambda: deployed.rows() == 5, within=120)
    for name, process in ours.items():
        wait_until(lambda name=name: deployed.run("healthy", name).returncode == 0, within=60, every=1)  # type: ignore[misc]
        process.send_signal(signal.SIGTERM)
    for name, process in ours.items():
        assert process.wait(60) == 0, deployed.logs()
        said = deployed.run("healthy", name)
        assert said.returncode == 1
        assert said.stdout.startswith(f"headgate {name}: ")
    assert "a secret" not in deployed.logs()
