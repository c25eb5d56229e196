"""Imported once, by the server that warm processes are forked from: all that they share.

Nothing here may open a connection or start a thread: neither survives a fork.
"""

import gc
import importlib
import os
from contextlib import suppress

for _name in (
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
    "worker.execution.child",
    *filter(None, os.environ.get("HEADGATE_PRELOAD", "").split(",")),
):
    # Whatever is wrong with a module is told by the run that needs it; the fork server has to live.
    with suppress(Exception):
        importlib.import_module(_name)

# What is there now is not looked at by the collector again: it would write to each page, and so copy it.
gc.collect()
gc.freeze()
