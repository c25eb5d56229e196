"""Messages as they come from a topic: frames of raw bytes, which every reader yields and every decoder takes."""

import datetime as dt
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from headgate.model import Envelope, Reason
from headgate.records.batch import ROW
from headgate.records.years import within_years

Header = tuple[str, bytes | None]

HEADERS = pl.List(pl.Struct({"name": pl.String, "value": pl.Binary}))
SINCE = " ms since 1970"
ENDING = ".messages"  # name ending of a spooled file of such frames, in Arrow IPC
# A block of messages, in ascending order of `_row`. `headers` is null for messages without any, which most are.
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    ROW: pl.Int64,  # in a range: the offset minus the range's first offset, plus 1
    "offset": pl.Int64,
    "partition": pl.Int32,
    "timestamp_ms": pl.Int64,  # since 1970; null if the broker knows none
    "key": pl.Binary,
    "headers": HEADERS,
    "value": pl.Binary,  # null: a tombstone
}


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Messages of a range that cannot be read: they are set aside together, and reading continues after them."""

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
    """Make a block from the columns that a client returns.

    Args:
        first: the range's first offset.
        partition: the messages' partition.
        offsets: in ascending order.
        timestamps: milliseconds since 1970; below 0 if unknown.
        keys: None for messages without a key.
        headers: the headers of each message, in their order.
        values: None for tombstones.

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


def last(headers: pl.Series, name: str) -> pl.Series:
    """Return the last value of a header in each message; null where there is none."""
    named = pl.element().filter(pl.element().struct.field("name") == name).struct.field("value")
    return headers.list.eval(named).list.last()


def envelope(messages: pl.DataFrame, place: int) -> Envelope:
    """Return what came with a message besides its value.

    Args:
        messages: a block of messages.
        place: the message's position in it, from 0.

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
    """Make a block of dead messages that are sent again: rows start at 1, everything else is as it was."""
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
    """Return messages as the content of a file that ends in `.messages`."""
    file = io.BytesIO()
    messages.write_ipc(file)
    return file.getvalue()


def moments(timestamps: pl.Series) -> pl.Series:
    """Write times as ISO 8601, UTC, to the millisecond; outside the years 1 to 9999, as `moment` does."""
    given, dtype = timestamps.alias("given").to_frame(), pl.Datetime("ms")
    time = pl.col("given").cast(dtype)
    # What strftime makes of other years is a panic of polars.
    near = pl.when(within_years(time, dtype)).then(time).dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
    return given.select(pl.coalesce(near, pl.col("given").cast(pl.String) + SINCE).alias(timestamps.name)).to_series()


def moment(timestamp_ms: int | None) -> str | None:
    """Write one time as ISO 8601, UTC, to the millisecond; outside the years 1 to 9999, as a number."""
    if timestamp_ms is None:
        return None
    try:
        return (dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(milliseconds=timestamp_ms)).isoformat()
    except OverflowError:
        return f"{timestamp_ms}{SINCE}"


def offsets(first: int, end: int) -> bytes:
    """Return the original of messages that could not be read: it says which messages to read again."""
    return json.dumps({"first": first, "end": end}).encode()
