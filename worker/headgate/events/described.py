"""Descriptions of the events: when each comes, what it is about, what its payload holds. Source of docs/events.md."""

from collections.abc import Mapping
from dataclasses import dataclass

from headgate.model import Fact

PIPELINE = "its name"
ARRIVAL = "the number of the arrival"
SOURCE = "the name of the source"
NAME = "of the file or the range; whoever sends it chooses it"
IDS = "the numbers of the arrivals, 100 at most"
NAMES = "the names of these arrivals"
RUN = "the id of the flow run"
A_RUN = "6c2b5a1e-1f4d-4a52-9d0b-3f6b1a7c8e90"


@dataclass(frozen=True, slots=True)
class Described:
    """The description of one event.

    Args:
        when: when it comes, as a sentence.
        payload: what each field means, except `pipeline`.
        example: example values of these fields.
        use: what a rule on it is good for, to follow "Use it to".
        installation: whether it is about the whole installation instead of one pipeline.

    """

    when: str
    payload: Mapping[str, str]
    example: Mapping[str, object]
    use: str
    installation: bool = False


DESCRIBED: Mapping[Fact, Described] = {
    Fact.FILE_ARRIVED: Described(
        when="A file is taken in, before any of it is read.",
        payload={
            "arrival": ARRIVAL,
            "source": SOURCE,
            "name": NAME,
            "size": "in bytes",
            "state": "`ready`, `parked` (it waits for a start), `skipped`, `duplicate` or `rejected`",
        },
        example={"arrival": 7, "source": "flights", "name": "2013-01-01.csv", "size": 81920, "state": "ready"},
        use="be told of a file by its name",
    ),
    Fact.MESSAGES_ARRIVED: Described(
        when="A range of messages of a partition is taken in, before any of it is read.",
        payload={
            "arrival": ARRIVAL,
            "source": SOURCE,
            "name": "of the range",
            "size": "in bytes, estimated",
            "state": "`ready`, `parked` (it waits for a start), `skipped` or `rejected`",
            "topic": "its name",
            "partition": "its number",
            "first_offset": "the offset of the first message",
            "end_offset": "the offset after the last",
        },
        example={
            "arrival": 8,
            "source": "kafka:flights",
            "name": "flights[0] 100-199",
            "size": 51200,
            "state": "ready",
            "topic": "flights",
            "partition": 0,
            "first_offset": 100,
            "end_offset": 200,
        },
        use="be told when a topic comes to life",
    ),
    Fact.PERSISTED: Described(
        when="Arrivals end: their rows and dead letters are committed.",
        payload={
            "arrivals": "how many ended",
            "arrival_ids": IDS,
            "rows_persisted": "how many rows were written with this commit",
            "dead_letters": "how many records were set aside with it",
            "names": NAMES,
            "run": RUN,
        },
        example={
            "arrivals": 1,
            "arrival_ids": [7],
            "rows_persisted": 842,
            "dead_letters": 3,
            "names": ["2013-01-01.csv"],
            "run": A_RUN,
        },
        use="run a flow of your own on the fresh rows",
    ),
    Fact.REJECTED: Described(
        when="An arrival is given up as a whole; its bytes are kept.",
        payload={
            "arrival": ARRIVAL,
            "source": SOURCE,
            "name": NAME,
            "reason": "a stable word, such as `columns` or `truncated`",
            "attempts": "how often it was tried",
            "detail": "what is wrong, as a sentence",
            "run": RUN + "; empty if it was rejected before any",
        },
        example={
            "arrival": 9,
            "source": "flights",
            "name": "broken.csv",
            "reason": "columns",
            "attempts": 1,
            "detail": "The columns do not match: missing 'dest'.",
            "run": A_RUN,
        },
        use="be told of each file that cannot be read",
    ),
    Fact.DEAD_LETTERED: Described(
        when="Records are set aside; one event for each reason and commit.",
        payload={
            "reason": "a stable word, such as `schema` or `lookup`",
            "count": "how many records",
            "arrival_ids": IDS,
            "names": NAMES,
            "run": RUN,
        },
        example={
            "reason": "schema",
            "count": 3,
            "arrival_ids": [7],
            "names": ["2013-01-01.csv"],
            "run": A_RUN,
        },
        use="be told of bad rows, or send them again",
    ),
    Fact.REPLAYED: Described(
        when="Dead letters go back on the road, as a new arrival.",
        payload={
            "arrival_id": "the number of the new arrival",
            "replay_of": "the arrival that they came in",
            "count": "how many dead letters",
        },
        example={"arrival_id": 12, "replay_of": 7, "count": 3},
        use="keep a record of what was sent again",
    ),
    Fact.PARTITION_HALTED: Described(
        when="No more ranges of a partition are cut, until a person decides.",
        payload={
            "source": SOURCE,
            "topic": "its name",
            "partition": "its number",
            "reason": "a stable word, such as `retention`",
            "next_offset": "the offset that would have been read next",
            "lost": "how many offsets are gone",
        },
        example={
            "source": "kafka:flights",
            "topic": "flights",
            "partition": 0,
            "reason": "retention",
            "next_offset": 100,
            "lost": 20,
        },
        use="be called",
    ),
}
DOORBELL = Described(
    when="Arrivals of a pipeline are due. Its own automation answers; no other should.",
    payload={"ring": "the id of the ring", "home": "whose worker is called", "count": "how many are due"},
    example={},
    use="see that Headgate is at work; it may come again, or not at all",
)


DISABLED = Described(
    when="The sweep finds that an automation of ours is switched off on the server.",
    payload={"automation": "its name", "since": "when it was changed last"},
    example={},
    use="be told that a rule of yours does nothing",
)
