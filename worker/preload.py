"""Imported once, by the process that others are forked from: all that they share.

Nothing here may open a connection or start a thread: neither survives a fork.
"""

import os
from contextlib import suppress

from pydantic import BaseModel

from worker.fork_server import VARIABLE, freeze, import_all

PREFECT = (
    "prefect.main",
    "prefect.flow_engine",
    "prefect.task_engine",
    "prefect.client.orchestration",
    "prefect.events.clients",
    "prefect.logging.handlers",
    # What Prefect else imports in the midst of the first run of each process.
    "prefect.utilities.visualization",
    "fastapi.encoders",
    "anyio._backends._asyncio",
)


def build_models() -> None:
    """Build the models that Prefect leaves to their first use: 80 ms of the first run of each process."""
    models = BaseModel.__subclasses__()
    for model in models:
        models += model.__subclasses__()
        if model.__module__.startswith("prefect.") and not model.__pydantic_complete__:
            with suppress(Exception):  # one that needs what is not imported here
                model.model_rebuild(raise_errors=False)


import_all((*PREFECT, *filter(None, os.environ.get(VARIABLE, "").split(","))))
build_models()
freeze()
