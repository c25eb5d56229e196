"""The pipeline itself: sources, contract, enrichers, sink."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from headgate.errors import BadPipeline
from headgate.imports import dy
from headgate.pipeline.alerts import Alert, SourceSilent, checked
from headgate.pipeline.checks import one_of, require, whole
from headgate.pipeline.folder import Folder
from headgate.pipeline.formats import F, Format
from headgate.pipeline.look_up import Lookup
from headgate.pipeline.rate import Rate
from headgate.pipeline.retry import Retry
from headgate.pipeline.schedule import Cron, Every
from headgate.pipeline.start import After, Batch, OnArrival, OnRule
from headgate.pipeline.table import LONGEST_NAME, Table
from headgate.pipeline.topic import Plain, Topic
from headgate.pipeline.types import check_types
from headgate.pipeline.when import When

NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")

Enricher = Callable[[pl.DataFrame], pl.DataFrame]
FailOn = Literal["never", "rejected", "dead-letters"]
Source = Folder | Topic


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A declared way from sources to a sink.

    Args:
        name: lower-case letters, digits and dashes; it names the deployment, the automation and the metrics.
        sources: where arrivals come from.
        schema: the contract, a dataframely schema: a record that breaks it becomes a dead letter.
        sink: the table that records are written to.
        enrich: the enrichers, in order: `lookup(...)`, or a plain function frame -> frame that keeps the rows and the
            columns it is given and adds columns.
        formats: how files are read, where the defaults of `Csv()`, `Json()`, `Parquet()` do not fit.
        retry: how often an arrival is tried again after a transient error.
        start: when it runs: `OnArrival()`, `Batch(...)`, `Every("6h")`, `Cron("0 6 * * 1-5")`, `After("orders")` or
            `OnRule()`.
        rate: the most starts in a period, such as `Rate(6, per="minute")`; the excess waits, and starts in order.
        when: the condition that arrivals have to meet, such as `When(name="*.csv")`; others are skipped and counted.
        max_arrivals: how many arrivals one claim may hold.
        max_bytes: how many bytes one claim may hold; a larger arrival is claimed alone.
        parallelism: how many runs of this pipeline may work at the same time; 1 unless it runs on arrival.
        max_waiting: while this many arrivals are unfinished, no further ranges of its topics are cut.
        max_bad: a file with more bad records than this is rejected as a whole, and none of its rows are committed: a
            share of its records such as 0.5, or a number of them such as 100. None: each becomes a dead letter.
        fail_on: when a run ends as Failed in the Prefect UI: if it "rejected" an arrival; or if it set aside any record
            or rejected an arrival, "dead-letters". Otherwise it ends as "Completed with rejects".
        alerts: the alerts on this pipeline, such as `SourceSilent("25h")`.

    """

    name: str
    sources: tuple[Source, ...]
    schema: type[dy.Schema]
    sink: Table
    enrich: tuple[Lookup | Enricher, ...] = ()
    formats: tuple[Format, ...] = ()
    retry: Retry = field(default_factory=Retry)
    start: OnArrival | Batch | Every | Cron | After | OnRule = field(default_factory=OnArrival)
    rate: Rate | None = None
    when: When | None = None
    max_arrivals: int = 1000
    max_bytes: int = 256 * 1024 * 1024
    parallelism: int = 1
    max_waiting: int = 1000
    max_bad: float | None = None
    fail_on: FailOn = "never"
    alerts: tuple[Alert, ...] = ()

    def __post_init__(self) -> None:
        say = f"Pipeline({self.name!r})"
        require(NAME.fullmatch(self.name), f"{say}: write lower-case letters, digits and '-', such as name='orders'.")
        for many in ("sources", "enrich", "formats", "alerts"):
            value = getattr(self, many)
            require(
                isinstance(value, Iterable) and not isinstance(value, str), f"{say}: write {many}=[...], a sequence."
            )
            object.__setattr__(self, many, tuple(value))
        require(self.sources, f"{say}: no sources; write sources=[Folder({self.name!r})].")
        for source in self.sources:
            require(
                isinstance(source, Folder | Topic),
                f"{say}: {source!r} is not a source; write Folder({self.name!r}) or Topic({self.name!r}).",
            )
        names = [source.name for source in self.sources]
        require(len(set(names)) == len(names), f"{say}: two sources of one name; give each its own folder or topic.")
        require(
            isinstance(self.schema, type) and issubclass(self.schema, dy.Schema),
            f"{say}: schema is a class that derives from dataframely.Schema, not {self.schema!r}.",
        )
        check_types(self.schema, say)
        reserved = [column for column in self.schema.column_names() if column.startswith("_")]
        require(not reserved, f"{say}: columns that begin with '_' are Headgate's own; rename {reserved}.")
        long = [column for column in self.schema.column_names() if len(column.encode()) > LONGEST_NAME]
        require(not long, f"{say}: PostgreSQL keeps at most {LONGEST_NAME} bytes of a column's name; shorten {long}.")
        for enricher in self.enrich:
            require(
                isinstance(enricher, Lookup) or callable(enricher),
                f"{say}: {enricher!r} is not an enricher; write lookup(...) or a function of a frame.",
            )
        kinds = [type(format_) for format_ in self.formats]
        require(len(set(kinds)) == len(kinds), f"{say}: at most one Csv(), one Json() and one Parquet().")
        if self.sink.mode != "append":
            require(
                self.key,
                f"{say}: mode={self.sink.mode!r} needs a key; mark columns of the schema with primary_key=True.",
            )
        checked(say, self.alerts)
        for alert in self.alerts:
            silent = alert.source if isinstance(alert, SourceSilent) else None
            require(silent in {None, *names}, f"{say}: SourceSilent(source={silent!r}): its sources are {names}.")
        unknown = [column for column in self.sink.key if column not in self.schema.column_names()]
        require(not unknown, f"{say}: the key names columns that the schema has not: {unknown}.")
        for field_name in ("max_arrivals", "max_bytes", "parallelism", "max_waiting"):
            require(getattr(self, field_name) >= 1, f"{say}: write {field_name}=1 or more.")
        one_of("Pipeline", "fail_on", self.fail_on, FailOn)
        share = isinstance(self.max_bad, float) and 0 < self.max_bad < 1
        require(
            self.max_bad is None or share or whole(self.max_bad),
            f"{say}: max_bad={self.max_bad!r}: write a share such as 0.5, or a number of records such as 100.",
        )
        for topic in self.topics:
            self._check_topic(topic, say)
        self._check_start(say)

    def _check_start(self, say: str) -> None:
        require(
            isinstance(self.start, OnArrival | Batch | Every | Cron | After | OnRule),
            f"{say}: {self.start!r} is not a start; write for example start=Batch(quiet='2s') or start=Every('6h').",
        )
        require(
            self.rate is None or isinstance(self.rate, Rate),
            f"{say}: {self.rate!r} is not a rate; write rate=Rate(6, per='minute').",
        )
        require(
            self.when is None or isinstance(self.when, When),
            f"{say}: {self.when!r} is not a condition; write when=When(name='*.csv').",
        )
        require(
            self.parallelism == 1 or not self.start.parks,
            f"{say}: start={self.start!r} gives all that came to one run; leave out parallelism.",
        )
        require(
            not isinstance(self.start, After) or self.name not in self.start.pipelines,
            f"{say}: start={self.start!r} names the pipeline itself; write others.",
        )
        if self.when is not None:
            files_alone = self.when.name is None or self.folders
            require(files_alone, f"{say}: when=When(name=...) is of files, and it has no Folder.")
            of_topics = self.when.topic is not None or self.when.header
            require(
                not of_topics or self.topics,
                f"{say}: When(topic=..., header=...) are of messages, and it has no Topic.",
            )

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
            # A range that is retried after a later one was committed would bring back rows that the later one deleted.
            require(topic.ordered, f"{say}: Topic({topic.topic!r}, tombstones='delete') needs ordered=True.")
            require(
                topic.key == "json" or len(self.key) == 1,
                f"{say}: Topic({topic.topic!r}): the key has {len(self.key)} columns; write key='json'.",
            )

    @property
    def parks(self) -> bool:
        """Whether its arrivals wait in the ledger until a start is due."""
        return self.start.parks or self.rate is not None

    @property
    def skipping(self) -> str | None:
        """One sentence on why messages are skipped, or None if no condition is declared."""
        if self.when is None or not self.when.of_messages:
            return None
        return f"skipped messages do not meet the condition ({self.when.words}), or have no value"

    @property
    def looks_at(self) -> int | None:
        """How many parked arrivals a decision about its start has to count at most; None for all."""
        if isinstance(self.start, Batch):
            return None if self.start.bytes is not None else self.start.count or 1
        if isinstance(self.start, OnArrival):
            return None if self.rate is None else self.rate.count + 1  # one more shows whether there are more
        return 1

    @property
    def runs(self) -> str:
        """When it runs, as the end of a sentence for people."""
        return self.start.words + ("" if self.rate is None else f"; {self.rate.words}")

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that identify a record in the sink; empty if there are none."""
        return self.sink.key or tuple(self.schema.primary_key())

    def format(self, kind: type[F]) -> F:
        """Return how this pipeline reads files of a kind: as it declares, else with the defaults."""
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
