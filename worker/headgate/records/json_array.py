"""A JSON document into text records: elements are cut out one by one, so that memory holds only a few blocks of it."""

import codecs
import json
import re
from collections.abc import Iterator
from enum import Enum, auto

from headgate.errors import ArrivalRejected
from headgate.model import Reason
from headgate.records.batch import Batch, Limits
from headgate.records.json_records import LineParser
from headgate.records.text import Text

KEPT = "surrogateescape"  # bytes that are not UTF-8 pass through, and are found when their element is read
WHITE = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder(parse_int=str, parse_float=str)  # used only to find elements' ends: no number is too long


def read_json_array(text: Text, parser: LineParser, limits: Limits) -> Iterator[Batch]:
    """Read one array of JSON objects, or one or more objects one after another.

    An element whose texts hold bytes that are not UTF-8 becomes a dead letter with its bytes.

    Raises:
        ArrivalRejected: the document is not JSON from some place on, is truncated, or has an object that is too long.

    """
    row = 1
    at_once = limits.lines(len(parser.reader.columns))
    for elements in _elements(text.blocks, limits.max_record_bytes, at_once):
        batch = parser.parse([element.encode(errors=KEPT) for element in elements], row)
        row += batch.rows_in
        yield batch


class _Next(Enum):
    """What may come next, after any white space."""

    ANYTHING = auto()  # an array, or the first of objects that follow one another
    FIRST = auto()  # an element, or the array's end
    ELEMENT = auto()
    COMMA = auto()  # or the array's end
    NOTHING = auto()
    OBJECT = auto()  # the next of objects that follow one another, or the end of the text


def _elements(blocks: Iterator[bytes], most: int, at_once: int) -> Iterator[list[str]]:
    """Cut a document into the texts of its elements, each at most `most` bytes, in lists of `at_once`."""
    rest = ""
    expected = _Next.ANYTHING
    count = 0
    for part, final in _decoded(blocks):
        buffer, place = rest + part, 0
        found: list[str] = []
        while (place := _skip_white(buffer, place)) < len(buffer):
            then = _punctuation(buffer[place], expected, count)
            if then is not None:
                place += then is not _Next.OBJECT
                expected = then
                continue
            end = _end(buffer, place, count, final=final)
            if (len(buffer) if end is None else end) - place > most:
                raise ArrivalRejected(
                    Reason.TOO_LARGE,
                    f"element {count + 1} is longer than {most} bytes, or broken; "
                    "correct the file, or raise HEADGATE_RECORDS_MAX_RECORD_BYTES.",
                )
            if end is None:
                break
            found.append(buffer[place:end])
            place = end
            count += 1
            expected = _Next.COMMA if expected is not _Next.OBJECT else expected
            if len(found) == at_once:
                yield found
                found = []
        rest = buffer[place:]
        yield found
    if expected is _Next.ANYTHING:
        raise ArrivalRejected(Reason.EMPTY, "blanks alone; there is nothing to read.")
    if expected not in {_Next.NOTHING, _Next.OBJECT}:
        raise ArrivalRejected(Reason.TRUNCATED, f"the array ends after element {count}; send the file again.")


def _punctuation(character: str, expected: _Next, count: int) -> _Next | None:
    """Return what is expected after a bracket or comma, or None if an element begins instead."""
    match expected, character:
        case _Next.ANYTHING, "[":
            return _Next.FIRST
        case _Next.ANYTHING, _:
            return _Next.OBJECT
        case ((_Next.FIRST | _Next.COMMA), "]"):
            return _Next.NOTHING
        case _Next.COMMA, ",":
            return _Next.ELEMENT
        case _Next.COMMA, _:
            raise _malformed(count, "a comma is missing")
        case _Next.NOTHING, _:
            raise _malformed(count, "more after the array")
        case _:
            return None


def _decoded(blocks: Iterator[bytes]) -> Iterator[tuple[str, bool]]:
    """Decode block by block; yield each text with False, and at last the rest with True."""
    decoder = codecs.getincrementaldecoder("utf-8")(KEPT)
    for block in blocks:
        yield decoder.decode(block), False
    yield decoder.decode(b"", final=True), True


def _skip_white(buffer: str, place: int) -> int:
    white = WHITE.match(buffer, place)
    return white.end() if white else place


def _end(buffer: str, place: int, count: int, *, final: bool) -> int | None:
    """Return where the element at `place` ends, or None if the buffer does not show it yet."""
    try:
        _, end = DECODER.raw_decode(buffer, place)
    except RecursionError as error:
        raise _malformed(count, "nested too deep") from error
    except json.JSONDecodeError as error:
        if not final:
            return None
        if error.msg.startswith("Unterminated string") or error.pos >= len(buffer.rstrip()):
            raise ArrivalRejected(
                Reason.TRUNCATED, f"element {count + 1} is cut short; send the file again."
            ) from error
        raise _malformed(count, error.msg) from error
    return None if end == len(buffer) and not final else end


def _malformed(count: int, what: str) -> ArrivalRejected:
    return ArrivalRejected(Reason.MALFORMED, f"no JSON behind element {count}: {what}; correct the file.")
