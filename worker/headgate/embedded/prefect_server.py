"""The Prefect server as a child of ours, on the embedded PostgreSQL."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx

from headgate.embedded.child import Child
from headgate.embedded.home import LOOPBACK, remembered_port
from headgate.private_names import SWITCH


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefectServer:
    """The Prefect server of a home.

    Args:
        home: the folder of all that Headgate keeps; absolute.
        database_url: where its own database is: postgresql://user:password@host:port/name
        port: where it listens; None: the port of the last start, or a free one.
        internals: whether Headgate may patch Prefect in it.

    """

    home: Path
    database_url: str
    port: int | None = None
    internals: bool = True

    def prepare(self) -> None:
        """Create its folder and choose its port."""
        self._folder.mkdir(parents=True, exist_ok=True)
        remembered_port(self._port_file, self.port)

    def child(self) -> Child:
        """The server, to be supervised."""
        return Child(
            name="Prefect server",
            argv=(sys.executable, "-m", "headgate.embedded.prefect_app", LOOPBACK, str(self._port)),
            shares=True,
            log=self.home / "logs" / "prefect-server.log",
            env={**_inherited(), **self._settings()},
            cwd=self._folder,  # Prefect reads .env, prefect.toml and pyproject.toml there; keep it off the user's
            ready=self.ready,
            tier=1,
            ready_within=180,  # the first start migrates an empty database
        )

    def ready(self) -> bool:
        """Return whether the server answers and reaches its database."""
        try:
            return httpx.get(f"{self.api_url}/ready", timeout=2, trust_env=False, verify=False).is_success  # noqa: S501 - no TLS
        except httpx.TransportError:
            return False

    @property
    def ui_url(self) -> str:
        """The URL to open in a browser."""
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def api_url(self) -> str:
        """The value for PREFECT_API_URL."""
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
            **server_settings(self._folder, self.database_url, self._port, internals=self.internals),
            "PREFECT_SERVER_API_HOST": LOOPBACK,
            "PREFECT_SERVER_API_PORT": str(self._port),
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_LOGGING_LEVEL": "WARNING",
            "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
            "NO_COLOR": "1",
        }


def server_settings(folder: Path, database_url: str, port: int, *, internals: bool) -> dict[str, str]:
    """Return the settings, as environment variables, of a Prefect server that Headgate starts.

    Args:
        folder: for what it keeps besides its database; absolute.
        database_url: where its own database is: postgresql://user:password@host:port/name
        port: where browsers reach it, on this machine.
        internals: whether Headgate may patch Prefect in it.

    """
    ui_url = f"http://{LOOPBACK}:{port}"
    return {
        SWITCH: str(internals),  # the server imports us without settings
        "PREFECT_HOME": str(folder),
        "PREFECT_PROFILES_PATH": str(folder / "profiles.toml"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url.replace("://", "+asyncpg://", 1),
        # Each permanent connection costs PostgreSQL 10 MB. More are opened when needed, and closed again.
        "PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE": "3",
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",  # done before, in a separate process
        # The default "*" would let any page open in the same browser control the server.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"{ui_url},http://localhost:{port}",
        "PREFECT_SERVER_UI_API_URL": f"{ui_url}/api",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(folder / "ui"),  # the default is inside site-packages
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # One transaction for many task runs halves the cost of each; they appear up to a second later.
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    }


def _inherited() -> dict[str, str]:
    """Return our environment without the variables meant for Prefect's clients or for us."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "HEADGATE_"))}
