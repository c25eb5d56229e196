"""Decompression within a limit, in place of kafka-python's own, which has no limit.

A megabyte of gzip can become a gigabyte. This module patches kafka-python: its batches look up their codecs by name
in their module, and offer no public hook.
"""

import gzip
import io
import struct

import lz4.frame
import zstandard
from kafka import codec
from kafka.record import default_records

from headgate.errors import HeadgateError

MOST = 64 * 1024**2  # bytes that one batch may expand to; by default, brokers accept compressed batches of 1 MB
XERIAL = b"\x82SNAPPY\x00"
XERIAL_HEAD = 16  # bytes


class Bomb(HeadgateError):
    """A batch that expands to more than the limit."""


def bound() -> None:
    """Limit what kafka-python expands, in this process from now on."""
    default_records.gzip_decode = _gzip
    default_records.snappy_decode = _snappy
    default_records.lz4_decode = _lz4
    default_records.zstd_decode = _zstd


def _check(size: int) -> None:
    if size > MOST:
        raise Bomb(f"a batch expands to more than {MOST} bytes; publish such messages in smaller batches")


def _checked(data: bytes) -> bytes:
    _check(len(data))
    return data


def _gzip(payload: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(payload)) as file:
        return _checked(file.read(MOST + 1))


def _zstd(payload: bytes) -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(payload), read_across_frames=True) as file:
        return _checked(file.read(MOST + 1))


def _lz4(payload: bytes) -> bytes:
    with lz4.frame.open(io.BytesIO(payload)) as file:
        return _checked(file.read(MOST + 1))


def _snappy(payload: bytes) -> bytes:
    """Decompress snappy, whose blocks each give their expanded size in advance."""
    expanded = 0
    at = XERIAL_HEAD if payload.startswith(XERIAL) else 0
    while at < len(payload):
        size = len(payload)
        if payload.startswith(XERIAL):
            (size,) = struct.unpack_from("!i", payload, at)
            at += 4
        expanded += _varint(payload, at)
        at += max(size, 1)
    _check(expanded)
    return bytes(codec.snappy_decode(payload))


def _varint(data: bytes, at: int) -> int:
    number = shift = 0
    for byte in data[at : at + 5]:
        number |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the highest bit says that more follows
            break
        shift += 7
    return number
