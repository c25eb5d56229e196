"""The named statements of queries.sql, as bytes: psycopg takes no text that is not a literal, and these are a file."""

from importlib import resources


def _read() -> dict[str, bytes]:
    text = resources.files("worker.ledger").joinpath("queries.sql").read_text(encoding="utf-8")
    named: dict[str, bytes] = {}
    for part in text.split("-- name: ")[1:]:
        name, _, statement = part.partition("\n")
        named[name.strip()] = statement.strip().encode()
    return named


QUERIES = _read()
