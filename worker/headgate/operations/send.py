"""`headgate send`: publishes the lines of a file to a topic."""

import csv
import gzip
import json
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from headgate.errors import Misuse
from headgate.kafka.sending import open_sender, require_topic
from headgate.setting_groups import KafkaSettings

STANDARD_INPUT = Path("-")
SHOWN_EVERY = 0.1  # seconds

CSV = (".csv", ".csv.gz")  # whose first line names the columns

Key = Callable[[int, bytes], bytes | None]  # (number of a message, its line) -> its key


@dataclass(frozen=True, slots=True)
class Sent:
    """What was published."""

    topic: str
    acknowledged: int  # messages
    seconds: float


def send(  # noqa: PLR0913 - one an option of the command
    settings: KafkaSettings,
    topic: str,
    file: Path,
    *,
    rate: float | None,
    key: str | None,
    create: int | None,
    console: Console,
    stop: threading.Event | None = None,
) -> Sent:
    """Publish each line that is not empty as one message, and return once all are acknowledged.

    Args:
        settings: how Kafka is reached.
        topic: its name.
        file: the file; expanded if its name ends with .gz; `-` is standard input. A .csv file's header is not sent.
        rate: at most this many messages a second.
        key: the field of a line's JSON object, or the column of a .csv file, that is the message's key.
        create: create the topic with this many partitions if it does not exist.
        console: where the progress is shown, if it is a terminal.
        stop: once set, no more lines are published.

    Raises:
        Misuse: the file does not exist or is not whole, or a line lacks the key.
        NotFound: the topic does not exist.
        KafkaUnavailable: no broker answers, or a message was not acknowledged.
        SinkRefused: a message is too large.

    """
    if file != STANDARD_INPUT and not file.is_file():
        raise Misuse(f"{file}: there is no such file; name one, or - for standard input.")
    stop = stop or threading.Event()
    require_topic(settings, topic, create=create)
    with _progress(console) as progress, _opened(file, progress) as lines, open_sender(settings, topic) as sender:
        began = shown = time.monotonic()
        key_of = _key(key, file, next(lines, b"") if file.name.lower().endswith(CSV) else None)
        for number, line in enumerate(filter(None, (line.rstrip(b"\r\n") for line in lines)), start=1):
            sender.send(line, key=key_of(number, line))
            now = time.monotonic()
            if now - shown > SHOWN_EVERY:
                _show(progress, sender.acknowledged)
                shown = now
            if stop.wait(0.0 if rate is None else max(0.0, began + number / rate - now)):
                break
        sender.finish()
        _show(progress, sender.acknowledged)
        return Sent(topic, sender.acknowledged, round(time.monotonic() - began, 3))


@contextmanager
def _opened(file: Path, progress: Progress) -> Iterator[Iterator[bytes]]:
    """Open a file to be read by lines, and show how far it is read."""
    if file == STANDARD_INPUT:
        progress.add_task("", total=None, acknowledged=0)
        yield iter(sys.stdin.buffer)
        return
    task = progress.add_task(file.name, total=file.stat().st_size, acknowledged=0)
    with progress.open(file, "rb", task_id=task) as raw:
        if not file.name.lower().endswith(".gz"):
            yield iter(raw)
            return
        with gzip.open(raw) as expanded:
            try:
                yield iter(expanded)
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise Misuse(f"{file}: it is not a complete gzip file ({error}).") from error


def _key(name: str | None, file: Path, header: bytes | None) -> Key:
    """Return a function that finds the key of a line: by the name of a field, or of a column of the header."""
    if name is None:
        return lambda _, __: None
    if header is not None:
        csv.field_size_limit(sys.maxsize)  # the library's own limit is 128 KB
        return partial(_column, file, _cells(header), name)
    return partial(_field, file, name)


def _column(file: Path, columns: list[str], name: str, number: int, line: bytes) -> bytes:
    if name not in columns:
        raise Misuse(f"{file}: there is no column {name!r}; there are: {', '.join(columns)}.")
    cells = _cells(line)
    if len(cells) != len(columns):
        raise Misuse(f"{file}: row {number:,} has {len(cells)} cells, and the header has {len(columns)}.")
    return cells[columns.index(name)].encode()


def _cells(line: bytes) -> list[str]:
    return next(csv.reader([line.decode(errors="replace").rstrip("\r\n")]), [])


def _field(file: Path, name: str, number: int, line: bytes) -> bytes | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Misuse(f"{file}: message {number:,} is not JSON, so it has no field {name!r}: {error}.") from error
    if not isinstance(found, dict) or name not in found:
        raise Misuse(f"{file}: message {number:,} has no field {name!r}.")
    value = found[name]
    if value is None:
        return None
    return (value if isinstance(value, str) else json.dumps(value)).encode()


def _progress(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[acknowledged]:,}"),
    )
    return Progress(
        *columns, TextColumn("acknowledged"), console=console, transient=True, disable=not console.is_terminal
    )


def _show(progress: Progress, acknowledged: int) -> None:
    progress.update(progress.task_ids[0], acknowledged=acknowledged)
