"""Headgate: what arrives becomes rows, each row once.

The road of one piece of data, folder by folder:

1. `listeners/` notice something complete: an arrival.
2. `ledger/` opens it. From here on nothing is lost, whoever is killed.
3. `events/` announce it: a Prefect event, a doorbell and no more.
4. `automations/` (beside this package) match the event and fire the pipeline's deployment.
5. `execution/` has a Prefect worker start the run.
6. `flows/` claim what is ready and run parse, enrich and persist, each a subflow around plain code in `records/` and
   `sinks/`.
7. `ledger/` ends it: rows, dead letters and states in one transaction.
8. `events/` ring again for what nobody claimed; `flows/sweep` repairs the rest.

What users build pipelines from is importable from here.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.pipeline import (
        Avro,
        Columns,
        Csv,
        Folder,
        Json,
        Lookup,
        Marker,
        Parquet,
        Pipeline,
        Plain,
        Protobuf,
        Quiet,
        Retry,
        Table,
        Topic,
        lookup,
    )

__all__ = [
    "Avro",
    "Columns",
    "Csv",
    "Folder",
    "Json",
    "Lookup",
    "Marker",
    "Parquet",
    "Pipeline",
    "Plain",
    "Protobuf",
    "Quiet",
    "Retry",
    "Table",
    "Topic",
    "lookup",
]


def __getattr__(name: str) -> object:
    """Import what pipelines are built from when it is asked for: a Prefect server can do without the 20 MB."""
    if name in __all__:
        return getattr(import_module("worker.pipeline"), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
