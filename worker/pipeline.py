"""What a user declares: a pipeline, its sources, its formats, its enrichers and its sink.

Everything is checked when it is made. An error names the field and says what to write instead, so a wrong declaration
fails at import, in front of its author, and never in a run at night.
"""

import importlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar, get_args

import polars as pl

from worker.errors import BadPipeline
from worker.imports import without

# dataframely imports SQLAlchemy where it finds it, and here it does: Prefect's server needs it. We do not.
with without("sqlalchemy"):
    import dataframely as dy

After = Literal["archive", "delete", "leave"]
Duplicates = Literal["content", "keep"]
Mode = Literal["append", "upsert", "ignore"]
OnExtra = Literal["reject", "drop"]

NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
TABLE = re.compile(r"(?:[a-z_][a-z0-9_]{0,62}\.)?[a-z_][a-z0-9_]{0,62}")

Enricher = Callable[[pl.DataFrame], pl.DataFrame]


def _require(holds: object, message: str) -> None:
    if not holds:
        raise BadPipeline(message)


@dataclass(frozen=True, slots=True)
class Quiet:
    """A file is complete when no process has it open for writing and it has not changed for a while.

    Args:
        seconds: how long size and modification time must stand still.

    """

    seconds: float = 0.1

    def __post_init__(self) -> None:
        _require(0 <= self.seconds <= 3600, f"Quiet(seconds={self.seconds}): write 0 to 3600 seconds.")  # noqa: PLR2004


@dataclass(frozen=True, slots=True)
class Marker:
    """A file is complete when its marker file stands beside it: `orders.csv` when `orders.csv.done` is there.

    Args:
        suffix: what the marker adds to the file's name. The marker is removed once the file is taken in.

    """

    suffix: str = ".done"

    def __post_init__(self) -> None:
        _require(
            self.suffix.startswith(".") and "/" not in self.suffix and len(self.suffix) > 1,
            f"Marker({self.suffix!r}): write a suffix that begins with a dot, such as Marker('.done').",
        )


@dataclass(frozen=True, slots=True)
class Folder:
    """A watched folder.

    Args:
        path: the folder; if relative, below the inbox (`HEADGATE_INBOX`).
        patterns: what names are taken in, as shell globs on the file's name; hidden and temporary names never are.
        recursive: whether folders inside it are watched too.
        ready: when a file is complete: `Quiet()` or `Marker(".done")`.
        after: what becomes of a file once its rows are committed. A rejected file always goes to the rejected folder.
        duplicates: "content" records the same bytes again as a duplicate, "keep" takes them in again.

    """

    path: str | Path
    patterns: tuple[str, ...] = ("*.csv", "*.csv.gz", "*.jsonl", "*.jsonl.gz", "*.ndjson", "*.json", "*.parquet")
    recursive: bool = True
    ready: Quiet | Marker = field(default_factory=Quiet)
    after: After = "archive"
    duplicates: Duplicates = "content"

    def __post_init__(self) -> None:
        _require(str(self.path).strip(), 'Folder(path=""): name a folder, such as Folder("orders").')
        _require(".." not in PurePosixPath(self.path).parts, f"Folder({str(self.path)!r}): write it without '..'.")
        if isinstance(self.patterns, str):
            message = f"Folder(patterns={self.patterns!r}): write a sequence, such as patterns=[{self.patterns!r}]."
            raise BadPipeline(message)
        object.__setattr__(self, "patterns", tuple(self.patterns))
        _require(self.patterns, "Folder(patterns=[]): nothing would ever match; write patterns=['*'] to take all.")
        for pattern in self.patterns:
            _require("/" not in pattern, f"Folder(patterns=[{pattern!r}]): a pattern is of the file's name alone.")
        _one_of("Folder", "after", self.after, After)
        _one_of("Folder", "duplicates", self.duplicates, Duplicates)
        _require(
            isinstance(self.ready, Quiet | Marker),
            "Folder(ready=...): write ready=Quiet(0.1) or ready=Marker('.done').",
        )

    @property
    def name(self) -> str:
        """The source's name, unique in its pipeline."""
        return str(self.path)


