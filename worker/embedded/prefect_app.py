"""The process that is the embedded Prefect server: Prefect's own application, started leaner.

It touches what is private in the server of Prefect
3.8.8, and only of this server: one that is the user's own is taken as it is.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from prefect.server.api import collections, server
from prefect.server.database import provide_database_interface

TYPES = "aggregate-worker-metadata"
KEEP_ALIVE = 60  # seconds; with Prefect's 5, the worker connects anew for each file that is dropped


def main(host: str, port: int) -> None:
    """Serve until SIGTERM.

    Args:
        host: to listen on.
        port: to listen on.

    """
    _migrate()
    app = server.create_app(final=True)

    def the_app(*_: object, **__: object) -> FastAPI:
        """Stand for `create_app`, which read all settings anew for each run that an automation asks for: 84 ms."""
        return app

    server.create_app = the_app
    collections.get_collection_view = _with_our_type(collections)
    uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False, timeout_keep_alive=KEEP_ALIVE)


def _migrate() -> None:
    """Bring Prefect's database up to date in a fork: what that imports would stay in this process, 30 MB of it."""
    if (pid := os.fork()) == 0:
        code = 1
        try:
            asyncio.run(provide_database_interface().create_db())
            code = 0
        except Exception:  # noqa: BLE001 - the copy of this process must not go on as it
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(code)
    if os.waitpid(pid, 0)[1] != 0:
        sys.exit("The database of the Prefect server could not be brought up to date.")


def _with_our_type(module: Any) -> Any:
    """What the UI offers as types of work pools: Prefect's own list, from its file and not the internet, and ours."""
    file = Path(module.__file__).parent / "collections_data" / "views" / f"{TYPES}.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    ours = {
        "type": "headgate",
        "display_name": "Headgate",
        "description": "Execute flow runs in processes that are kept warm, within a tenth of a second.",
        "install_command": "pip install headgate",
    }
    found["headgate"] = {"headgate": {**found["prefect"]["process"], **ours}}
    others = module.get_collection_view

    async def read(view: str) -> Any:
        return found if view == TYPES else await others(view)

    return read


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
