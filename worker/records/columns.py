"""The columns a file has against the columns the schema asks for."""

from collections.abc import Sequence

from worker.errors import ArrivalRejected
from worker.model import Reason
from worker.pipeline import OnExtra


def check_columns(found: Sequence[str], wanted: Sequence[str], on_extra: OnExtra) -> None:
    """Refuse a file whose columns are not the schema's, in whatever order.

    Raises:
        ArrivalRejected: columns are missing, unexpected (unless they are to be dropped) or named twice.

    """
    names = set(found)
    missing = [name for name in wanted if name not in names]
    unexpected = [name for name in dict.fromkeys(found) if name not in wanted] if on_extra == "reject" else []
    twice = [name for name in dict.fromkeys(found) if found.count(name) > 1 and (name in wanted or unexpected)]
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
