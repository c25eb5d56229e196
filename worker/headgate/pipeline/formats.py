"""How files are read, one class per format."""

from dataclasses import dataclass
from typing import Literal, TypeVar

from headgate.pipeline.checks import codec, one_of, require, texts

OnExtra = Literal["reject", "drop"]

# File name endings that tell the format by themselves.
ENDINGS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".json", ".json.gz", ".parquet")


@dataclass(frozen=True, slots=True)
class Csv:
    """How CSV is read: RFC 4180, a header line first.

    Args:
        delimiter: one ASCII character.
        encoding: a Python codec's name.
        nulls: cells that mean "no value"; an empty cell always does.
        on_extra: what to do with a file that has columns not in the schema: reject it, or drop those columns.

    """

    delimiter: str = ","
    encoding: str = "utf-8"
    nulls: tuple[str, ...] = ()
    on_extra: OnExtra = "reject"

    def __post_init__(self) -> None:
        require(
            len(self.delimiter) == 1 and self.delimiter.isascii() and self.delimiter not in '"\r\n',
            f"Csv(delimiter={self.delimiter!r}): write one ASCII character other than a quote or a line end.",
        )
        codec("Csv", self.encoding)
        object.__setattr__(self, "nulls", texts("Csv", "nulls", self.nulls))
        one_of("Csv", "on_extra", self.on_extra, OnExtra)


@dataclass(frozen=True, slots=True)
class Json:
    """How JSON is read: one object a line (.jsonl, .ndjson), or one array of objects (.json). Always UTF-8.

    Args:
        nulls: texts that mean "no value", besides JSON's own null.
        on_extra: what to do with a record that has keys not in the schema: set it aside, or drop those keys.

    """

    nulls: tuple[str, ...] = ()
    on_extra: OnExtra = "reject"

    def __post_init__(self) -> None:
        object.__setattr__(self, "nulls", texts("Json", "nulls", self.nulls))
        one_of("Json", "on_extra", self.on_extra, OnExtra)


@dataclass(frozen=True, slots=True)
class Parquet:
    """How Parquet is read.

    Args:
        on_extra: what to do with a file that has columns not in the schema: reject it, or drop those columns.

    """

    on_extra: OnExtra = "reject"

    def __post_init__(self) -> None:
        one_of("Parquet", "on_extra", self.on_extra, OnExtra)


Format = Csv | Json | Parquet
F = TypeVar("F", Csv, Json, Parquet)
