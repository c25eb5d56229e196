"""The pipeline itself: sources, contract, enrichers, sink."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import polars as pl

from worker.errors import BadPipeline
from worker.imports import dy
from worker.pipeline.checks import require
from worker.pipeline.folder import Folder
from worker.pipeline.formats import F, Format
from worker.pipeline.look_up import Lookup
from worker.pipeline.retry import Retry
from worker.pipeline.table import Table
from worker.pipeline.topic import Plain, Topic

NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")

Enricher = Callable[[pl.DataFrame], pl.DataFrame]
Source = Folder | Topic


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
        max_waiting: while so many arrivals are unfinished, no further ranges of its topics are cut.

    """

    name: str
    sources: tuple[Source, ...]
    schema: type[dy.Schema]
    sink: Table
    enrich: tuple[Lookup | Enricher, ...] = ()
    formats: tuple[Format, ...] = ()
    retry: Retry = field(default_factory=Retry)
    max_arrivals: int = 1000
    max_bytes: int = 256 * 1024 * 1024
    parallelism: int = 1
    max_waiting: int = 1000

    def __post_init__(self) -> None:
        say = f"Pipeline({self.name!r})"
        require(NAME.fullmatch(self.name), f"{say}: write lower-case letters, digits and '-', such as name='orders'.")
        for many in ("sources", "enrich", "formats"):
            value = getattr(self, many)
            require(
                isinstance(value, Iterable) and not isinstance(value, str), f"{say}: write {many}=[...], a sequence."
            )
            object.__setattr__(self, many, tuple(value))
        require(self.sources, f"{say}: no sources; write sources=[Folder({self.name!r})].")
        for source in self.sources:
            require(
                isinstance(source, Folder | Topic),
                f"{say}: {source!r} is no source; write Folder({self.name!r}) or Topic({self.name!r}).",
            )
        names = [source.name for source in self.sources]
        require(len(set(names)) == len(names), f"{say}: two sources of one name; give each its own folder or topic.")
        require(
            isinstance(self.schema, type) and issubclass(self.schema, dy.Schema),
            f"{say}: schema is a class that derives from dataframely.Schema, not {self.schema!r}.",
        )
        reserved = [column for column in self.schema.column_names() if column.startswith("_")]
        require(not reserved, f"{say}: columns that begin with '_' are Headgate's own; rename {reserved}.")
        for enricher in self.enrich:
            require(
                isinstance(enricher, Lookup) or callable(enricher),
                f"{say}: {enricher!r} is no enricher; write lookup(...) or a function of a frame.",
            )
        kinds = [type(format_) for format_ in self.formats]
        require(len(set(kinds)) == len(kinds), f"{say}: one Csv(), one Json() and one Parquet() at the most.")
        if self.sink.mode != "append":
            require(
                self.key,
                f"{say}: mode={self.sink.mode!r} needs a key; mark columns of the schema with primary_key=True.",
            )
        unknown = [column for column in self.sink.key if column not in self.schema.column_names()]
        require(not unknown, f"{say}: the key names columns that the schema has not: {unknown}.")
        for field_name in ("max_arrivals", "max_bytes", "parallelism", "max_waiting"):
            require(getattr(self, field_name) >= 1, f"{say}: write {field_name}=1 or more.")
        for topic in self.topics:
            self._check_topic(topic, say)

    def _check_topic(self, topic: Topic, say: str) -> None:
        taken = (*topic.columns.names, *((topic.value.column,) if isinstance(topic.value, Plain) else ()))
        strange = [column for column in taken if column not in self.schema.column_names()]
        require(not strange, f"{say}: Topic({topic.topic!r}) fills columns that the schema has not: {strange}.")
        require(len(set(taken)) == len(taken), f"{say}: Topic({topic.topic!r}) fills one column twice: {taken}.")
        if topic.tombstones == "delete":
            require(
                self.sink.mode == "upsert",
                f"{say}: Topic({topic.topic!r}, tombstones='delete') needs a table with mode='upsert'.",
            )
            # A range tried again after a later one was committed would bring back what the later one deleted.
            require(topic.ordered, f"{say}: Topic({topic.topic!r}, tombstones='delete') needs ordered=True.")
            require(
                topic.key == "json" or len(self.key) == 1,
                f"{say}: Topic({topic.topic!r}): the key has {len(self.key)} columns; write key='json'.",
            )

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that identify a record in the sink; empty if there are none."""
        return self.sink.key or tuple(self.schema.primary_key())

    def format(self, kind: type[F]) -> F:
        """How this pipeline reads files of a kind: as it declares, else with the defaults."""
        return next((given for given in self.formats if isinstance(given, kind)), kind())

    @property
    def folders(self) -> tuple[Folder, ...]:
        """The sources that are watched folders."""
        return tuple(source for source in self.sources if isinstance(source, Folder))

    @property
    def topics(self) -> tuple[Topic, ...]:
        """The sources that are Kafka topics."""
        return tuple(source for source in self.sources if isinstance(source, Topic))

    def source(self, name: str) -> Source:
        """Look up a source by its name."""
        for source in self.sources:
            if source.name == name:
                return source
        message = f"Pipeline {self.name!r} has no source {name!r} any more; put it back, or discard its arrivals."
        raise BadPipeline(message)
