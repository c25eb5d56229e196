"""Arrivals, pipelines and frames as tests of the ledger, the sink and the doorbell need them."""

import hashlib
import itertools
import re
from collections.abc import Mapping
from datetime import timedelta

import dataframely as dy
from headgate.ledger.claims import Part
from headgate.ledger.database import Connection
from headgate.ledger.queries import QUERIES
from headgate.model import ClaimedArrival, FilePosition, NewArrival, Reason
from headgate.pipeline import Folder, Pipeline, Retry, Table

_NUMBERS = itertools.count()


class Order(dy.Schema):
    """A key, a text, and a number that may be absent."""

    id = dy.Int64(primary_key=True)
    name = dy.String(nullable=False)
    amount = dy.Int64(nullable=True)


def pipeline(  # noqa: PLR0913 - one keyword a field that tests vary
    name: str = "orders",
    *,
    sink: Table | None = None,
    schema: type[dy.Schema] = Order,
    attempts: int = 5,
    first_delay: timedelta = timedelta(seconds=10),
    max_arrivals: int = 1000,
    max_bytes: int = 1_000_000,
    parallelism: int = 1,
) -> Pipeline:
    """Declare a pipeline of one folder."""
    return Pipeline(
        name=name,
        sources=(Folder(name),),
        schema=schema,
        sink=sink or Table(name.replace("-", "_"), mode="upsert"),
        retry=Retry(attempts=attempts, first_delay=first_delay),
        max_arrivals=max_arrivals,
        max_bytes=max_bytes,
        parallelism=parallelism,
    )


def arrival(  # noqa: PLR0913 - as above
    *,
    pipeline: str = "orders",
    name: str | None = None,
    identity: bytes | None = None,
    content: bytes | None = None,
    size: int = 10,
    reason: Reason | None = None,
    keep: bool = False,
) -> NewArrival:
    """A file as a listener reports it; what is left out is different each time."""
    number = next(_NUMBERS)
    shown = name or f"file-{number}.csv"
    sha256 = hashlib.sha256(b"%d" % number if content is None else content).digest()
    return NewArrival(
        pipeline=pipeline,
        source=pipeline,
        identity=identity or hashlib.sha256(b"identity %d" % number).digest(),
        name=shown,
        position=FilePosition(shown.encode(), size, number, sha256),
        content_key=None if keep else hashlib.sha256(pipeline.encode() + sha256).digest(),
        spool=None if reason else f"{pipeline}/{number}",
        reason=reason,
        detail="a sentence" if reason else None,
    )


def part(held: ClaimedArrival, *, rows: int = 1, dead: int = 0, through: int | None = None, ended: bool = True) -> Part:
    """What a commit holds of an arrival."""
    return Part(
        arrival_id=held.arrival_id,
        epoch=held.epoch,
        rows_committed=rows + dead if through is None else through,
        rows_in=rows + dead,
        rows_persisted=rows,
        rows_dead=dead,
        ended=ended,
    )


def blocks_read(connection: Connection, query: str, asked: Mapping[str, object]) -> int:
    """How many blocks a statement of the ledger reads, none of them by reading all arrivals."""
    (row,) = connection.execute(b"explain (analyze, buffers, format json) " + QUERIES[query], asked).fetchall()
    top = row["QUERY PLAN"][0]["Plan"]
    assert "arrival" not in re.findall(r"'Seq Scan'[^{}]*?'Relation Name': '(\w+)'", str(top)), query
    blocks: int = top["Shared Hit Blocks"] + top["Shared Read Blocks"]
    return blocks