@dataclass(frozen=True, slots=True)
class Csv:
    """How CSV is read: RFC 4180, a header line first.

    Args:
        delimiter: one ASCII character.
        encoding: a Python codec's name.
        nulls: cells that mean "no value"; an empty cell always does.
        on_extra: what to do with a file that has columns the schema has not: reject it, or drop those columns.

    """

    delimiter: str = ","
    encoding: str = "utf-8"
    nulls: tuple[str, ...] = ()
    on_extra: OnExtra = "reject"

    def __post_init__(self) -> None:
        _require(
            len(self.delimiter) == 1 and self.delimiter.isascii() and self.delimiter not in '"\r\n',
            f"Csv(delimiter={self.delimiter!r}): write one ASCII character other than a quote or a line end.",
        )
        _codec("Csv", self.encoding)
        object.__setattr__(self, "nulls", _nulls("Csv", self.nulls))
        _one_of("Csv", "on_extra", self.on_extra, OnExtra)


@dataclass(frozen=True, slots=True)
class Json:
    """How JSON is read: one object a line (.jsonl, .ndjson), or one array of objects (.json). Always UTF-8.

    Args:
        nulls: texts that mean "no value", beside JSON's own null.
        on_extra: what to do with a record that has keys the schema has not: set it aside, or drop those keys.

    """

    nulls: tuple[str, ...] = ()
    on_extra: OnExtra = "reject"

    def __post_init__(self) -> None:
        object.__setattr__(self, "nulls", _nulls("Json", self.nulls))
        _one_of("Json", "on_extra", self.on_extra, OnExtra)


@dataclass(frozen=True, slots=True)
class Parquet:
    """How Parquet is read.

    Args:
        on_extra: what to do with a file that has columns the schema has not: reject it, or drop those columns.

    """

    on_extra: OnExtra = "reject"

    def __post_init__(self) -> None:
        _one_of("Parquet", "on_extra", self.on_extra, OnExtra)


Format = Csv | Json | Parquet
F = TypeVar("F", Csv, Json, Parquet)


@dataclass(frozen=True, slots=True)
class Lookup:
    """An enricher that adds columns from a reference. Made by `lookup()`."""

    reference: str | Path
    on: str
    key: str
    add: Mapping[str, str]
    required: bool

    @property
    def name(self) -> str:
        """What people are shown: the reference without folders and ending."""
        return self.reference.stem if isinstance(self.reference, Path) else self.reference


def lookup(
    reference: str | Path,
    *,
    on: str,
    add: Mapping[str, str],
    key: str | None = None,
    required: bool = False,
) -> Lookup:
    """Add columns to each record from a reference: a table of the sink's database, or a CSV or Parquet file.

    Args:
        reference: a table's name ("airlines", "ref.airlines"), or a Path to a file.
        on: the record's column to look up by.
        add: the columns to add, as {column of the record: column of the reference}.
        key: the reference's column that `on` is compared with; the same name if left out. Its values are unique.
        required: a record that finds nothing becomes a dead letter; otherwise the added columns are null.

    """
    call = f"lookup({str(reference)!r})"
    _require(isinstance(reference, str | Path), f"{call}: name a table, or give a Path to a file.")
    if isinstance(reference, str):
        _require(
            TABLE.fullmatch(reference),
            f"{call}: not a table's name; for a file write lookup(Path({reference!r}), ...).",
        )
    else:
        _require(reference.suffix in {".csv", ".parquet"}, f"{call}: a reference file ends in .csv or .parquet.")
    _require(add, f"{call}: add nothing? Write add={{'new_column': 'column_of_the_reference'}}.")
    return Lookup(reference=reference, on=on, key=key or on, add=dict(add), required=required)


