"""The Prefect server as a child of ours, on the embedded PostgreSQL."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx

from worker.embedded.child import Child
from worker.embedded.home import LOOPBACK, remembered_port


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefectServer:
    """The Prefect server of a home.

    Args:
        home: the folder of all that Headgate keeps; absolute.
        database_url: where its own database is: postgresql://user:password@host:port/name

    """

    home: Path
    database_url: str

    def prepare(self) -> None:
        """Make its folder and choose its port."""
        self._folder.mkdir(parents=True, exist_ok=True)
        remembered_port(self._port_file)

    def child(self) -> Child:
        """The server, to be supervised."""
        return Child(
            name="Prefect server",
            argv=(sys.executable, "-m", "worker.embedded.prefect_app", LOOPBACK, str(self._port)),
            shares=True,
            log=self.home / "logs" / "prefect-server.log",
            env={**_inherited(), **self._settings()},
            cwd=self._folder,  # Prefect reads .env, prefect.toml and pyproject.toml where it stands; not the user's
            ready=self.ready,
            tier=1,
            ready_within=180,  # the first start migrates an empty database
        )

    def ready(self) -> bool:
        """Whether the server answers and reaches its database."""
        try:
            return httpx.get(f"{self.api_url}/ready", timeout=2, trust_env=False, verify=False).is_success  # noqa: S501 - no TLS
        except httpx.TransportError:
            return False

    @property
    def ui_url(self) -> str:
        """What to open in a browser."""
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def api_url(self) -> str:
        """What PREFECT_API_URL has to be."""
        return f"{self.ui_url}/api"

    @property
    def _folder(self) -> Path:
        return self.home / "prefect"

    @property
    def _port_file(self) -> Path:
        return self.home / "prefect.port"

    @property
    def _port(self) -> int:
        return int(self._port_file.read_text(encoding="ascii"))

    def _settings(self) -> dict[str, str]:
        return {
            "PREFECT_HOME": str(self._folder),
            "PREFECT_PROFILES_PATH": str(self._folder / "profiles.toml"),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": self.database_url.replace("://", "+asyncpg://", 1),
            # Each of its connections costs PostgreSQL 10 MB for good. More are opened when they are needed, and closed.
            "PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE": "3",
            "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",  # done before, in a process of its own
            "PREFECT_SERVER_API_HOST": LOOPBACK,
            "PREFECT_SERVER_API_PORT": str(self._port),
            # Any page open in the same browser could steer the server otherwise: the default is "*".
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"{self.ui_url},http://localhost:{self._port}",
            "PREFECT_SERVER_UI_API_URL": self.api_url,
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(self._folder / "ui"),  # the default is inside site-packages
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_LOGGING_LEVEL": "WARNING",
            "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
            # One transaction for many task runs halves what each costs; they show up to a second later.
            "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
            "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
            "NO_COLOR": "1",
        }


def _inherited() -> dict[str, str]:
    """Pass our environment on, without what is meant for clients of Prefect or for us."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "HEADGATE_"))}
