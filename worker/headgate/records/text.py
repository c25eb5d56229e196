"""Bytes to text: which encoding a block has, and blocks that end at a line's end."""

import codecs
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from headgate.errors import ArrivalRejected
from headgate.model import Reason
from headgate.records.batch import Limits

MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # longest first: prefixes
MAGIC = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "a zip archive or an Excel sheet", b"PAR1\x15": "Parquet"}
ASCII = bytes(range(128))
STATEFUL = {"hz"}  # a byte's meaning depends on all bytes before it, so testing pairs of bytes does not show it
HEAD = 4096  # bytes inspected to tell what a file is
FOREIGN = 0.1  # with a larger share of NULs, also in the first line, it is UTF-16 or binary, not text


@dataclass(frozen=True)
class Block:
    """Whole lines of a file; only the file's last line may lack its line end."""

    data: bytes  # in a codec that keeps ASCII as it is, so lines and cells can be cut without decoding
    raw: bytes | None = None  # the same lines as in the file, if those differ
    end: bytes = b"\n"  # the line end in `raw`

    def __add__(self, more: "Block") -> "Block":
        """Append the lines that follow."""
        raw = None if self.raw is None or more.raw is None else self.raw + more.raw
        return Block(self.data + more.data, raw, more.end)

    def cut(self, place: int) -> tuple["Block", "Block"]:
        """Cut the block in two at the beginning of a line."""
        if self.raw is None:
            return Block(self.data[:place]), Block(self.data[place:])
        at = self._starts[self.data.count(b"\n", 0, place)]
        return Block(self.data[:place], self.raw[:at], self.end), Block(self.data[place:], self.raw[at:], self.end)

    def original(self, start: int, end: int) -> bytes:
        """Return whole lines as in the file, given their position in `data`."""
        if self.raw is None:
            return self.data[start:end]
        first = bisect_right(self._ends, start)
        last = bisect_right(self._ends, end) + (start < end and self.data[end - 1] != ord("\n"))
        return self.raw[self._starts[first] : self._starts[last]]

    @cached_property
    def _ends(self) -> list[int]:
        """The positions in `data` behind each line end."""
        return [found.end() for found in re.finditer(b"\n", self.data)]

    @cached_property
    def _starts(self) -> list[int]:
        """The positions in `raw` where lines begin, and where the last one ends."""
        lines = list(_lines(self.raw or b"", self.end))
        return [0, *accumulate(map(len, lines))]


@dataclass(frozen=True, slots=True)
class Text:
    """A file's text, in blocks of whole lines.

    UTF-16, EBCDIC, Shift JIS and other codecs in which an ASCII byte may mean something else are converted to UTF-8
    block by block. A line that cannot be decoded is not UTF-8 afterwards either, so only its record fails.
    """

    blocks: Iterator[bytes]  # as in the file, without the byte order mark
    codec: str  # the codec of the data of `lines`
    back: str | None = None  # the file's codec, if it is not `codec`
    mark: bytes = b""  # the byte order mark the file began with

    def decode(self, data: bytes) -> str:
        """Decode whole lines; raise UnicodeDecodeError if they cannot be decoded."""
        return data.decode(self.codec)

    def lines(self, limits: Limits, most: int) -> Iterator[tuple[Block, bool]]:
        """Yield blocks of whole lines, at most `most` in each, with False; at last the rest, maybe empty, with True.

        Raises:
            ArrivalRejected: a line is longer than a record may be; at most that much of it was in memory.

        """
        recoder = None if self.back is None else _Recoder(self.back)
        end = recoder.end if recoder else b"\n"
        for lines, final in _whole_lines(self.blocks, limits, end):
            *parts, last = (recoder.block(part) if recoder else Block(part) for part in _parts(lines, most, end))
            for part in parts:
                yield part, False
            yield last, final


def text(blocks: Iterator[bytes], encoding: str) -> Text:
    """Find out how to decode the bytes.

    Raises:
        ArrivalRejected: there are no bytes, or they are plainly not text in the declared encoding.

    """
    head = next(blocks, b"")
    while len(head) < len(codecs.BOM_UTF32_LE) and (more := next(blocks, b"")):
        head += more
    codec = codecs.lookup(encoding).name
    direct = _is_direct(codec)
    if direct:
        mark = codecs.BOM_UTF8 if codec in {"utf-8", "utf-8-sig"} and head.startswith(codecs.BOM_UTF8) else b""
        _refuse_foreign(head, encoding)
    else:
        mark = _mark(codec, head)
    if len(head) == len(mark):
        raise ArrivalRejected(Reason.EMPTY, "no bytes, or a byte order mark alone; there is nothing to read.")
    blocks = _chain(head[len(mark) :], blocks)
    if direct:
        return Text(blocks, "utf-8" if codec == "utf-8-sig" else codec, None, mark)
    return Text(blocks, "utf-8", _order(codec, mark), mark)


