"""Bytes to text: what encoding a block is in, and blocks that end where a line ends."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass

from worker.errors import ArrivalRejected
from worker.model import Reason
from worker.records.batch import Limits

MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # 32 before 16: a prefix
MAGIC = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "a zip archive or an Excel sheet", b"PAR1": "Parquet"}
ASCII = bytes(range(128))
HEAD = 4096  # bytes looked at to tell what a file is
FOREIGN = 0.1  # more NULs than this share, in the first line too: no text with stray NULs, but UTF-16 or binary


@dataclass(frozen=True, slots=True)
class Text:
    """A file's text: blocks of bytes in a codec that has ASCII as it is, so lines can be cut without decoding.

    UTF-16, UTF-32 and other codecs that have not are turned into UTF-8 block by block; `original` turns a record back.
    """

    blocks: Iterator[bytes]
    codec: str  # what the blocks are in
    back: str | None = None  # what the file was in, where that is not `codec`
    mark: bytes = b""  # the byte order mark the file began with

    def decode(self, data: bytes) -> str:
        """Decode whole lines; raises UnicodeDecodeError."""
        return data.decode(self.codec)

    def original(self, data: bytes) -> bytes:
        """Give a part of a block as the file had it."""
        return data if self.back is None else data.decode("utf-8").encode(self.back)


def text(blocks: Iterator[bytes], encoding: str) -> Text:
    """Find out how the bytes are to be decoded.

    Raises:
        ArrivalRejected: there are no bytes, or they are plainly not text in the declared encoding.

    """
    head = next(blocks, b"")
    while len(head) < len(codecs.BOM_UTF32_LE) and (more := next(blocks, b"")):
        head += more
    codec = codecs.lookup(encoding).name
    direct = _has_ascii(codec)
    if direct:
        mark = codecs.BOM_UTF8 if codec in {"utf-8", "utf-8-sig"} and head.startswith(codecs.BOM_UTF8) else b""
        _refuse_foreign(head, encoding)
    else:
        mark = next((mark for mark in MARKS if codec.startswith("utf-") and head.startswith(mark)), b"")
    if len(head) == len(mark):
        raise ArrivalRejected(Reason.EMPTY, "no bytes, or a byte order mark alone; there is nothing to read.")
    if direct:
        return Text(_chain(head[len(mark) :], blocks), "utf-8" if codec == "utf-8-sig" else codec, None, mark)
    back = _order(codec, mark)
    return Text(_transcode(_chain(head[len(mark) :], blocks), back), "utf-8", back, mark)


def whole_lines(blocks: Iterator[bytes], limits: Limits) -> Iterator[tuple[bytes, bool]]:
    r"""Cut blocks behind their last `\n`. The last one given is what follows the last line end, maybe b"", and True.

    Raises:
        ArrivalRejected: a line is longer than a record may be; no more than the limit was held.

    """
    held: list[bytes] = []
    size = 0
    line = 1
    for block in blocks:
        first = block.find(b"\n")
        if size + (len(block) if first < 0 else first) > limits.max_record_bytes:
            raise ArrivalRejected(
                Reason.TOO_LARGE,
                f"line {line} is longer than {limits.max_record_bytes} bytes; "
                "correct the file, or raise HEADGATE_RECORDS_MAX_RECORD_BYTES.",
            )
        end = block.rfind(b"\n") + 1
        if not end:
            held.append(block)
            size += len(block)
            continue
        whole = b"".join([*held, block[:end]])
        held, size = [block[end:]], len(block) - end
        line += whole.count(b"\n")
        yield whole, False
    yield b"".join(held), True


def _chain(head: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from blocks


def _has_ascii(codec: str) -> bool:
    """Tell whether each ASCII byte stands for itself, wherever it is (no UTF-16, no ISO 2022)."""
    try:
        return ASCII.decode(codec) == ASCII.decode("ascii")
    except UnicodeError:
        return False


def _order(codec: str, mark: bytes) -> str:
    """Name the codec with its byte order, so that a part of the file can be encoded without a mark of its own."""
    if codec not in {"utf-16", "utf-32"}:
        return codec
    return f"{codec}-be" if mark in {codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE} else f"{codec}-le"


def _transcode(blocks: Iterator[bytes], codec: str) -> Iterator[bytes]:
    """Turn into UTF-8; a last line without an end gets one, so that each record can be told from the next."""
    decoder = codecs.getincrementaldecoder(codec)()
    last = "\n"
    try:
        for block in blocks:
            if part := decoder.decode(block):
                last = part[-1]
                yield part.encode()
        part = decoder.decode(b"", final=True)
    except UnicodeError as error:
        raise ArrivalRejected(
            Reason.UNDECODABLE, f"not text in {codec} ({error}); declare the encoding the file is in."
        ) from error
    if last != "\n" or part:
        yield f"{part}\n".encode()


def _refuse_foreign(head: bytes, encoding: str) -> None:
    """Refuse what is plainly something else, before each of its lines becomes a dead letter."""
    mark = next((mark for mark in MARKS if head.startswith(mark)), None)
    begin = head[:HEAD]
    if mark is not None or (0 in begin.partition(b"\n")[0] and begin.count(0) > FOREIGN * len(begin)):
        wide = "utf-32" if mark in MARKS[:2] else "utf-16"
        raise ArrivalRejected(
            Reason.UNDECODABLE,
            f"not text in {encoding}; it looks like {wide.upper()}, or is binary. "
            f"For CSV in {wide.upper()} declare Csv(encoding={wide!r}); else send UTF-8.",
        )
    kind = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)
    if kind is not None:
        raise ArrivalRejected(
            Reason.UNDECODABLE, f"not text but {kind}; give the file the ending of what it is, or unpack it."
        )
