"""Pipelines by the path that settings give: `package.module:name`."""

import importlib
import sys
from pathlib import Path

from worker.errors import BadPipeline
from worker.pipeline.checks import require
from worker.pipeline.declaration import Pipeline


def load_pipelines(path: str) -> tuple[Pipeline, ...]:
    """Load the pipelines that `package.module:name` points at.

    Raises:
        BadPipeline: the path leads nowhere, or to something else than pipelines of different names.

    """
    loaded = load_object(path, "HEADGATE_PIPELINES")
    pipelines = (loaded,) if isinstance(loaded, Pipeline) else loaded
    if not isinstance(pipelines, list | tuple) or not all(isinstance(pipeline, Pipeline) for pipeline in pipelines):
        message = f"HEADGATE_PIPELINES={path}: that is no Pipeline and no tuple of them, but {loaded!r}."
        raise BadPipeline(message)
    names = [pipeline.name for pipeline in pipelines]
    require(len(set(names)) == len(names), f"HEADGATE_PIPELINES={path}: two pipelines of one name in {names}.")
    require(names, f"HEADGATE_PIPELINES={path}: an empty tuple; declare at least one pipeline.")
    return tuple(pipelines)


def load_object(path: str, variable: str) -> object:
    """Import what `package.module:name` points at; the folder the command runs in is looked in too."""
    module_name, _, name = path.partition(":")
    require(module_name and name, f"{variable}={path}: write package.module:name.")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module_name), name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        message = f"{variable}={path}: there is no module {error.name!r}; check the path and the folder you are in."
        raise BadPipeline(message) from error
    except AttributeError as error:
        message = f"{variable}={path}: the module has no {name!r}."
        raise BadPipeline(message) from error