@dataclass(frozen=True, slots=True)
class Table:
    """A table in PostgreSQL where records come to rest. It is created from the schema if it is absent.

    Args:
        name: the table, with its database schema if it is not `public`: "flights" or "landing.flights".
        mode: "append" adds each record; "upsert" replaces the row of the same key by the newest arrival's;
            "ignore" keeps the row that is there.
        key: the columns that identify a record, for upsert and ignore; the schema's primary key if left out.

    """

    name: str
    mode: Mode = "append"
    key: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require(
            TABLE.fullmatch(self.name),
            f"Table({self.name!r}): write lower-case letters, digits and '_', such as Table('orders').",
        )
        _one_of("Table", "mode", self.mode, Mode)
        if isinstance(self.key, str):
            message = f"Table(key={self.key!r}): write a sequence, such as key=[{self.key!r}]."
            raise BadPipeline(message)
        object.__setattr__(self, "key", tuple(self.key))


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and when an arrival is tried again after a transient error.

    Args:
        attempts: claims in all, the first one included.
        first_delay: the wait after the first attempt; it doubles with each further one.
        longest_delay: the wait never grows beyond this.

    """

    attempts: int = 5
    first_delay: timedelta = timedelta(seconds=10)
    longest_delay: timedelta = timedelta(minutes=15)

    def __post_init__(self) -> None:
        _require(1 <= self.attempts <= 100, f"Retry(attempts={self.attempts}): write 1 to 100.")  # noqa: PLR2004
        _require(self.first_delay > timedelta(0), f"Retry(first_delay={self.first_delay}): write more than 0.")
        _require(
            self.longest_delay >= self.first_delay,
            f"Retry(longest_delay={self.longest_delay}): write at least first_delay, {self.first_delay}.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """One road from sources to a sink.

    Args:
        name: lower-case letters, digits and dashes; it names the deployment, the automation and the metrics.
        sources: where arrivals come from.
        schema: the contract, a dataframely schema: a record that breaks it becomes a dead letter.
        sink: where records come to rest.
        enrich: what is added to each record, in order: `lookup(...)`, or a plain function frame -> frame that
            keeps the rows and the columns it is given and adds columns.
        formats: how files are read, where the defaults of `Csv()`, `Json()`, `Parquet()` do not do.
        retry: how often a transient error is tried again.
        max_arrivals: how many arrivals one claim may hold.
        max_bytes: how many bytes one claim may hold; one larger arrival is claimed alone.
        parallelism: how many runs of this pipeline may work at the same time.

    """

    name: str
    sources: tuple[Folder, ...]
    schema: type[dy.Schema]
    sink: Table
    enrich: tuple[Lookup | Enricher, ...] = ()
    formats: tuple[Format, ...] = ()
    retry: Retry = field(default_factory=Retry)
    max_arrivals: int = 1000
    max_bytes: int = 256 * 1024 * 1024
    parallelism: int = 1

    def __post_init__(self) -> None:
        say = f"Pipeline({self.name!r})"
        _require(NAME.fullmatch(self.name), f"{say}: write lower-case letters, digits and '-', such as name='orders'.")
        for many in ("sources", "enrich", "formats"):
            value = getattr(self, many)
            _require(
                isinstance(value, Iterable) and not isinstance(value, str), f"{say}: write {many}=[...], a sequence."
            )
            object.__setattr__(self, many, tuple(value))
        _require(self.sources, f"{say}: no sources; write sources=[Folder({self.name!r})].")
        for source in self.sources:
            _require(isinstance(source, Folder), f"{say}: {source!r} is no source; write Folder({self.name!r}).")
        names = [source.name for source in self.sources]
        _require(len(set(names)) == len(names), f"{say}: two sources of one name; give each its own folder.")
        _require(
            isinstance(self.schema, type) and issubclass(self.schema, dy.Schema),
            f"{say}: schema is a class that derives from dataframely.Schema, not {self.schema!r}.",
        )
        reserved = [column for column in self.schema.column_names() if column.startswith("_")]
        _require(not reserved, f"{say}: columns that begin with '_' are Headgate's own; rename {reserved}.")
        for enricher in self.enrich:
            _require(
                isinstance(enricher, Lookup) or callable(enricher),
                f"{say}: {enricher!r} is no enricher; write lookup(...) or a function of a frame.",
            )
        kinds = [type(format_) for format_ in self.formats]
        _require(len(set(kinds)) == len(kinds), f"{say}: one Csv(), one Json() and one Parquet() at the most.")
        if self.sink.mode != "append":
            _require(
                self.key,
                f"{say}: mode={self.sink.mode!r} needs a key; mark columns of the schema with primary_key=True.",
            )
        unknown = [column for column in self.sink.key if column not in self.schema.column_names()]
        _require(not unknown, f"{say}: the key names columns that the schema has not: {unknown}.")
        for field_name in ("max_arrivals", "max_bytes", "parallelism"):
            _require(getattr(self, field_name) >= 1, f"{say}: write {field_name}=1 or more.")

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that identify a record in the sink; empty if there are none."""
        return self.sink.key or tuple(self.schema.primary_key())

    def format(self, kind: type[F]) -> F:
        """How this pipeline reads files of a kind: as it declares, else with the defaults."""
        return next((given for given in self.formats if isinstance(given, kind)), kind())

    def source(self, name: str) -> Folder:
        """Look up a source by its name."""
        for source in self.sources:
            if source.name == name:
                return source
        message = f"Pipeline {self.name!r} has no source {name!r} any more; put it back, or discard its arrivals."
        raise BadPipeline(message)


