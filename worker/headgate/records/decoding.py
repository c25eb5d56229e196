"""A block of messages into a batch of text records, in the form that files give."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter

import polars as pl

from headgate.model import MESSAGES, OFFSETS, DeadLetter, Fault, Reason, Stage
from headgate.pipeline import Pipeline, Topic
from headgate.records.batch import ARRIVAL, ROW, Batch, Limits, Original, Refusal, cut, number_rows
from headgate.records.binary_values import Schemas
from headgate.records.conditions import meets
from headgate.records.json_line import LineReader
from headgate.records.json_records import LineParser
from headgate.records.letters import letter_frame, letters_of
from headgate.records.messages import Unreadable, envelope, last, moments, offsets
from headgate.records.values import ValueReader, text, undecodable, value_reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """A decoder of one arrival's messages into records."""

    topic: Topic
    pipeline: Pipeline
    limits: Limits
    arrival_id: int
    read: ValueReader

    @classmethod
    def of(
        cls, topic: Topic, pipeline: Pipeline, limits: Limits, arrival_id: int, schemas: Schemas | None = None
    ) -> "Decoder":
        """Make the decoder for a topic.

        Args:
            topic: says how values are written, and what tombstones and empty values mean.
            pipeline: gives the schema.
            limits: the limits on what is read.
            arrival_id: the arrival that the messages belong to.
            schemas: asks the schema registry; None if none is set.

        Raises:
            BadPipeline: values cannot be read this way here; the text says what is missing.

        """
        read = value_reader(topic, pipeline, arrival_id, schemas)
        return cls(topic=topic, pipeline=pipeline, limits=limits, arrival_id=arrival_id, read=read)

    def batches(self, blocks: Iterable[pl.DataFrame | Unreadable], *, first: int = 0) -> Iterator[Batch]:
        """Decode what a reader yields; a batch has at most `limits.chunk_rows` messages.

        Args:
            blocks: blocks of messages, and parts that cannot be read.
            first: the range's first offset, from which rows are counted.

        """
        for block in blocks:
            if isinstance(block, Unreadable):
                yield self.unreadable(block, first)
            else:
                for part in block.iter_slices(self.limits.chunk_rows):
                    yield self.decode(part)

    def decode(self, messages: pl.DataFrame) -> Batch:
        """Decode a block of messages."""
        sorting = _Sorting(messages)
        if self.pipeline.when is not None:
            met = meets(self.pipeline.when, messages)
            sorting.skipped += messages.filter(~met)[ROW].to_list()
            messages = messages.filter(met)
        values = messages["value"]
        sizes = values.bin.size()
        records = messages
        if values.null_count() or not sizes.is_between(1, self.limits.max_record_bytes).all():
            self._tombstones(messages.filter(values.is_null()), sorting)
            self._empty(messages.filter(sizes == 0), sorting)
            self._large(messages.filter(sizes > self.limits.max_record_bytes), sorting)
            records = messages.filter(sizes.is_between(1, self.limits.max_record_bytes))
        frame, refusals = self.read(records["value"], records[ROW])
        sorting.refuse(refusals)
        frame = self._with_columns(frame, records, sorting)
        names = self.pipeline.schema.column_names()
        absent = [pl.lit(None, dtype=pl.String).alias(name) for name in names if name not in frame.columns]
        frame = number_rows(frame.with_columns(absent), self.arrival_id, frame[ROW]).select(*names, ARRIVAL, ROW)
        return Batch(
            frame,
            letter_frame(sorted(sorting.dead, key=attrgetter("row"))),
            sorting.original,
            tuple(sorted(sorting.skipped)),
            sorting.deletes,
        )

    def _with_columns(self, frame: pl.DataFrame, records: pl.DataFrame, sorting: "_Sorting") -> pl.DataFrame:
        """Add the columns for what came with each message besides its value."""
        taken = self.topic.columns
        if not taken.names:
            return frame
        if frame.height != records.height:
            records = frame.select(ROW).join(records, on=ROW, how="left", maintain_order="left")
        columns: list[pl.Series] = []
        texts = {name: last(records["headers"], header) for header, name in taken.headers.items()}
        if taken.key:
            texts[taken.key] = records["key"]
        refused: set[int] = set()
        for name, data in texts.items():
            decoded = text(data)
            refusals = [
                each
                for each in undecodable(data, decoded, records[ROW], name, self.arrival_id)
                if each.row not in refused
            ]
            refused |= {each.row for each in refusals}
            sorting.refuse(refusals)
            columns.append(decoded.alias(name))
        if taken.timestamp:
            columns.append(moments(records["timestamp_ms"]).alias(taken.timestamp))
        if taken.partition:
            columns.append(records["partition"].cast(pl.String).alias(taken.partition))
        if taken.offset:
            columns.append(records["offset"].cast(pl.String).alias(taken.offset))
        frame = frame.with_columns(columns)
        return frame.filter(~pl.col(ROW).is_in(list(refused))) if refused else frame

    def _tombstones(self, messages: pl.DataFrame, sorting: "_Sorting") -> None:
        if self.topic.tombstones == "skip":
            sorting.skipped += messages[ROW].to_list()
            return
        without = messages.filter(pl.col("key").is_null())
        sorting.refuse(self._refusals(without[ROW], Reason.MALFORMED, "tombstone without a key"))
        messages = messages.filter(pl.col("key").is_not_null())
        if messages.is_empty():
            return
        columns, keys, rows = list(self.pipeline.key), messages["key"], messages[ROW]
        if self.topic.key == "json":
            parser = LineParser(LineReader(columns, {}, drop_extra=False), (), self.arrival_id)
            batch = parser.parse_texts(text(keys), rows, keys.__getitem__)
            sorting.refuse(
                Refusal(self.arrival_id, each.row, each.reason, each.faults) for each in letters_of(batch.dead)
            )
            sorting.deletes = batch.frame
        else:
            decoded = text(keys)
            sorting.refuse(undecodable(keys, decoded, rows, columns[0], self.arrival_id))
            frame = pl.DataFrame({columns[0]: decoded, ROW: rows}).filter(decoded.is_not_null())
            sorting.deletes = number_rows(frame.select(columns), self.arrival_id, frame[ROW])

    def _empty(self, messages: pl.DataFrame, sorting: "_Sorting") -> None:
        if self.topic.empty == "skip":
            sorting.skipped += messages[ROW].to_list()
        else:
            sorting.refuse(self._refusals(messages[ROW], Reason.MALFORMED, "empty value"))

    def _large(self, messages: pl.DataFrame, sorting: "_Sorting") -> None:
        for place, (row, offset, value) in enumerate(messages.select(ROW, "offset", "value").iter_rows()):
            # Too large to keep with the others: the message stays in the topic, and we keep which one to read again.
            fault = Fault("size", None, f"{len(value)} bytes")
            original = Original(offsets(offset, offset + 1), OFFSETS, envelope=envelope(messages, place))
            refusal = Refusal(self.arrival_id, row, Reason.TOO_LARGE, (fault,))
            sorting.dead.append(refusal.dead_letter(Stage.PARSE, original))

    def _refusals(self, rows: pl.Series, reason: Reason, rule: str) -> list[Refusal]:
        return [Refusal(self.arrival_id, row, reason, (Fault(rule, None, None),)) for row in rows]

    def unreadable(self, found: Unreadable, first: int) -> Batch:
        """Set aside messages that cannot be read, as one dead letter that says which they are."""
        where = f"offsets {found.first} to {found.end - 1}"
        letter = DeadLetter(
            arrival_id=self.arrival_id,
            row=found.first - first + 1,
            stage=Stage.PARSE,
            reason=found.reason,
            faults=(Fault(where, None, cut(found.detail)),),
            original=offsets(found.first, found.end),
            format=OFFSETS,
        )
        columns = dict.fromkeys(self.pipeline.schema.column_names(), pl.String)
        empty = number_rows(pl.DataFrame(schema=columns), self.arrival_id, 1)
        return Batch(empty, letter_frame([letter]), lambda _: Original(letter.original, OFFSETS))


@dataclass(slots=True)
class _Sorting:
    """The messages of a block that do not become records, by what happens to them."""

    messages: pl.DataFrame
    dead: list[DeadLetter] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    deletes: pl.DataFrame | None = None

    def refuse(self, refusals: Iterable[Refusal]) -> None:
        self.dead += [each.dead_letter(Stage.PARSE, self.original(each.row)) for each in refusals]

    def original(self, row: int) -> Original:
        place = int(self.messages[ROW].search_sorted(row))
        return Original(self.messages.item(place, "value") or b"", MESSAGES, envelope=envelope(self.messages, place))
