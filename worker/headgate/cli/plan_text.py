"""What differs between code and server, as text of 80 columns."""

from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # they import Prefect, which the caller has done
    from headgate.reconcile.apply import Outcome
    from headgate.reconcile.change import Change, Difference

WIDTH = 80
SHOWN = 20  # names of automations that people made; --json lists all
MARKS = {"created": "+", "updated": "~", "removed": "-", "unchanged": " "}
DONE = {"created": "to create", "updated": "to change", "removed": "to remove", "unchanged": "as the code says"}


def lines_of(outcome: "Outcome") -> Iterator[str]:
    """Write an outcome as text.

    Yields:
        Lines of at most 80 columns.

    """
    for change in outcome.changes:
        if change.action != "unchanged" or change.notes:
            yield from _change(change)
    for change in outcome.left:
        yield from _change(change, mark="?")
    counts = [
        f"{count} {words}"
        for action, words in DONE.items()
        if (count := sum(change.action == action for change in outcome.changes))
    ]
    yield f"{', '.join(counts) or 'Nothing is declared'}."
    if outcome.left:
        yield from wrap(
            f"{len(outcome.left)} marked ? not in the code any more: `headgate apply --prune` removes them.", WIDTH
        )
    if outcome.may_be_lost:
        yield from wrap(outcome.may_be_lost, WIDTH)
    if outcome.others:
        more = f" and {len(outcome.others) - SHOWN} more" if len(outcome.others) > SHOWN else ""
        names = ", ".join(outcome.others[:SHOWN])
        yield from wrap(f"Made by people, and left alone: {names}{more}.", WIDTH, subsequent_indent="  ")


def _change(change: "Change", mark: str | None = None) -> Iterator[str]:
    yield from _wrapped(f"{mark or MARKS[change.action]} {change.kind}  {change.name}", 4)
    for each in change.differences:
        yield from _difference(each)
    for note in change.notes:
        yield from _wrapped(f"    {note}", 4)


def _difference(each: "Difference") -> Iterator[str]:
    short = f"    {each.field}: {each.server} -> {each.code}"
    if len(short) <= WIDTH:
        yield short
    else:
        yield from _wrapped(f"    {each.field}:", 8)
        yield from _wrapped(f"      server {each.server}", 13)
        yield from _wrapped(f"      code   {each.code}", 13)
    if each.note:
        yield from _wrapped(f"      {each.note}", 6)


def _wrapped(text: str, indent: int) -> list[str]:
    return wrap(text, WIDTH, subsequent_indent=" " * indent, replace_whitespace=False, break_on_hyphens=False)
