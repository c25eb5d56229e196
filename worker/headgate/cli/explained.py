"""What `headgate automations` prints: firings first, then near misses; readable at 80 columns."""

from collections.abc import Iterator, Sequence
from textwrap import wrap

from rich.console import Console
from rich.text import Text

from headgate.rules.verdicts import Done, Explanation, Finding, Result, Verdict

STYLES = {
    Verdict.FIRED: "bold green",
    Verdict.WOULD_FIRE: "bold green",
    Verdict.LOST: "bold red",
    Verdict.TOO_RECENT: "yellow",
    Verdict.WAITS: "yellow",
    Verdict.OFF: "yellow",
    Verdict.LATER: "yellow",
    Verdict.DIFFERS: "yellow",
    Verdict.OTHER: "dim",
}
LONG = 500  # characters of a value that are shown


def print_explanations(found: Sequence[Explanation], *, every: bool) -> None:
    """Print what became of events."""
    console = Console(highlight=False)
    if not found:
        console.print("No events.")
    for number, each in enumerate(found):
        if number:
            console.print()
        _print(console, each, every=every)


def _print(console: Console, explanation: Explanation, *, every: bool) -> None:
    occurred = explanation.occurred.partition("+")[0].replace("T", " ")[:19]
    console.print(Text.assemble((explanation.event, "bold"), f"  {occurred} UTC"))
    console.print(Text(f"  {explanation.event_id}  {explanation.resource}", style="dim"))
    if explanation.note:
        _print_below(console, explanation.note, 2)
    shown = [each for each in explanation.findings if every or each.verdict is not Verdict.OTHER]
    for finding in shown:
        console.print(Text.assemble((f"{finding.verdict:<15}", STYLES[finding.verdict]), finding.automation))
        for line in _lines(finding):
            _print_below(console, line, 4)
    hidden = len(explanation.findings) - len(shown)
    if hidden:
        them = "automation waits" if hidden == 1 else "automations wait"
        console.print(Text(f"{hidden} {them} for other events; --all shows them.", style="dim"))
    elif not explanation.findings:
        console.print("There are no automations on the server.")


def _lines(finding: Finding) -> Iterator[str]:
    yield from finding.reasons
    for number, action in enumerate(finding.actions, start=1):
        yield f"{number}. {_action(action)}"
        for name, value in (action.parameters or {}).items():
            yield f"     {name} = {_cut(repr(value))}"
        if action.detail:
            yield f"     {_cut(action.detail)}"


def _action(action: Done) -> str:
    target = f" {action.target}" if action.target else ""
    run = f": run {action.run}, {action.state}" if action.run else ""
    return f"{action.kind}{target} {action.status}{run}"


def _cut(text: str) -> str:
    return text if len(text) <= LONG else f"{text[: LONG - 3]}..."


def print_results(results: Sequence[Result]) -> None:
    """Print what became of test cases: those that failed, with their differences, and a count."""
    console = Console(highlight=False)
    for each in results:
        mark, style = ("passed", "green") if each.passed else ("FAILED", "bold red")
        console.print(Text.assemble((f"{mark}  ", style), f"{each.file}: {each.name}"))
        for difference in each.differences:
            for line in difference.splitlines():
                _print_below(console, line, 4)
    failed = sum(not each.passed for each in results)
    cases = "1 case" if len(results) == 1 else f"{len(results)} cases"
    console.print(f"{cases}, {failed} failed." if failed else f"{cases} passed.")


def _print_below(console: Console, text: str, indent: int) -> None:
    """Print a line; what does not fit wraps to the lines below, indented further."""
    begin = " " * (indent + len(text) - len(text.lstrip()))
    for line in wrap(text.lstrip(), console.width, initial_indent=begin, subsequent_indent=f"{begin}  ") or [""]:
        console.print(Text(line), no_wrap=True)
