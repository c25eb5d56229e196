"""One line of JSON into exact text cells, or into the fault that it has."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from headgate.imports import dy
from headgate.model import Fault
from headgate.pipeline import Json
from headgate.records.batch import cut
from headgate.records.leaves import NESTED
from headgate.records.nested import Members, Misfit, dumps, fitted, loads, lone_surrogate, scalar


class BrokenLine(ValueError):
    """A line that is not a record; `fault` says why."""

    def __init__(self, rule: str, value: object, column: str | None = None) -> None:
        super().__init__(rule)
        self.fault = Fault(rule, column, cut(value))


@dataclass(frozen=True, slots=True)
class LineReader:
    """A reader of lines as the records of a schema."""

    columns: Sequence[str]  # the schema's
    nested: Mapping[str, pl.DataType]  # the columns that may hold lists and objects
    drop_extra: bool  # keys that the schema lacks are dropped, in structures too

    @classmethod
    def of(cls, schema: type[dy.Schema], form: Json) -> "LineReader":
        """Make the reader for a schema."""
        nested = {name: column.dtype for name, column in schema.columns().items() if isinstance(column.dtype, NESTED)}
        return cls(schema.column_names(), nested, form.on_extra == "drop")

    def cells(self, line: bytes) -> dict[str, str | None]:
        """Return the text of each column that the line has.

        Raises:
            BrokenLine: the line is not UTF-8, is not a JSON object, or has keys or values that do not fit the schema.

        """
        try:
            members = self.members(line)
            return {name: self._cell(name, members[name]) for name in self.columns if name in members}
        except RecursionError as error:
            raise BrokenLine("json", "nested too deep") from error

    def members(self, line: bytes) -> dict[str, object]:
        """Return all members of the line's JSON object; numbers are the text they were written with.

        Raises:
            BrokenLine: the line is not UTF-8, is not a JSON object, has a key twice, or has a key not in the schema.

        """
        try:
            pairs = loads(line.decode())
        except UnicodeDecodeError as error:
            raise BrokenLine("encoding", repr(line[error.start : error.start + 50])[2:-1]) from error
        except json.JSONDecodeError as error:
            raise BrokenLine("json", f"{error.msg} at character {error.pos + 1}") from error
        except ValueError as error:  # such as NaN, which is not JSON
            raise BrokenLine("json", error) from error
        except RecursionError as error:
            raise BrokenLine("json", "nested too deep") from error
        if not isinstance(pairs, Members):
            raise BrokenLine("object", line.decode().strip())
        members = dict(pairs)
        if len(members) != len(pairs):
            counts = Counter(key for key, _ in pairs)
            raise BrokenLine("key given twice", next(key for key, count in counts.items() if count > 1))
        known = frozenset(self.columns)
        unknown = [key for key in members if key not in known]
        if unknown and not self.drop_extra:
            raise BrokenLine("unknown key", ", ".join(unknown))
        return members

    def _cell(self, name: str, value: object) -> str | None:
        if isinstance(value, str) and lone_surrogate(value):
            raise BrokenLine("lone surrogate", value, name)
        if not isinstance(value, list):
            return scalar(value)
        if name not in self.nested:
            raise BrokenLine("nested value", dumps(value), name)
        try:
            return dumps(fitted(value, self.nested[name], drop_extra=self.drop_extra, path=name))
        except Misfit as misfit:
            raise BrokenLine(misfit.rule, misfit.value, name) from misfit
