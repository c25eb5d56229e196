"""The named statements of the .sql files here, as bytes: psycopg's types accept a `str` only as a literal."""

from importlib import resources


def _read() -> dict[str, bytes]:
    files = [file for file in resources.files("headgate.ledger").iterdir() if file.name.endswith(".sql")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    named: dict[str, bytes] = {}
    for part in text.split("-- name: ")[1:]:
        name, _, statement = part.partition("\n")
        named[name.strip()] = statement.strip().encode()
    return named


QUERIES = _read()
