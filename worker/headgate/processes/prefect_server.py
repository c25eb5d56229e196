"""`headgate prefect-server`: Prefect's server in its own process, with the settings of the embedded one."""

import os

from headgate.embedded.prefect_server import server_settings
from headgate.processes.prefect_database import beside
from headgate.settings import Settings

ADDRESS = "PREFECT_SERVER_DATABASE_CONNECTION_URL"


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM.

    Args:
        settings: hold our database, beside which the server's own is created, and the password of the server.
        host: the address to listen on.
        port: the port to listen on.

    Raises:
        BadSettings: no database is configured, or its URL asks for what a Prefect server cannot be told.
        HeadgateError: the database denies us access, or lacks what we need.

    """
    folder = settings.home / "prefect"
    folder.mkdir(parents=True, exist_ok=True)
    database = "" if ADDRESS in os.environ else beside(settings.require_database())
    wanted = server_settings(folder, database, port, internals=settings.prefect_internals)
    if settings.api_auth is not None:
        wanted["PREFECT_SERVER_API_AUTH_STRING"] = settings.api_auth.get_secret_value()
    # The environment, shared with our other processes, holds settings of a client, which are not meant for the server.
    for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
        os.environ.pop(name, None)
    os.environ.update({name: value for name, value in wanted.items() if name not in os.environ})
    os.chdir(folder)  # Prefect reads .env, prefect.toml and pyproject.toml in its working directory
    from headgate.embedded.prefect_app import main  # noqa: PLC0415 - Prefect reads the environment when it is imported

    main(host, port)
