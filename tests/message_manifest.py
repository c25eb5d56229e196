"""What tests of topics write down: where messages stand, and which dead letters there should be."""

import json
from collections import Counter
from collections.abc import Hashable, Iterable
from typing import NamedTuple

WITHOUT_BYTES = ("corrupt", "lost", "too-large")  # their dead letters say where the messages stand


class Place(NamedTuple):
    """Where a message stands; a topic that is made again has another id."""

    topic_id: str
    partition: int
    offset: int


class Letter(NamedTuple):
    """A dead letter: of one message, or of some that nobody can read."""

    reason: str
    place: Place
    original: bytes

    def covers(self) -> list[Place]:
        """The places of all messages that it stands for."""
        end = self.place.offset + 1
        if self.reason in WITHOUT_BYTES:
            end = json.loads(self.original)["end"]
        return [self.place._replace(offset=offset) for offset in range(self.place.offset, end)]


def unread(place: Place, end: int) -> bytes:
    """What the dead letter of messages that cannot be read keeps: where they stand."""
    return json.dumps({"first": place.offset, "end": end}).encode()


def items(count: int, first: int = 0) -> list[bytes]:
    """Make numbered messages."""
    return [b'{"item":%d}' % number for number in range(first, first + count)]


def rows_of(messages: Iterable[tuple[Place, bytes]]) -> list[tuple[object, ...]]:
    """Make the rows that messages become: where each stood, and its number."""
    return sorted((*place, json.loads(value)["item"]) for place, value in messages)


def difference(found: Iterable[Hashable], expected: Iterable[Hashable]) -> str:
    """Say what is there and should not be, and what is not there: of thousands, how many and the first."""
    there, due = Counter(found), Counter(expected)
    over, missing = list((there - due).elements()), list((due - there).elements())
    return f"{len(over)} too many, as {over[:3]}; {len(missing)} missing, as {missing[:3]}"
