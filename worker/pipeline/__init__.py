"""What a user declares: a pipeline, its sources, its formats, its enrichers and its sink.

Everything is checked when it is made. An error names the field and says what to write instead, so a wrong declaration
fails at import, in front of its author, and never in a run at night.
"""

from worker.pipeline.declaration import Enricher, Pipeline, Source
from worker.pipeline.folder import After, Duplicates, Folder, Marker, Quiet
from worker.pipeline.formats import Csv, Format, Json, OnExtra, Parquet
from worker.pipeline.loading import load_object, load_pipelines
from worker.pipeline.look_up import Lookup, lookup
from worker.pipeline.retry import Retry
from worker.pipeline.table import Mode, Table
from worker.pipeline.topic import Avro, Columns, Plain, Protobuf, Topic

__all__ = [
    "After",
    "Avro",
    "Columns",
    "Csv",
    "Duplicates",
    "Enricher",
    "Folder",
    "Format",
    "Json",
    "Lookup",
    "Marker",
    "Mode",
    "OnExtra",
    "Parquet",
    "Pipeline",
    "Plain",
    "Protobuf",
    "Quiet",
    "Retry",
    "Source",
    "Table",
    "Topic",
    "load_object",
    "load_pipelines",
    "lookup",
]