def load_pipelines(path: str) -> tuple[Pipeline, ...]:
    """Load the pipelines that `package.module:name` points at.

    Raises:
        BadPipeline: the path leads nowhere, or to something else than pipelines of different names.

    """
    loaded = load_object(path, "HEADGATE_PIPELINES")
    pipelines = (loaded,) if isinstance(loaded, Pipeline) else loaded
    if not isinstance(pipelines, list | tuple) or not all(isinstance(pipeline, Pipeline) for pipeline in pipelines):
        message = f"HEADGATE_PIPELINES={path}: that is no Pipeline and no tuple of them, but {loaded!r}."
        raise BadPipeline(message)
    names = [pipeline.name for pipeline in pipelines]
    _require(len(set(names)) == len(names), f"HEADGATE_PIPELINES={path}: two pipelines of one name in {names}.")
    _require(names, f"HEADGATE_PIPELINES={path}: an empty tuple; declare at least one pipeline.")
    return tuple(pipelines)


def load_object(path: str, variable: str) -> object:
    """Import what `package.module:name` points at; the folder the command runs in is looked in too."""
    module_name, _, name = path.partition(":")
    _require(module_name and name, f"{variable}={path}: write package.module:name.")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module_name), name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        message = f"{variable}={path}: there is no module {error.name!r}; check the path and the folder you are in."
        raise BadPipeline(message) from error
    except AttributeError as error:
        message = f"{variable}={path}: the module has no {name!r}."
        raise BadPipeline(message) from error


def _one_of(kind: str, name: str, value: object, allowed: object) -> None:
    choices = " or ".join(repr(choice) for choice in get_args(allowed))
    _require(value in get_args(allowed), f"{kind}({name}={value!r}): write {choices}.")


def _codec(kind: str, encoding: str) -> None:
    try:
        "".encode(encoding)
    except LookupError as error:
        message = f"{kind}(encoding={encoding!r}): no such encoding; write for example 'utf-8' or 'cp1252'."
        raise BadPipeline(message) from error


def _nulls(kind: str, nulls: Iterable[str]) -> tuple[str, ...]:
    _require(not isinstance(nulls, str), f"{kind}(nulls={nulls!r}): write a sequence, such as nulls=[{nulls!r}].")
    return tuple(nulls)
