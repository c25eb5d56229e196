"""A file's bytes, block by block, decompressed from gzip within limits."""

import zlib
from collections.abc import Iterator
from pathlib import Path

from headgate.errors import ArrivalRejected
from headgate.model import Reason
from headgate.records.batch import Limits

BOMB_FROM = 256 * 1024**2  # bytes; below this any ratio is fine: a file of equal rows may expand a thousandfold
GZIP = 31  # zlib's code for "a gzip header, then a window of up to 32 KiB"


def expanded(path: Path, name: str, limits: Limits) -> Iterator[bytes]:
    """Read a file, and expand it if its name ends in `.gz`.

    Args:
        path: where the bytes are.
        name: the file's name when it arrived.
        limits: how large the result may be.

    Raises:
        ArrivalRejected: the file is not gzip, is truncated, is followed by something else, or exceeds the limits.

    """
    # No block is longer than a record may be, so that a longer record is noticed before it is in memory.
    block = min(limits.block_bytes, limits.max_record_bytes)
    blocks = _gunzip(path, block) if name.lower().endswith(".gz") else _plain(path, block)
    growth = Growth(path.stat().st_size, limits)
    for data in _gather(blocks, block):
        growth.add(len(data))
        yield data


class Growth:
    """The number of bytes a file has expanded to so far, checked against the limits."""

    def __init__(self, size: int, limits: Limits) -> None:
        """Start counting at zero.

        Args:
            size: bytes of the file.
            limits: how many bytes it may expand to, and how many times its own size.

        """
        self._limits = limits
        self._most = max(BOMB_FROM, size * limits.max_expansion)
        self._size = 0

    def add(self, size: int) -> None:
        """Count expanded bytes.

        Raises:
            ArrivalRejected: the total is too large.

        """
        self._size += size
        if self._size > self._limits.max_expanded_bytes:
            raise ArrivalRejected(
                Reason.TOO_LARGE,
                f"more than {self._limits.max_expanded_bytes} bytes once expanded; "
                "split the file, or raise HEADGATE_RECORDS_MAX_EXPANDED_BYTES.",
            )
        if self._size > self._most:
            raise ArrivalRejected(
                Reason.BOMB,
                f"expands to more than {self._limits.max_expansion} times its size; if that is right for this file, "
                "raise HEADGATE_RECORDS_MAX_EXPANSION.",
            )


def _gather(pieces: Iterator[bytes], block: int) -> Iterator[bytes]:
    """Join small pieces into blocks, because each block costs a parser time."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= block:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _plain(path: Path, block: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while data := file.read(block):
            yield data


def _gunzip(path: Path, block: int) -> Iterator[bytes]:
    """Expand all members of a gzip file; accept zeros after the last one as padding, refuse anything else."""
    taken = given = 0
    inflate = zlib.decompressobj(GZIP)
    inside = False
    for data in _plain(path, min(block, 64 * 1024)):
        rest = data
        while rest:
            if inflate.eof:
                inflate = zlib.decompressobj(GZIP)
                inside = False
            if not inside:
                rest = rest if not taken else rest.lstrip(b"\0")
                if not rest:
                    break
            inside = True
            before = len(rest)
            try:
                out = inflate.decompress(rest, block)
            except zlib.error as error:
                what = "bytes after the end of the gzip stream that are not gzip" if given else "not gzip, or damaged"
                raise ArrivalRejected(
                    Reason.UNDECODABLE, f"{what} ({error}); compress the file again, or correct its ending."
                ) from error
            rest = inflate.unconsumed_tail or inflate.unused_data
            taken += before - len(rest)
            given += len(out)
            if out:
                yield out
    if inside and not inflate.eof:
        raise ArrivalRejected(Reason.TRUNCATED, "the gzip stream is cut short; send the file again.")
