"""Headgate: turns what arrives into rows, each row once.

How one piece of data travels, folder by folder:

1. `listeners/` notice something complete: an arrival.
2. `ledger/` opens it. From here on nothing is lost, whichever process is killed.
3. `events/` announce it with a Prefect event: only a doorbell, without data.
4. Automations, kept on the server by `reconcile/`, match the event and fire the pipeline's deployment.
5. `execution/` has a Prefect worker start the run.
6. `flows/` claim what is ready and run parse, enrich and persist, each a subflow around plain code in `records/` and
   `sinks/`.
7. `ledger/` finishes it: rows, dead letters and states in one transaction.
8. `events/` ring again for arrivals that no run claimed; `flows/sweep` repairs the rest.

Everything that users need to build pipelines and rules can be imported from here.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate.pipeline import (
        After,
        Avro,
        Batch,
        Columns,
        Cron,
        Csv,
        DeadLetterShare,
        DiskAlmostFull,
        Every,
        Folder,
        Halted,
        Json,
        Lookup,
        Marker,
        OnArrival,
        OnRule,
        Parquet,
        Pipeline,
        Plain,
        Protobuf,
        Quiet,
        Rate,
        Retry,
        RunStuck,
        SourceSilent,
        Table,
        Topic,
        Waiting,
        When,
        WorkerGone,
        automation,
        block,
        deployment,
        lookup,
        work_pool,
        work_queue,
    )

__all__ = [
    "After",
    "Avro",
    "Batch",
    "Columns",
    "Cron",
    "Csv",
    "DeadLetterShare",
    "DiskAlmostFull",
    "Every",
    "Folder",
    "Halted",
    "Json",
    "Lookup",
    "Marker",
    "OnArrival",
    "OnRule",
    "Parquet",
    "Pipeline",
    "Plain",
    "Protobuf",
    "Quiet",
    "Rate",
    "Retry",
    "RunStuck",
    "SourceSilent",
    "Table",
    "Topic",
    "Waiting",
    "When",
    "WorkerGone",
    "automation",
    "block",
    "deployment",
    "lookup",
    "work_pool",
    "work_queue",
]


def __getattr__(name: str) -> object:
    """Import the declaration classes on first use: a Prefect server does not need the 20 MB they take."""
    if name in __all__:
        return getattr(import_module("headgate.pipeline"), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
