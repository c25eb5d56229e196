"""Dead letters: one a record, kept to the byte, closed once."""

import hashlib

import pytest
from headgate.errors import LedgerRefused
from headgate.ledger import Arrivals, Database, DeadLetters
from headgate.ledger.dead_letters import Selection
from headgate.model import DeadLetter, Fault, Reason, Stage
from specimens import arrival


def letter(arrival_id: int, row: int = 1, *, reason: Reason = Reason.SCHEMA, **given: object) -> DeadLetter:
    original = given.get("original", b"1,\xff\x00,x\r\n")
    value = given.get("value", "x")
    assert isinstance(original, bytes)
    assert isinstance(value, str)
    faults = (Fault("amount|dtype", "amount", value), Fault("rule", None, None))
    return DeadLetter(arrival_id, row, Stage.PARSE, reason, faults, original, "csv", b"id,name,amount\r\n")


def aside(database: Database, dead_letters: DeadLetters, *letters: DeadLetter) -> list[int]:
    with database.transaction() as connection:
        dead_letters.set_aside(connection, letters, {each.arrival_id: 3 for each in letters})
    return [each.dead_letter_id for each in reversed(dead_letters.find(Selection()))]


def test_a_dead_letter_has_all_that_is_needed(ledger: Arrivals, database: Database, dead_letters: DeadLetters) -> None:
    (opened,) = ledger.open([arrival(name="a.csv")])
    original = bytes(range(256)) + b'\\."\n\\N,\t'
    aside(database, dead_letters, letter(opened.arrival_id, 7, original=original))
    (found,) = dead_letters.find(Selection())
    assert (found.original, found.preamble, found.format) == (original, b"id,name,amount\r\n", "csv")
    assert (found.arrival_id, found.row_number, found.stage, found.reason, found.attempt, found.state) == (
        opened.arrival_id,
        7,
        "parse",
        "schema",
        3,
        "open",
    )
    assert (found.pipeline, found.source, found.name, found.path) == ("orders", "orders", "a.csv", b"a.csv")
    assert found.faults == [
        {"rule": "amount|dtype", "column": "amount", "value": "x"},
        {"rule": "rule", "column": None, "value": None},
    ]
    with database.transaction() as connection:
        row = connection.execute("select original_sha256 from headgate.dead_letter").fetchone()
    assert row == {"original_sha256": hashlib.sha256(original).digest()}


@pytest.mark.parametrize("value", ["a\0b", "\\", "\t\n", "é😀", '"', ""])
def test_any_offending_value_can_be_shown(
    ledger: Arrivals, database: Database, dead_letters: DeadLetters, value: str
) -> None:
    """PostgreSQL's jsonb has no NUL: it is shown as an escape, and the bytes are in the original."""
    (opened,) = ledger.open([arrival()])
    aside(database, dead_letters, letter(opened.arrival_id, value=value))
    (found,) = dead_letters.find(Selection())
    assert found.faults[0]["value"] == value.replace("\0", "\\0")


def test_a_record_is_set_aside_once(ledger: Arrivals, database: Database, dead_letters: DeadLetters) -> None:
    (opened,) = ledger.open([arrival()])
    aside(database, dead_letters, letter(opened.arrival_id))
    with pytest.raises(LedgerRefused, match="duplicate key"):
        aside(database, dead_letters, letter(opened.arrival_id))
    assert len(dead_letters.find(Selection())) == 1


def test_nothing_to_set_aside_is_no_error(database: Database, dead_letters: DeadLetters) -> None:
    assert aside(database, dead_letters) == []


def test_find_narrows_by_all_that_is_given(ledger: Arrivals, database: Database, dead_letters: DeadLetters) -> None:
    one, other = (each.arrival_id for each in ledger.open([arrival(), arrival(pipeline="others")]))
    ids = aside(
        database,
        dead_letters,
        letter(one, 1),
        letter(one, 2, reason=Reason.NUL),
        letter(other, 1),
    )
    dead_letters.discard(ids[:1])

    def found(selection: Selection) -> list[int]:
        return [each.dead_letter_id for each in dead_letters.find(selection)]

    assert found(Selection(state=None)) == ids[::-1]
    assert found(Selection()) == ids[:0:-1]
    assert found(Selection(state="discarded")) == ids[:1]
    assert found(Selection(ids=(ids[0], ids[2]), state=None)) == [ids[2], ids[0]]
    assert found(Selection(pipeline="others")) == ids[2:]
    assert found(Selection(arrival_id=one)) == ids[1:2]
    assert found(Selection(reason="nul")) == ids[1:2]
    assert found(Selection(limit=1)) == ids[2:]


def test_the_ids_of_a_selection_are_all_of_them_whatever_its_limit(
    ledger: Arrivals, database: Database, dead_letters: DeadLetters
) -> None:
    (opened,) = ledger.open([arrival()])
    letters = [DeadLetter(opened.arrival_id, row, Stage.PARSE, Reason.SCHEMA, (), b"x", "csv", b"") for row in (1, 2)]
    with database.transaction() as connection:
        dead_letters.set_aside(connection, letters, {opened.arrival_id: 1})
    assert len(dead_letters.ids(Selection(arrival_id=opened.arrival_id, limit=1))) == 2
    assert dead_letters.ids(Selection(reason="lookup")) == []


def test_counts_are_by_stage_and_reason_most_first(
    ledger: Arrivals, database: Database, dead_letters: DeadLetters
) -> None:
    (opened,) = ledger.open([arrival()])
    rows = [letter(opened.arrival_id, row) for row in (1, 2)]
    aside(database, dead_letters, *rows, letter(opened.arrival_id, 3, reason=Reason.NUL))
    assert dead_letters.counts(opened.arrival_id) == [("parse", "schema", 2), ("parse", "nul", 1)]


def test_a_rejected_arrival_is_no_record_to_count(ledger: Arrivals, dead_letters: DeadLetters) -> None:
    (opened,) = ledger.open([arrival(reason=Reason.EMPTY)])
    assert dead_letters.counts(opened.arrival_id) == []


def test_what_is_discarded_is_closed_once_and_kept(
    ledger: Arrivals, database: Database, dead_letters: DeadLetters
) -> None:
    (opened,) = ledger.open([arrival()])
    ids = aside(database, dead_letters, letter(opened.arrival_id, 1), letter(opened.arrival_id, 2))
    assert dead_letters.discard(ids) == 2
    assert dead_letters.discard(ids) == 0
    assert dead_letters.discard([]) == 0
    assert [each.original for each in dead_letters.find(Selection(state="discarded"))] == [b"1,\xff\x00,x\r\n"] * 2


def test_a_replay_closes_its_dead_letters_and_is_opened_once(
    ledger: Arrivals, database: Database, dead_letters: DeadLetters
) -> None:
    (opened,) = ledger.open([arrival()])
    ids = aside(database, dead_letters, letter(opened.arrival_id))
    again = arrival(keep=True)
    first, second = ledger.replay(again, ids), ledger.replay(again, ids)
    assert first is not None
    assert second is not None
    assert (first.known, second.known) == (False, True)
    assert first.arrival_id == second.arrival_id
    (closed,) = dead_letters.find(Selection(state="replayed"))
    assert closed.replayed_as == first.arrival_id
    assert dead_letters.discard(ids) == 0
