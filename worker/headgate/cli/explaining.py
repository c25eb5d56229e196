"""`headgate automations explain` and `test`: why a rule fired or did not, and what rules do without a server.

Judging rules imports Prefect's server, which takes a second: only these commands do so, and not for `--help`.
"""

import gc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Annotated
from uuid import UUID

from cyclopts import Parameter

from headgate.cli.common import Common
from headgate.cli.output import print_json
from headgate.errors import Misuse, NotFound
from headgate.rules.facts import asked_for, gather
from headgate.rules.server import Server
from headgate.rules.shape import Json


def explain(  # noqa: PLR0913 - ways to say which event
    event_id: str | None = None,
    /,
    *,
    last: Annotated[int | None, Parameter(negative="")] = None,
    name: tuple[str, ...] = (),
    file: Path | None = None,
    arrival: int | None = None,
    every: Annotated[bool, Parameter(name="--all", negative="")] = False,
    json: bool = False,
    common: Common = Common(),
) -> None:
    """Say for each automation on the server why it fired on an event, or why not.

    Args:
        event_id: of the event; Prefect's UI shows it under Event Feed.
        last: this many of the newest events, except Prefect's own.
        name: with --last: only events of this name, such as headgate.rows.*; may be repeated.
        file: one or more events in JSON or YAML that have not been sent: what would they do?
        arrival: the events about the arrival with this number.
        every: also show automations that wait for other events.
        json: print JSON.

    """
    from headgate.cli.explained import print_explanations

    settings = common.settings()
    asked, sent = _asked(event_id, last, name, file, arrival)
    auth = settings.api_auth.get_secret_value() if settings.api_auth else None
    with Server(settings.require_api(), auth=auth) as server, ThreadPoolExecutor(1) as beside:
        events = asked_for(server, asked)  # first, so that errors show at once
        facts = beside.submit(gather, server, events, sent=sent)  # while Prefect loads
        gc.disable()  # an import makes hardly any garbage, and looking for it takes a fifth of the time
        from headgate.rules.explain import explain as explained

        gc.enable()
        found = explained(facts.result(), server)
    print_json([asdict(each) for each in found]) if json else print_explanations(found, every=every)


def _asked(
    event_id: str | None, last: int | None, names: Sequence[str], file: Path | None, arrival: int | None
) -> tuple[Callable[[Server], Sequence[Json]], bool]:
    """Say how to read the requested events, and whether they were sent."""
    given = [each for each in (event_id, last, file, arrival) if each is not None]
    if len(given) != 1 or (names and last is None):
        raise Misuse("Say which event: its id, or one of --last, --file and --arrival; --name goes with --last.")
    if event_id is not None:
        try:
            UUID(event_id)
        except ValueError as error:
            raise NotFound(f"{event_id!r} is not the id of an event: that is a UUID.") from error
        return (lambda server: [server.event(event_id)]), True
    if last is not None:
        if last < 1:
            raise Misuse("--last takes a number from 1 on.")
        return (lambda server: server.last_events(last, names)), True
    if arrival is not None:
        return (lambda server: server.events_of_arrival(arrival)), True
    from headgate.rules.sources import read_events

    events = read_events(file or Path())
    return (lambda _: events), False


def run_cases(
    files: Annotated[list[Path], Parameter(negative="")], /, *, json: bool = False, common: Common = Common()
) -> int:
    """Run test cases of rules without a server: events in, expected firings out; exit code 1 if one differs.

    Args:
        files: of cases, in YAML or JSON; docs/how-to/test-rules-and-pipelines.md describes them. The automations are
            those that the file names, or else all that `headgate apply` puts on the server.
        json: print JSON.

    """
    from headgate.cli.explained import print_results

    gc.disable()
    from headgate.rules.fixtures import run_files

    gc.enable()
    settings = common.settings(discover=False)

    def ours() -> object:
        from headgate.pipeline import load_pipelines
        from headgate.reconcile.declared import Declared, load_rules

        return Declared.of(settings, load_pipelines(settings.pipelines), load_rules(settings)).automations

    results = run_files(files, ours)
    print_json([asdict(each) for each in results]) if json else print_results(results)
    return int(any(not each.passed for each in results))
