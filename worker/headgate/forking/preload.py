"""The imports that forked processes share: made once, before the first fork.

Nothing here may open a connection or start a thread: neither survives a fork.
"""

import gc
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module

import setproctitle
from pydantic import BaseModel

PREFECT = (
    "prefect.main",
    "prefect.flow_engine",
    "prefect.task_engine",
    "prefect.client.orchestration",
    "prefect.events.clients",
    "prefect.logging.handlers",
    # Otherwise Prefect imports these during the first run of each process.
    "prefect.utilities.visualization",
    "fastapi.encoders",
    "anyio._backends._asyncio",
)


def import_all(modules: Iterable[str]) -> None:
    """Import Prefect and these modules, skip those that fail, and prepare them for sharing.

    The process that needs a module reports what is wrong with it.
    """
    setproctitle.getproctitle()  # it must find the place of the title before the environment changes
    for name in (*PREFECT, *modules):
        with suppress(Exception):
            import_module(name)
    _build_models()
    # If the garbage collector visited the objects that exist now, it would write to each page, and so copy it.
    gc.collect()
    gc.freeze()


def _build_models() -> None:
    """Build the models that Prefect builds at first use: this saves 80 ms in the first run of each process."""
    models = BaseModel.__subclasses__()
    for model in models:
        models += model.__subclasses__()
        if model.__module__.startswith("prefect.") and not model.__pydantic_complete__:
            with suppress(Exception):  # a model that needs a module not imported here
                model.model_rebuild(raise_errors=False)
