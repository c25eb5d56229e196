"""The process of Headgate's own Prefect server, embedded or in its container: Prefect's application, made leaner.

`private_names` lists what it patches; where Prefect differs, it patches nothing. A user's own server is never
patched.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from prefect.server.api import collections, server
from prefect.server.database import provide_database_interface
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from headgate.embedded import changes, orphan, services
from headgate.private_names import Use, usable

TYPES = "aggregate-worker-metadata"
KEEP_ALIVE = 60  # seconds; with Prefect's 5, the worker reconnects for each dropped file


def main(host: str, port: int) -> None:
    """Serve until SIGTERM.

    Args:
        host: to listen on.
        port: to listen on.

    """
    _migrate()
    orphan.watch()
    safe = changes.lose_nothing()
    services.end_with_any()
    app = server.create_app(final=True)
    # `headgate apply` asks whether the server that it changes loses no events.
    app.router.routes.insert(0, Route("/api/headgate", _answer({"changes_lose_nothing": safe})))

    def the_app(*_: object, **__: object) -> FastAPI:
        """Replace `create_app`, which rereads all settings for each run that an automation requests: 84 ms."""
        return app

    if usable(Use.APPLICATION):
        server.create_app = the_app
    if usable(Use.TYPES):
        collections.get_collection_view = _with_our_type(collections)
    uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False, timeout_keep_alive=KEEP_ALIVE)


def _answer(told: dict[str, object]) -> Callable[[Request], JSONResponse]:
    return lambda _: JSONResponse(told)


def _migrate() -> None:
    """Migrate Prefect's database in a fork: the migration's imports would stay in this process and take 30 MB."""
    if (pid := os.fork()) == 0:
        code = 1
        try:
            asyncio.run(provide_database_interface().create_db())
            code = 0
        except Exception:  # noqa: BLE001 - the forked copy must not go on as the server
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(code)
    if os.waitpid(pid, 0)[1] != 0:
        sys.exit("The database of the Prefect server could not be brought up to date.")


def _with_our_type(module: Any) -> Any:
    """Offer our work pool type in the UI, beside Prefect's own list, which is read from its file, not the internet."""
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
