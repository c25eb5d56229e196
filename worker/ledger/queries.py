"""The named statements of queries.sql."""

from importlib import resources
from typing import LiteralString, cast


def _read() -> dict[str, LiteralString]:
    text = resources.files("worker.ledger").joinpath("queries.sql").read_text(encoding="utf-8")
    named: dict[str, LiteralString] = {}
    for part in text.split("-- name: ")[1:]:
        name, _, statement = part.partition("\n")
        # The file is ours and constant: as good as a literal, which is what psycopg's types ask for.
        named[name.strip()] = cast("LiteralString", statement.strip())
    return named


QUERIES = _read()