def line_end(encoding: str, preamble: bytes = b"") -> bytes:
    r"""Return `\n` in a file's encoding.

    Args:
        encoding: the file's encoding.
        preamble: the file's beginning, whose byte order mark tells the byte order.

    """
    codec = codecs.lookup(encoding).name.removesuffix("-sig")
    return "\n".encode(_order(codec, _mark(codec, preamble)))


def _mark(codec: str, head: bytes) -> bytes:
    return next((mark for mark in MARKS if codec.startswith("utf-") and head.startswith(mark)), b"")


def _whole_lines(blocks: Iterator[bytes], limits: Limits, end: bytes) -> Iterator[tuple[bytes, bool]]:
    """Cut blocks after their last line end; yield them with False, and at last what follows the last one, with True."""
    held: list[bytes] = []
    size = 0
    line = 1
    for block in blocks:
        first = block.find(end)
        if size + (len(block) if first < 0 else first) > limits.max_record_bytes:
            raise ArrivalRejected(
                Reason.TOO_LARGE,
                f"line {line} is longer than {limits.max_record_bytes} bytes; "
                "correct the file, or raise HEADGATE_RECORDS_MAX_RECORD_BYTES.",
            )
        place = _behind(block, end, len(block), size)
        if not place:
            held.append(block)
            size += len(block)
            continue
        data = b"".join([*held, block[:place]])
        held, size = [block[place:]], len(block) - place
        line += data.count(end)
        yield data, False
    yield b"".join(held), True


def _behind(data: bytes, end: bytes, place: int, before: int = 0) -> int:
    """Return where the last line end before a position ends, or 0 if there is none.

    In UTF-16 such bytes are a line end only where a character begins: `before` bytes of the line precede `data`.
    """
    at = data.rfind(end, 0, place)
    while at >= 0 and (before + at) % len(end):
        at = data.rfind(end, 0, at + len(end) - 1)
    return at + len(end) if at >= 0 else 0


def _parts(data: bytes, most: int, end: bytes = b"\n") -> Iterator[bytes]:
    """Cut whole lines into parts of at most `most` lines: a line of few bytes may take much memory once it is read."""
    if data.count(end) <= most:
        yield data
        return
    place = _behind(data, end, len(data) // 2)
    if not place:  # the first line is longer than all the others together
        place = next(accumulate(map(len, _lines(data, end))))
    yield from _parts(data[:place], most, end)
    yield from _parts(data[place:], most, end)


def _lines(data: bytes, end: bytes) -> Iterator[bytes]:
    start = at = 0
    while (at := data.find(end, at)) >= 0:
        if at % len(end):
            at += 1
            continue
        at += len(end)
        yield data[start:at]
        start = at
    if start < len(data):
        yield data[start:]


class _Recoder:
    """A converter of lines to UTF-8, in order: in some codecs, the meaning of a line depends on those before it."""

    def __init__(self, codec: str) -> None:
        self.end = line_end(codec)
        self._codec = codec
        self._decoder = codecs.getincrementaldecoder(codec)()

    def block(self, raw: bytes) -> Block:
        """Convert lines into a block; lines that cannot be decoded are not UTF-8 afterwards either."""
        state = self._decoder.getstate()
        data = self._whole(raw)
        if data is None:
            self._decoder.setstate(state)
            data = b"".join(map(self._line, _lines(raw, self.end)))
        return Block(data, raw, self.end)

    def _line(self, raw: bytes) -> bytes:
        data = self._whole(raw)
        if data is None:
            self._decoder.reset()
            shown = raw.decode(self._codec, "replace").replace("\n", "").encode("utf-8", "replace")
            data = shown + b"\xff" + (b"\n" if raw.endswith(self.end) else b"")
        return data

    def _whole(self, raw: bytes) -> bytes | None:
        """Decode lines; return None if some bytes are not text, or if the number of lines changes."""
        try:
            data = self._decoder.decode(raw, final=not raw.endswith(self.end)).encode()
        except UnicodeError:
            return None
        return data if data.count(b"\n") == sum(line.endswith(self.end) for line in _lines(raw, self.end)) else None


def _chain(head: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from blocks


def _is_direct(codec: str) -> bool:
    """Return whether an ASCII byte always means itself in a codec (not so in UTF-16, Shift JIS, ISO 2022)."""
    if codec in {"utf-8", "utf-8-sig"}:
        return True
    try:
        return (
            codec not in STATEFUL
            and ASCII.decode(codec) == ASCII.decode("ascii")
            and all(
                len(bytes([lead, trail]).decode(codec, "replace")) == 2  # noqa: PLR2004 - no lead byte takes the next one with it
                for lead in range(256)
                for trail in (0x41, 0xA1)
            )
        )
    except UnicodeError:
        return False


def _order(codec: str, mark: bytes) -> str:
    """Return the codec's name with its byte order, so that a part of the file can be encoded without its own mark."""
    if codec not in {"utf-16", "utf-32"}:
        return codec
    return f"{codec}-be" if mark in {codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE} else f"{codec}-le"


def _refuse_foreign(head: bytes, encoding: str) -> None:
    """Refuse a file that is plainly not text, before each of its lines becomes a dead letter."""
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
