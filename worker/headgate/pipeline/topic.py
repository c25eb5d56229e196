"""A Kafka topic as a source, and how its messages become records."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from headgate.model import TOPIC_SOURCE
from headgate.pipeline.checks import codec, one_of, require

Start = Literal["earliest", "latest"]
Tombstones = Literal["skip", "delete"]
Empty = Literal["dead-letter", "skip"]
Key = Literal["text", "json"]

LARGEST_NAME = 249  # characters, Kafka's own limit


@dataclass(frozen=True, slots=True)
class Avro:
    """Values written by Avro, one datum each.

    Args:
        schema: the writer's schema as JSON text. None: each value begins with the id of its schema in the schema
            registry (`HEADGATE_KAFKA_REGISTRY_URL`), as Confluent's serializers write it.

    """

    schema: str | None = None


@dataclass(frozen=True, slots=True)
class Protobuf:
    """Values written by Protocol Buffers, one message each.

    Args:
        message: the generated class, as `package.module:Class`.
        framed: values begin with magic byte, schema id and message index, as Confluent's serializers write them.

    """

    message: str
    framed: bool = False

    def __post_init__(self) -> None:
        require(
            self.message.count(":") == 1 and all(self.message.split(":")),
            f"Protobuf({self.message!r}): write the generated class as 'package.module:Class'.",
        )


@dataclass(frozen=True, slots=True)
class Plain:
    """Values that are text; each becomes one column.

    Args:
        column: the column of the schema that takes the text.
        encoding: a Python codec's name.

    """

    column: str
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        require(self.column, "Plain(column=''): write the column of the schema that takes the text.")
        codec("Plain", self.encoding)


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of the schema that take what comes with a message besides its value; None leaves it out.

    Args:
        key: takes the key, as UTF-8 text.
        timestamp: takes the broker's or producer's time, as text in ISO 8601, UTC.
        partition: takes the partition.
        offset: takes the offset.
        headers: for each header wanted, the column that takes its last value, as UTF-8 text.

    """

    key: str | None = None
    timestamp: str | None = None
    partition: str | None = None
    offset: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """All columns that are filled this way."""
        given = (self.key, self.timestamp, self.partition, self.offset, *self.headers.values())
        return tuple(name for name in given if name is not None)


@dataclass(frozen=True, slots=True)
class Topic:
    """A Kafka topic.

    Args:
        topic: its name.
        value: how values are read: None reads JSON as the pipeline's `Json()` says, one object per message; otherwise
            `Avro()`, `Protobuf(...)` or `Plain(...)`.
        columns: which columns take key, timestamp, partition, offset and headers.
        ordered: one range of a partition at a time, in order; a range that waits for its next attempt holds back the
            later ones.
        start: where to begin in a partition that was never read: "earliest" or "latest". A partition added later is
            always read from its first message.
        tombstones: what a message without a value does: "skip" counts it, "delete" removes the row with its key (the
            sink must be in upsert mode, with one key column, or with `key="json"`).
        key: how a tombstone's key is read: "text" is the one key column's value, "json" an object of all of them.
        empty: what happens to an empty value: it becomes a dead letter, or is skipped and counted.
        dead_letters: a topic that gets a copy of each dead letter, with the cause in its headers; None: no copy.
        max_messages: how many messages one range may hold.
        max_bytes: how many bytes one range may hold, estimated.
        max_age: how many seconds messages wait at most for a range to fill while runs are busy; five times as long
            while an earlier range of their partition waits for a run.

    """

    topic: str
    value: Avro | Protobuf | Plain | None = None
    columns: Columns = field(default_factory=Columns)
    ordered: bool = False
    start: Start = "earliest"
    tombstones: Tombstones = "skip"
    key: Key = "text"
    empty: Empty = "dead-letter"
    dead_letters: str | None = None
    max_messages: int = 100_000
    max_bytes: int = 64 * 1024 * 1024
    max_age: float = 1.0

    def __post_init__(self) -> None:
        for name in (self.topic, self.dead_letters):
            require(
                name is None
                or (0 < len(name) <= LARGEST_NAME and all(c.isascii() and (c.isalnum() or c in "._-") for c in name)),
                f"Topic({self.topic!r}): {name!r} is not a topic name; write ASCII letters, digits, '.', '_' and '-'.",
            )
        require(self.dead_letters != self.topic, f"Topic({self.topic!r}): dead_letters names the topic itself.")
        require(
            self.value is None or isinstance(self.value, Avro | Protobuf | Plain),
            f"Topic({self.topic!r}): value is Avro(), Protobuf(...) or Plain(...), or left out for JSON.",
        )
        one_of("Topic", "start", self.start, Start)
        one_of("Topic", "tombstones", self.tombstones, Tombstones)
        one_of("Topic", "key", self.key, Key)
        one_of("Topic", "empty", self.empty, Empty)
        for limit in ("max_messages", "max_bytes"):
            require(getattr(self, limit) >= 1, f"Topic({self.topic!r}): write {limit}=1 or more.")
        require(0 <= self.max_age <= 3600, f"Topic({self.topic!r}): write max_age=0 to 3600 seconds.")  # noqa: PLR2004

    @property
    def name(self) -> str:
        """The source's name, unique in its pipeline."""
        return TOPIC_SOURCE + self.topic
