"""A JSON document into text records: its elements are cut out one by one, so memory holds a few blocks of it."""

import codecs
import json
import re
from collections.abc import Iterator
from enum import Enum, auto

from worker.errors import ArrivalRejected
from worker.model import Reason
from worker.records.batch import Batch, Limits
from worker.records.json_records import LineParser
from worker.records.text import Text

WHITE = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder(parse_int=str, parse_float=str)  # only ends are looked for: no number is too long
LINE_ENDS = re.compile(r"[\r\n]+")


def read_json_array(text: Text, parser: LineParser, limits: Limits) -> Iterator[Batch]:
    """Read one array of JSON objects, or objects one after another, of which a single one is a case.

    An object written over several lines becomes one line, in its original too, so that it can stand in a `.jsonl`.

    Raises:
        ArrivalRejected: not UTF-8 or no JSON from some place on, cut short, or an object that is too long.

    """
    row = 1
    for elements in _elements(text.blocks, limits.max_record_bytes):
        batch = parser.parse([LINE_ENDS.sub(" ", element).encode() for element in elements], row)
        row += batch.rows_in
        yield batch


class _Next(Enum):
    """What may stand at the next place that is not blank."""

    ANYTHING = auto()  # an array, or the first of objects that follow one another
    FIRST = auto()  # an element, or the array's end
    ELEMENT = auto()
    COMMA = auto()  # or the array's end
    NOTHING = auto()
    OBJECT = auto()  # the next of objects that follow one another, or the end of the text


def _elements(blocks: Iterator[bytes], most: int) -> Iterator[list[str]]:
    """Cut a document into the texts of its elements, at most `most` bytes each: a list for each block."""
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
        rest = buffer[place:]
        yield found
    if expected is _Next.ANYTHING:
        raise ArrivalRejected(Reason.EMPTY, "blanks alone; there is nothing to read.")
    if expected not in {_Next.NOTHING, _Next.OBJECT}:
        raise ArrivalRejected(Reason.TRUNCATED, f"the array ends after element {count}; send the file again.")


def _punctuation(character: str, expected: _Next, count: int) -> _Next | None:
    """Say what is expected behind a bracket or comma; None where an element begins instead."""
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
    """Decode block by block; the last text given is what is left, and True."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for block in blocks:
            yield decoder.decode(block), False
        yield decoder.decode(b"", final=True), True
    except UnicodeDecodeError as error:
        raise ArrivalRejected(Reason.UNDECODABLE, f"not UTF-8 ({error}), which JSON always is; convert it.") from error


def _skip_white(buffer: str, place: int) -> int:
    white = WHITE.match(buffer, place)
    return white.end() if white else place


def _end(buffer: str, place: int, count: int, *, final: bool) -> int | None:
    """Find where the element at `place` ends; None if that is not to be seen yet."""
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
