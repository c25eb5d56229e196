"""What commands print."""

import json
from datetime import UTC, datetime

import pytest
from headgate.cli.dead_letters import _whole
from headgate.cli.output import print_json, print_record, print_table
from headgate.ledger.dead_letters import DeadLetterRecord
from headgate.model import Envelope, RangePosition


def test_names_are_text_and_never_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"name": "[red].csv", "some_rows": 1234567, "share": 1.25, "gone": None, "yes": True}])
    shown = capsys.readouterr().out
    for text in ("[red].csv", "some rows", "1,234,567", "yes"):
        assert text in shown
    assert "None" not in shown


def test_an_empty_table_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([], empty="Nothing has arrived yet.")
    assert capsys.readouterr().out == "Nothing has arrived yet.\n"


def test_a_record_leaves_out_what_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    print_record({"kept_at": "/a", "reason": None, "detail": "", "rows": 0})
    assert capsys.readouterr().out.split() == ["kept", "at", "/a", "rows", "0"]


def test_json_is_one_document_whatever_stands_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_json([{"at": datetime(2024, 1, 1, tzinfo=UTC), "name": "é\n"}])
    assert json.loads(capsys.readouterr().out) == [{"at": "2024-01-01 00:00:00+00:00", "name": "é\n"}]


def test_json_of_a_users_rows_has_their_keys_and_is_json_for_any_number(capsys: pytest.CaptureFixture[str]) -> None:
    print_json([{"first name": 1, "first_name": 2, "at": [float("nan"), float("-inf")]}], ours=False)
    said = capsys.readouterr().out
    assert json.loads(said, parse_constant=pytest.fail) == [
        {"first name": 1, "first_name": 2, "at": ["NaN", "-Infinity"]}
    ]


def test_a_dead_letter_of_a_message_is_shown_with_all_that_came_with_it() -> None:
    """Bytes that are no text are escapes, so that JSON can hold them."""
    where = RangePosition("cluster", "orders", "id", 3, 10, 20, 100)
    headers = (("h", b"1"), ("h", None), ("x", b"\xff"))
    letter = DeadLetterRecord(
        dead_letter_id=1,
        arrival_id=2,
        pipeline="orders",
        source="kafka:orders",
        name="orders[3] 10-19",
        row_number=5,
        stage="parse",
        reason="malformed",
        faults=[],
        original=b"\xfe{",
        format="messages",
        preamble=b"",
        attempt=1,
        state="open",
        replayed_as=None,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        kept_at=None,
        path=b"",
        envelope=Envelope(14, 0, b"k\xff", headers, 3),
        range=where,
    )
    shown = _whole(letter)
    assert shown["original"] == "\\xfe{"
    assert (shown["topic"], shown["partition"], shown["offset"], shown["key"]) == ("orders", 3, 14, "k\\xff")
    assert shown["headers"] == [["h", "1"], ["h", None], ["x", "\\xff"]]
    assert shown["timestamp"] == "1970-01-01T00:00:00+00:00"
    assert json.dumps(shown, default=str)
