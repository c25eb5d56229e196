"""Fixtures of the acceptance tests: one installation at work, as a user has it."""

from collections.abc import Iterator

import pytest
from harness import Services, Stand, open_folder, wait_until

PIPELINES = """
import dataframely as dy
import polars as pl
from worker import Folder, Pipeline, Table


class Item(dy.Schema):
    item = dy.Int64(nullable=False)
    amount = dy.Int64(nullable=False, min=0)
    label = dy.String(nullable=True)


def doubled(frame):
    return frame.with_columns(twice=pl.col("amount") * 2)


def pipeline(name, *, enrich=(), **folder):
    return Pipeline(name=name, sources=(Folder(name, **folder),), schema=Item, enrich=enrich, sink=Table(name))


PIPELINES = (
    pipeline("plain"),
    pipeline("richer", enrich=(doubled,)),
    pipeline("faulty"),
    pipeline("deleted", after="delete"),
    pipeline("left", after="leave"),
    pipeline("refused"),
    pipeline("manual"),
)
"""


@pytest.fixture(scope="module")
def installed(services: Services) -> Iterator[Stand]:
    """A user's own pipelines, applied; a listener and a worker are at work."""
    services.prefect()
    with open_folder("headgate-acceptance-") as folder:
        stand = Stand(services, folder, services.fresh_database())
        try:
            stand.declare(PIPELINES)
            stand.environment["HEADGATE_EVENTS_ANSWER_SECONDS"] = "300"  # what comes, comes by the automation
            stand.run("apply")
            stand.start("listen")
            stand.start("work")
            wait_until(lambda: (stand.inbox / "manual").is_dir())
            yield stand
        finally:
            stand.close()
