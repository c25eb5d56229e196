"""`headgate prefect-server`: the Prefect server as a process of its own, for containers and systemd."""

from cyclopts.types import Port

from headgate.cli.common import Common


def prefect_server(*, host: str = "127.0.0.1", port: Port = 4200, common: Common = Common()) -> None:
    """Serve the Prefect server, set up for Headgate, until SIGTERM.

    Its database is `prefect`, on the PostgreSQL of HEADGATE_DATABASE_URL, unless PREFECT_SERVER_DATABASE_CONNECTION_URL
    names another. With PREFECT_API_AUTH_STRING it requires that user and password. PREFECT_SERVER_... variables win.

    Args:
        host: the address to listen on.
        port: the port to listen on.

    """
    from headgate.processes.prefect_server import serve

    serve(common.settings(discover=False), host, port)
