"""The end of a Prefect server one of whose services has failed: Prefect's own server goes on without it.

Prefect 3.8.8 starts its services as tasks that nobody looks at. If the database is unavailable while the server starts,
the service that evaluates automations fails, and no automation of this server ever fires again, although the server
calls itself healthy. Ended, it is started again, and has all its services.
"""

import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from prefect.server.services.base import Service

from headgate.private_names import Use, usable

Start = Callable[[Any], Awaitable[None]]


def end_with_any() -> None:
    """Make this process end when one of its server's services fails, if its Prefect matches `private_names`."""
    if usable(Use.SERVICES):
        for service in set(Service.all_services()):
            service.start = _watched(service.start)  # type: ignore[assignment,method-assign]


def _watched(start: Start) -> Start:
    async def watched(service: Any) -> None:
        try:
            await start(service)
        except Exception as error:  # noqa: BLE001 - whatever it is, the service is over
            why = f"{type(error).__name__}: {error}".partition("\n")[0]
            print(f"{type(service).__name__} failed ({why}); the server ends.", file=sys.stderr, flush=True)  # noqa: T201 - this process logs what it prints
            os._exit(1)  # in order, it would wait for all connections of clients, and say that it was asked to

    return watched
