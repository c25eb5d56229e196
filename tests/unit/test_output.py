"""What commands print."""

import json
from datetime import UTC, datetime

import pytest

from worker.cli.output import print_json, print_record, print_table


def test_names_are_text_and_never_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"name": "[red].csv", "some_rows": 1234567, "share": 1.25, "gone": None, "yes": True}])
    shown = capsys.readouterr().out
    for text in ("[red].csv", "some rows", "1,234,567", "True"):
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
