"""What a user declares: a pipeline, its sources, its formats, its enrichers and its sink.

Every declaration is checked when it is made. An error names the field and says what to write instead, so a wrong
declaration fails at import, in front of its author, and never in a run at night.
"""

from headgate.pipeline.alerts import (
    Alert,
    DeadLetterShare,
    DiskAlmostFull,
    Halted,
    RunStuck,
    SourceSilent,
    Waiting,
    WorkerGone,
)
from headgate.pipeline.declaration import Enricher, Pipeline, Source
from headgate.pipeline.folder import Afterwards, Duplicates, Folder, Marker, Quiet
from headgate.pipeline.formats import ENDINGS, Csv, Format, Json, OnExtra, Parquet
from headgate.pipeline.loading import load_alerts, load_object, load_pipelines
from headgate.pipeline.look_up import Lookup, lookup
from headgate.pipeline.rate import Rate
from headgate.pipeline.reference import automation, block, deployment, work_pool, work_queue
from headgate.pipeline.retry import Retry
from headgate.pipeline.schedule import Cron, Every
from headgate.pipeline.start import After, Batch, OnArrival, OnRule
from headgate.pipeline.table import Mode, Table
from headgate.pipeline.topic import Avro, Columns, Plain, Protobuf, Topic
from headgate.pipeline.when import When

__all__ = [
    "ENDINGS",
    "After",
    "Afterwards",
    "Alert",
    "Avro",
    "Batch",
    "Columns",
    "Cron",
    "Csv",
    "DeadLetterShare",
    "DiskAlmostFull",
    "Duplicates",
    "Enricher",
    "Every",
    "Folder",
    "Format",
    "Halted",
    "Json",
    "Lookup",
    "Marker",
    "Mode",
    "OnArrival",
    "OnExtra",
    "OnRule",
    "Parquet",
    "Pipeline",
    "Plain",
    "Protobuf",
    "Quiet",
    "Rate",
    "Retry",
    "RunStuck",
    "Source",
    "SourceSilent",
    "Table",
    "Topic",
    "Waiting",
    "When",
    "WorkerGone",
    "automation",
    "block",
    "deployment",
    "load_alerts",
    "load_object",
    "load_pipelines",
    "lookup",
    "work_pool",
    "work_queue",
]
