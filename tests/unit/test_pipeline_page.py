"""The page of a pipeline in the Prefect UI."""

from dataclasses import replace
from datetime import UTC, datetime

from headgate.ledger.summary import Hour
from headgate.operations.overview import Condition, nothing
from headgate.operations.pipeline_page import page

NOW = datetime(2026, 5, 1, 14, 30, tzinfo=UTC)


def test_the_last_day_is_a_chart_with_a_bar_for_each_hour() -> None:
    hours = [Hour("flights", 0, 2000, 3, 1), Hour("flights", 5, 1000, 0, 0), Hour("flights", 23, 1, 1, 0)]
    text = page(nothing("flights"), Condition.IDLE, hours, now=NOW, runs="as soon as something arrives")
    chart = text.partition("```\n")[2].partition("\n```")[0].splitlines()
    assert len(chart) == 24
    assert chart[-1] == f"13:30  {'█' * 32}  2,000 rows, 3 dead letters, 1 rejected"
    assert chart[-6] == f"08:30  {'█' * 16}{' ' * 16}  1,000 rows"
    assert chart[0] == f"14:30  █{' ' * 31}  1 row, 1 dead letter"
    assert chart[1] == "15:30"


def test_a_quiet_pipeline_has_nothing_to_do() -> None:
    text = page(nothing("flights"), Condition.IDLE, [], now=NOW, runs="as soon as something arrives")
    assert text.startswith("# flights is idle\n\nAs of 2026-05-01 14:30 UTC. It runs as soon as something arrives.\n")
    assert "What to do" not in text


def test_trouble_comes_with_the_commands_that_help() -> None:
    bad = replace(nothing("flights"), dead_letters=8, dead_letters_since_yesterday=2, rejected=1, oldest_seconds=300.0)
    text = page(bad, Condition.LATE, [], now=NOW, runs="as soon as something arrives")
    assert "| waiting | 0, the oldest for 5 min |" in text
    assert "| open dead letters | 8, 2 of the last day |" in text
    assert "`headgate doctor`" in text
    assert "`headgate dead-letters replay --pipeline flights`" in text
    assert "`headgate arrivals list --pipeline flights --state rejected`" in text
