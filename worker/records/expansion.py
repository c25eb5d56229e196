"""A file's bytes, block by block, expanded from gzip within limits."""

import zlib
from collections.abc import Iterator
from pathlib import Path

from worker.errors import ArrivalRejected
from worker.model import Reason
from worker.records.batch import Limits

BOMB_FROM = 16 * 1024**2  # bytes; a small file of equal rows may well expand a thousand times
GZIP = 31  # zlib's word for "a gzip header, then up to 32 KiB of window"


def expanded(path: Path, name: str, limits: Limits) -> Iterator[bytes]:
    """Read a file, expanding it if its name ends in `.gz`.

    Args:
        path: where the bytes are.
        name: what the file was called when it came.
        limits: how much may come out.

    Raises:
        ArrivalRejected: no gzip, cut short, followed by something else, or larger than the limits.

    """
    # No block is longer than a record may be, so that a longer record is noticed before it is held.
    block = min(limits.block_bytes, limits.max_record_bytes)
    blocks = _gunzip(path, limits, block) if name.lower().endswith(".gz") else _plain(path, block)
    size = 0
    for data in _gather(blocks, block):
        size += len(data)
        if size > limits.max_expanded_bytes:
            raise ArrivalRejected(
                Reason.TOO_LARGE,
                f"more than {limits.max_expanded_bytes} bytes once expanded; "
                "split the file, or raise HEADGATE_RECORDS_MAX_EXPANDED_BYTES.",
            )
        yield data


def _gather(pieces: Iterator[bytes], block: int) -> Iterator[bytes]:
    """Join small pieces: parsers pay for each block."""
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


def _gunzip(path: Path, limits: Limits, block: int) -> Iterator[bytes]:
    """Expand all members of a gzip file; zeros after the last one are padding, anything else is refused."""
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
                what = "bytes after the end of the gzip stream that are no gzip" if given else "no gzip, or damaged"
                raise ArrivalRejected(
                    Reason.UNDECODABLE, f"{what} ({error}); compress the file again, or correct its ending."
                ) from error
            rest = inflate.unconsumed_tail or inflate.unused_data
            taken += before - len(rest)
            given += len(out)
            if given > BOMB_FROM and given > taken * limits.max_expansion:
                raise ArrivalRejected(
                    Reason.BOMB,
                    f"expands more than {limits.max_expansion} times; if that is right for this file, "
                    "raise HEADGATE_RECORDS_MAX_EXPANSION.",
                )
            if out:
                yield out
    if inside and not inflate.eof:
        raise ArrivalRejected(Reason.TRUNCATED, "the gzip stream is cut short; send the file again.")
