"""What guards the promises, switched off: the negative controls of the soak.

A soak that runs with one of these has to find something. It is imported by each process of the system under test, by
way of a `sitecustomize` that the soak writes into the system's folder; the product has no such switch.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any


def _no_epoch() -> None:
    """Commit under any claim, lost ones too, and take nothing for committed."""
    from headgate.ledger.claims import Claims  # noqa: PLC0415

    def fence(_self: Claims, _connection: object, epochs: Mapping[int, int]) -> dict[int, int]:
        return dict.fromkeys(epochs, 0)

    _replace(Claims, "fence", fence)


def _no_key() -> None:
    """Make tables of mode "append" without the unique key of the origin."""
    from headgate.sinks.postgres import PostgresSink  # noqa: PLC0415
    from psycopg import sql  # noqa: PLC0415

    create = vars(PostgresSink)["_create"]

    def without(self: PostgresSink, *given: Any) -> sql.Composable:
        text = create(self, *given).as_string()
        return sql.SQL(text.replace(', unique ("_arrival_id", "_row")', ""))

    _replace(PostgresSink, "_create", without)


def _no_cursor() -> None:
    """Move cursors from wherever they stand."""
    from headgate.ledger.queries import QUERIES  # noqa: PLC0415

    statement = QUERIES["cursor_advance"]
    weak = statement.replace(b"and next_offset = %(first)s and generation = %(generation)s", b"")
    if weak == statement:
        raise AssertionError("the statement `cursor_advance` reads otherwise now")
    QUERIES["cursor_advance"] = weak


def _no_identity() -> None:
    """Open a range that is there already as if it were new."""
    from headgate.ledger import cursor  # noqa: PLC0415

    _replace(cursor, "identity", lambda _: os.urandom(32))


def _no_scan() -> None:
    """Believe the watches alone."""
    from headgate.listeners.files.listener import FileListener  # noqa: PLC0415

    _replace(FileListener, "_scan_all", lambda self: setattr(self, "_next_scan", float("inf")))


def _no_ladder() -> None:
    """Ring once, and wait for the answer for ever."""
    from headgate.events import announcer, ladder  # noqa: PLC0415

    def once(*given: Any, **named: Any) -> ladder.Due:
        return ladder.Due(rings=ladder.due(*given, **named).rings)

    _replace(announcer, "due", once)


WEAKNESSES: dict[str, Callable[[], None]] = {
    "epoch": _no_epoch,
    "key": _no_key,
    "cursor": _no_cursor,
    "identity": _no_identity,
    "scan": _no_scan,
    "ladder": _no_ladder,
}


# Guards of the ledger itself; the soak takes them away once it is up.
OF_THE_LEDGER = {
    "letters": "alter table headgate.dead_letter drop constraint dead_letter_arrival_id_row_number_key",
}


def _replace(owner: Any, name: str, by: object) -> None:
    if not hasattr(owner, name):
        raise AssertionError(f"{owner} has no {name} any more: write this control anew")
    setattr(owner, name, by)


for _name in filter(None, os.environ.get("SOAK_WITHOUT", "").split(",")):
    if _name not in OF_THE_LEDGER:
        WEAKNESSES[_name]()
