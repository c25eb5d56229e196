"""The pipelines of the soak: files and topics, appended and upserted, one topic in order with tombstones."""

import os
import time
from datetime import timedelta
from pathlib import Path

import dataframely as dy
import polars as pl
from headgate import Folder, Pipeline, Retry, Table
from headgate.pipeline.topic import Topic

# Whatever is killed again and again must not use up the attempts: what is looked for here is lost or doubled rows.
RETRY = Retry(attempts=60, first_delay=timedelta(seconds=0.3), longest_delay=timedelta(seconds=3))


class Item(dy.Schema):
    """A row."""

    origin = dy.String(nullable=False)
    number = dy.Int64(nullable=False)
    amount = dy.Int64(nullable=False, min=0)
    label = dy.String(nullable=False)


class KeyedItem(dy.Schema):
    """A row that replaces the one of the same number."""

    origin = dy.String(nullable=False)
    number = dy.Int64(primary_key=True)
    amount = dy.Int64(nullable=False, min=0)
    label = dy.String(nullable=False)


def slow(frame: pl.DataFrame) -> pl.DataFrame:
    """Stand for a user's enricher, which takes as long as a soak says, and tells who is at it."""
    if seconds := float(os.environ.get("SOAK_SLOW", "0")):
        at_work = Path(os.environ["HEADGATE_HOME"]).parent / "at-work" / str(os.getpid())
        at_work.parent.mkdir(exist_ok=True)
        at_work.touch()
        time.sleep(seconds)
        at_work.unlink(missing_ok=True)
    return frame


def _pipeline(name: str, source: Folder | Topic, *, keyed: bool, parallelism: int) -> Pipeline:
    return Pipeline(
        name=name,
        sources=(source,),
        schema=KeyedItem if keyed else Item,
        sink=Table(name.replace("-", "_"), mode="upsert" if keyed else "append"),
        enrich=(slow,),
        retry=RETRY,
        max_arrivals=50,
        parallelism=parallelism,
        max_waiting=100_000,
    )


PIPELINES = (
    _pipeline("files-append", Folder("files-append"), keyed=False, parallelism=2),
    _pipeline("files-upsert", Folder("files-upsert"), keyed=True, parallelism=2),
    _pipeline("messages-append", Topic("messages-append", max_messages=2000), keyed=False, parallelism=2),
    _pipeline(
        "messages-upsert",
        Topic("messages-upsert", ordered=True, tombstones="delete", max_messages=2000),
        keyed=True,
        parallelism=1,
    ),
)
