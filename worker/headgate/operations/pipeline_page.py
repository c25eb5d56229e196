"""The page of a pipeline, as Markdown: its state, a chart of its last day, and what to do about what is wrong."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from headgate.ledger.summary import Hour, PipelineNow
from headgate.operations.overview import Condition
from headgate.words import count, duration

HOURS = 24
BAR = 32  # characters of the longest bar


def page(pipeline: PipelineNow, condition: Condition, hours: Sequence[Hour], *, now: datetime, runs: str) -> str:
    """Write the page.

    Args:
        pipeline: its state now.
        condition: the same in a word.
        hours: what ended in the last day, of this pipeline.
        now: with time zone.
        runs: when it runs, as the end of a sentence.

    """
    name = pipeline.pipeline
    bad = pipeline.dead_letters_since_yesterday
    lines = [
        f"# {name} is {condition.value}",
        "",
        f"As of {now:%Y-%m-%d %H:%M %Z}. It runs {runs}.",
        "",
        "| | |",
        "|---|--:|",
        f"| waiting | {pipeline.waiting + pipeline.parked:,}{_oldest(pipeline)} |",
        f"| being worked on | {pipeline.running:,} |",
        f"| rows today | {pipeline.rows_today:,} |",
        f"| open dead letters | {pipeline.dead_letters:,}, {bad:,} of the last day |",
        f"| rejected | {pipeline.rejected:,}, {pipeline.rejected_since_yesterday:,} in the last day |",
        "",
        "## The last day",
        "",
        "```",
        *_chart(hours, now),
        "```",
    ]
    return "\n".join([*lines, *_what_to_do(pipeline, condition)])


def _oldest(pipeline: PipelineNow) -> str:
    oldest = pipeline.oldest_seconds
    return "" if oldest is None else f", the oldest for {duration(oldest)}"


def _chart(hours: Sequence[Hour], now: datetime) -> list[str]:
    """Draw a bar for each hour, the latest last, labelled with the time at which the hour began."""
    by_age = {each.hours_ago: each for each in hours}
    most = max((each.rows_persisted for each in hours), default=0) or 1
    lines = []
    for ago in reversed(range(HOURS)):
        found = by_age.get(ago)
        begin = f"{now - timedelta(hours=ago + 1):%H:%M}"
        if found is None:
            lines.append(begin)
            continue
        bar = "\N{FULL BLOCK}" * max(round(BAR * found.rows_persisted / most), found.rows_persisted > 0)
        said = [count(found.rows_persisted, "row")]
        said += [count(found.dead_letters, "dead letter")] if found.dead_letters else []
        said += [f"{found.rejected:,} rejected"] if found.rejected else []
        lines.append(f"{begin}  {bar:<{BAR}}  {', '.join(said)}")
    return lines


def _what_to_do(pipeline: PipelineNow, condition: Condition) -> list[str]:
    name = pipeline.pipeline
    steps = []
    if condition in {Condition.HELD, Condition.HALTED, Condition.LATE}:
        steps.append("* `headgate doctor` says what keeps it, and what to do.")
    if pipeline.dead_letters:
        steps.append(
            f"* `headgate dead-letters list --pipeline {name}` says what is wrong with each record; once that is "
            f"mended, `headgate dead-letters replay --pipeline {name}` sends them again."
        )
    if pipeline.rejected:
        steps.append(f"* `headgate arrivals list --pipeline {name} --state rejected` names the files and the reasons.")
    return ["", "## What to do", "", *steps] if steps else []
