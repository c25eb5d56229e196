"""A check of a file's columns against the schema's."""

from collections import Counter
from collections.abc import Sequence

import polars as pl

from headgate.errors import ArrivalRejected
from headgate.imports import dy
from headgate.model import Reason
from headgate.pipeline import OnExtra
from headgate.records.nested import has_members, without_extra


def drop_members(frame: pl.DataFrame, schema: type[dy.Schema]) -> pl.DataFrame:
    """Remove the members that the schema lacks from the structures in text records."""
    types = {name: column.dtype for name, column in schema.columns().items() if name in frame.columns}
    return frame.with_columns(without_extra(frame[name], dtype) for name, dtype in types.items() if has_members(dtype))


def check_columns(found: Sequence[str], wanted: Sequence[str], on_extra: OnExtra) -> None:
    """Refuse a file whose columns are not the schema's; their order does not matter.

    Raises:
        ArrivalRejected: columns are missing, unexpected (unless they are to be dropped) or named twice.

    """
    names, asked = Counter(found), set(wanted)
    missing = [name for name in wanted if name not in names]
    unexpected = [name for name in names if name not in asked] if on_extra == "reject" else []
    twice = [name for name, count in names.items() if count > 1 and (name in asked or unexpected)]
    troubles = [
        f"{what} {_list(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("named twice", twice))
        if names
    ]
    if troubles:
        raise ArrivalRejected(
            Reason.COLUMNS, f"{'; '.join(troubles)}; the schema has {_list(wanted)}. Correct the file or the schema."
        )


def _list(names: Sequence[str], most: int = 40) -> str:
    shown = ", ".join(repr(name[:63]) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
