"""The database of a Prefect server that we start: beside ours, on the same PostgreSQL server."""

from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from headgate.errors import BadSettings, HeadgateError
from headgate.ledger.telling import told

NAME = "prefect"
CARRIED = {"user", "password", "host", "port", "dbname", "sslmode"}
# How we connect, and not where to: Prefect's server has its own way.
OURS = {
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
    "gssencmode",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "options",
    "target_session_attrs",
    "tcp_user_timeout",
}
# asyncpg would look for a certificate in a folder of its own choice.
VERIFIED = {"verify-ca", "verify-full"}


def beside(url: str) -> str:
    """Return the URL of Prefect's database on the server of ours, created if missing: it keeps Prefect's data apart.

    Args:
        url: of our database, as libpq takes it.

    Raises:
        BadSettings: the URL asks for what Prefect's server cannot be told, for example several hosts.
        HeadgateError: the database denies us access, or may not be created by us.

    """
    address = carried(url)
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            if not connection.execute("select from pg_database where datname = %s", [NAME]).rowcount:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(NAME)))
    except psycopg.errors.InsufficientPrivilege as error:
        raise HeadgateError(
            f"There is no database {NAME!r} for the Prefect server, and we may not make one: "
            f"run `create database {NAME}` as its owner, or set PREFECT_API_URL to a server of yours."
        ) from error
    except psycopg.Error as error:
        raise told(error, url) from error
    return address


def carried(url: str) -> str:
    """Return the URL for SQLAlchemy and asyncpg, without the driver; refuse to drop what matters."""
    given = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    refused = sorted(given.keys() - CARRIED - OURS)
    host, port, mode = given.get("host", ""), given.get("port", ""), given.get("sslmode")
    if mode in VERIFIED:
        refused.append(f"sslmode={mode}")
    if "," in host + port:
        refused.append("several hosts")
    if refused:
        raise BadSettings(
            f"HEADGATE_DATABASE_URL has {', '.join(refused)}, which we cannot carry over to the Prefect server: "
            "set PREFECT_API_URL to a server of yours, or run `headgate prefect-server` with "
            "PREFECT_SERVER_DATABASE_CONNECTION_URL set to the address of its database."
        )
    user = ":".join(quote(given[name], safe="") for name in ("user", "password") if name in given)
    query = {"ssl": mode} if mode else {}
    if host.startswith("/"):  # the folder of a socket
        query |= {"host": host, "port": port} if port else {"host": host}
        place = ""
    else:
        place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    return f"postgresql://{user}{'@' if user else ''}{place}/{NAME}" + (f"?{urlencode(query)}" if query else "")
