"""Messages as they come from a topic: frames of raw bytes, which every reader gives and every decoder takes."""

import datetime as dt
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from worker.model import Envelope, Reason
from worker.records.batch import ROW

Header = tuple[str, bytes | None]

HEADERS = pl.List(pl.Struct({"name": pl.String, "value": pl.Binary}))
ENDING = ".messages"  # of a spooled file of such frames, in Arrow IPC
# A block of messages, by rising `_row`. `headers` is null where there are none, which most messages are.
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    ROW: pl.Int64,  # in a range: the offset, less the range's first one, plus 1
    "offset": pl.Int64,
    "partition": pl.Int32,
    "timestamp_ms": pl.Int64,  # since 1970; null where the broker knows none
    "key": pl.Binary,
    "headers": HEADERS,
    "value": pl.Binary,  # null: a tombstone
}


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Messages of a range that nobody can read: they are set aside together, and reading goes on behind them."""

    first: int  # offset
    end: int  # offset, exclusive
    reason: Reason
    detail: str  # one sentence: where, and what is wrong


def block(  # noqa: PLR0913 - a column each
    *,
    first: int,
    partition: int,
    offsets: Sequence[int],
    timestamps: Sequence[int],
    keys: Sequence[bytes | None],
    headers: Sequence[Sequence[Header] | None],
    values: Sequence[bytes | None],
) -> pl.DataFrame:
    """Make a block of columns as a client gives them.

    Args:
        first: the range's first offset.
        partition: where they stood.
        offsets: rising.
        timestamps: milliseconds since 1970; below 0: none is known.
        keys: null where there is none.
        headers: of each message, in their order.
        values: null for tombstones.

    """
    offset = pl.Series("offset", offsets, dtype=pl.Int64)
    moment = pl.Series("timestamp_ms", timestamps, dtype=pl.Int64)
    return pl.DataFrame(
        {
            ROW: offset - (first - 1),
            "offset": offset,
            "partition": pl.repeat(partition, len(offset), dtype=pl.Int32, eager=True),
            "timestamp_ms": moment.set(moment < 0, None),
            "key": pl.Series("key", keys, dtype=pl.Binary),
            "headers": _headers(headers),
            "value": pl.Series("value", values, dtype=pl.Binary),
        },
        schema=SCHEMA,
    )


def _headers(headers: Sequence[Sequence[Header] | None]) -> pl.Series:
    if not any(headers):
        return pl.repeat(None, len(headers), dtype=HEADERS, eager=True)
    rows = [[{"name": name, "value": value} for name, value in each] if each else None for each in headers]
    return pl.Series("headers", rows, dtype=HEADERS)


def envelope(messages: pl.DataFrame, place: int) -> Envelope:
    """What came with a message beside its value.

    Args:
        messages: a block.
        place: of the message in it, from 0.

    """
    message = messages.row(place, named=True)
    return Envelope(
        offset=message["offset"],
        timestamp_ms=message["timestamp_ms"],
        key=message["key"],
        headers=tuple((each["name"], each["value"]) for each in message["headers"] or ()),
        partition=message["partition"],
        tombstone=message["value"] is None,
    )


def again(messages: Iterable[tuple[bytes, Envelope]]) -> pl.DataFrame:
    """Put messages together that were set aside, to be sent again: rows from 1, all else as it was."""
    given = list(messages)
    envelopes = [each for _, each in given]
    return pl.DataFrame(
        {
            ROW: range(1, len(given) + 1),
            "offset": [each.offset for each in envelopes],
            "partition": [each.partition for each in envelopes],
            "timestamp_ms": [each.timestamp_ms for each in envelopes],
            "key": pl.Series([each.key for each in envelopes], dtype=pl.Binary),
            "headers": _headers([each.headers for each in envelopes]),
            "value": pl.Series([None if each.tombstone else value for value, each in given], dtype=pl.Binary),
        },
        schema=SCHEMA,
    )


def spooled(messages: pl.DataFrame) -> bytes:
    """Write messages as the content of a file that ends in `.messages`."""
    file = io.BytesIO()
    messages.write_ipc(file)
    return file.getvalue()


def moments(timestamps: pl.Series) -> pl.Series:
    """Write times as ISO 8601, UTC, to the millisecond."""
    return timestamps.cast(pl.Datetime("ms")).dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")


def moment(timestamp_ms: int | None) -> str | None:
    """Write one time as ISO 8601, UTC, to the millisecond."""
    if timestamp_ms is None:
        return None
    return (dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(milliseconds=timestamp_ms)).isoformat()


def offsets(first: int, end: int) -> bytes:
    """Write down which messages are to be read again, as the original of those that could not be read."""
    return json.dumps({"first": first, "end": end}).encode()
