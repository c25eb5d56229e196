"""A table as a sink."""

import re
from dataclasses import dataclass
from typing import Literal

from headgate.pipeline.checks import one_of, require, texts

Mode = Literal["append", "upsert", "ignore"]

TABLE = re.compile(r"(?:[a-z_][a-z0-9_]{0,62}\.)?[a-z_][a-z0-9_]{0,62}")


LONGEST_NAME = 63  # bytes of a column's name; PostgreSQL cuts longer ones, with a notice alone


@dataclass(frozen=True, slots=True)
class Table:
    """A table in PostgreSQL that records are written to. It is created from the schema if it is absent.

    Args:
        name: the table, with its database schema if it is not `public`: "flights" or "landing.flights".
        mode: "append" adds each record; "upsert" replaces the row of the same key by the newest arrival's;
            "ignore" keeps the row that is there.
        key: the columns that identify a record, for upsert and ignore; by default, the schema's primary key.

    """

    name: str
    mode: Mode = "append"
    key: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require(
            TABLE.fullmatch(self.name),
            f"Table({self.name!r}): write lower-case letters, digits and '_', such as Table('orders').",
        )
        one_of("Table", "mode", self.mode, Mode)
        object.__setattr__(self, "key", texts("Table", "key", self.key))
