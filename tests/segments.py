"""What tests do to the broker's log behind its back: bytes are flipped, codecs renamed, whole logs taken away."""

import struct
from pathlib import Path
from typing import NamedTuple

import crc32c
from broker import Broker

LENGTH_AT, CRC_AT, ATTRIBUTES_AT, COUNT_AT, RECORDS_AT = 8, 17, 21, 57, 61  # in a batch, as Kafka's protocol has it
CODEC = 0b111  # of the attributes


class Batch(NamedTuple):
    """One batch of the first segment of a partition."""

    first: int  # offset
    end: int  # offset, exclusive
    begin: int  # byte of the segment
    size: int  # bytes


def segment(kafka: Broker, topic: str, partition: int = 0) -> Path:
    """The first segment of a partition."""
    return kafka.data / f"{topic}-{partition}" / f"{0:020}.log"


def batches(kafka: Broker, topic: str, partition: int = 0) -> list[Batch]:
    """The batches of the first segment, in their order."""
    data = segment(kafka, topic, partition).read_bytes()
    found, at = [], 0
    while at < len(data):
        first, length = struct.unpack_from(">qi", data, at)
        (count,) = struct.unpack_from(">i", data, at + COUNT_AT)
        found.append(Batch(first, first + count, at, 12 + length))
        at += 12 + length
    return found


def flip(kafka: Broker, topic: str, batch: Batch, *, partition: int = 0) -> None:
    """Change one byte of the records of a batch; doing it again mends it."""
    with segment(kafka, topic, partition).open("r+b") as file:
        file.seek(batch.begin + RECORDS_AT + 5)
        (was,) = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([was ^ 1]))


def rename_codec(kafka: Broker, topic: str, batch: Batch, codec: int, *, partition: int = 0) -> None:
    """Say another codec of a batch, with a checksum that is right."""
    with segment(kafka, topic, partition).open("r+b") as file:
        file.seek(batch.begin)
        data = bytearray(file.read(batch.size))
        (attributes,) = struct.unpack_from(">h", data, ATTRIBUTES_AT)
        struct.pack_into(">h", data, ATTRIBUTES_AT, attributes & ~CODEC | codec)
        struct.pack_into(">I", data, CRC_AT, crc32c.crc32c(bytes(data[ATTRIBUTES_AT:])))
        file.seek(batch.begin)
        file.write(data)


def empty_log(kafka: Broker, topic: str, partition: int = 0) -> None:
    """Take all messages of a partition away, as an unclean election does; the broker is stopped."""
    for file in (kafka.data / f"{topic}-{partition}").iterdir():
        if file.suffix in {".log", ".index", ".timeindex", ".snapshot"} or file.name == "leader-epoch-checkpoint":
            file.unlink()
