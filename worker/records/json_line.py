"""One line of JSON into text cells, exactly, or what is wrong with it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from worker.imports import dy
from worker.model import Fault
from worker.pipeline import Json
from worker.records.batch import cut

NESTED = (pl.List, pl.Array, pl.Struct)


class BrokenLine(ValueError):
    """A line that is no record; `fault` says why."""

    def __init__(self, rule: str, value: object, column: str | None = None) -> None:
        super().__init__(rule)
        self.fault = Fault(rule, column, cut(value))


@dataclass(frozen=True, slots=True)
class LineReader:
    """Reads lines as the records of a schema."""

    columns: Sequence[str]  # the schema's
    nested: frozenset[str]  # those of the columns that may hold lists and objects
    drop_extra: bool  # keys that the schema has not are dropped

    @classmethod
    def of(cls, schema: type[dy.Schema], form: Json) -> "LineReader":
        """Make the reader for a schema."""
        nested = frozenset(name for name, column in schema.columns().items() if isinstance(column.dtype, NESTED))
        return cls(schema.column_names(), nested, form.on_extra == "drop")

    def cells(self, line: bytes) -> dict[str, str | None]:
        """Give the text of each column that the line has.

        Raises:
            BrokenLine: the line is not UTF-8, no JSON object, or has keys or values that the schema has no place for.

        """
        try:
            members = self.members(line)
            return {name: self._cell(name, members[name]) for name in self.columns if name in members}
        except RecursionError as error:
            raise BrokenLine("json", "nested too deep") from error

    def members(self, line: bytes) -> dict[str, object]:
        """Give all members of the object that the line is; numbers are the text they were written with.

        Raises:
            BrokenLine: the line is not UTF-8, no JSON object, or has a key twice or one that the schema has not.

        """
        try:
            pairs = json.loads(
                line.decode(),
                object_pairs_hook=_Pairs,
                parse_int=_Number,
                parse_float=_Number,
                parse_constant=_refuse_constant,
            )
        except UnicodeDecodeError as error:
            raise BrokenLine("encoding", repr(line[error.start : error.start + 50])[2:-1]) from error
        except json.JSONDecodeError as error:
            raise BrokenLine("json", f"{error.msg} at character {error.pos + 1}") from error
        except RecursionError as error:
            raise BrokenLine("json", "nested too deep") from error
        if not isinstance(pairs, _Pairs):
            raise BrokenLine("object", line.decode().strip())
        members = dict(pairs)
        if len(members) != len(pairs):
            keys = [key for key, _ in pairs]
            raise BrokenLine("key given twice", next(key for key in keys if keys.count(key) > 1))
        unknown = [key for key in members if key not in self.columns]
        if unknown and not self.drop_extra:
            raise BrokenLine("unknown key", ", ".join(unknown))
        return members

    def _cell(self, name: str, value: object) -> str | None:
        match value:
            case None:
                return None
            case bool():
                return "true" if value else "false"
            case str():
                if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
                    raise BrokenLine("lone surrogate", value, name)
                return str(value)
            case _ if name in self.nested:
                return _written(value)
            case _:
                raise BrokenLine("nested value", _written(value), name)


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


class _Pairs(list[tuple[str, object]]):
    """The members of an object, none lost where a key is given twice."""


def _written(value: object) -> str:
    """Write a nested value as JSON again, its numbers as they were."""
    match value:
        case _Number():
            return str(value)
        case _Pairs():
            return "{" + ",".join(f"{json.dumps(key)}:{_written(member)}" for key, member in value) + "}"
        case list():
            return "[" + ",".join(map(_written, value)) + "]"
        case _:
            return json.dumps(value)


def _refuse_constant(name: str) -> object:
    raise BrokenLine("json", f"{name} is no JSON number")
