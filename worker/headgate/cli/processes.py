"""The commands that run something: up, listen, work, apply, sweep, send."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.types import PositiveFloat, PositiveInt
from rich.console import Console

from headgate.cli.common import Common
from headgate.cli.output import print_json, print_table
from headgate.errors import WITHOUT_RULES
from headgate.words import count

# Each command imports what it needs when it runs: Prefect alone takes two seconds and 90 MB, too much for `--help`.


def register(app: App) -> None:
    """Add the commands."""
    for command in (up, listen, work, apply, sweep, send):
        app.command(command)


def _spare_threads() -> None:
    """Give polars one thread in each process that we start, unless the environment says how many.

    Frames of a run are small, or come in chunks: more threads take a third more processor time for small files, and
    save less than a tenth of the time of large ones. polars reads this when it is imported.
    """
    os.environ.setdefault("POLARS_MAX_THREADS", "1")


def up(
    *,
    demo: bool = False,
    kafka: bool = False,
    exit_when_idle: bool = False,
    common: Common = Common(),
) -> int:
    """Start everything: listener, announcer, worker, and PostgreSQL and a Prefect server unless they are configured.

    Args:
        demo: drop the sample files into the inbox, publish the sample messages to a broker as with --kafka, and show
            what becomes of them.
        kafka: also start a Kafka broker to try things out, unless HEADGATE_KAFKA_BOOTSTRAP names one. It needs java 17
            and mvn; without them everything else starts.
        exit_when_idle: end once everything that arrived is done: with 0 if all of it was persisted, else 1.

    """
    _spare_threads()
    from headgate import telemetry
    from headgate.processes.declared import look_at_declarations

    settings = common.settings(discover=False)
    # The processes that it starts write their own logs; this output is for a person.
    quiet = "WARNING" if settings.log_level == "INFO" else settings.log_level
    telemetry.configure(level=quiet, as_json=bool(settings.log_json))
    found = look_at_declarations(settings)
    from headgate.processes.show import show  # meanwhile: it takes as long as the declarations

    return show(settings, found(), demo=demo, kafka=kafka, exit_when_idle=exit_when_idle)


def listen(*, common: Common = Common()) -> None:
    """Watch the folders, take in what arrives, and announce it."""
    from headgate.processes.listen import listen as run

    run(common.settings())


def work(*, common: Common = Common()) -> int:
    """Execute runs of the work pool."""
    _spare_threads()
    from headgate.processes.work import work as run

    return 0 if run(common.settings()) else 1


def apply(
    *,
    dry_run: bool = False,
    prune: bool = False,
    unattended: Annotated[bool, Parameter(show=False)] = False,
    json: bool = False,
    common: Common = Common(),
) -> int:
    """Make the Prefect server match the code: work pool, deployments, automations and what they need.

    Args:
        dry_run: only say what would change; `headgate automations plan` says more.
        prune: also remove what Headgate made there and the code no longer declares.
        unattended: leave out rules that cannot work, with exit code 3; Headgate's own processes apply like this.
        json: print JSON.

    """
    from headgate.processes.apply import apply as run

    outcome = run(common.settings(), dry_run=dry_run, prune=prune, unattended=unattended)
    rows = [{"what": change.kind, "name": change.name, "action": change.action} for change in outcome.changes]
    print_json(rows) if json else print_table(rows)
    if outcome.may_be_lost and not json:
        Console(stderr=True).print(outcome.may_be_lost)
    return WITHOUT_RULES if outcome.refused else 0


def sweep(*, json: bool = False, common: Common = Common()) -> None:
    """Find what was left open and put it right, now."""
    from headgate.processes.apply import sweep as run

    rows = run(common.settings())
    print_json(rows) if json else print_table(rows)


def send(  # noqa: PLR0913 - one option a choice
    topic: str,
    file: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    *,
    rate: PositiveFloat | None = None,
    key: str | None = None,
    create: bool = False,
    partitions: PositiveInt = 1,
    json: bool = False,
    common: Common = Common(),
) -> None:
    """Publish the lines of a file to a Kafka topic; return once all are acknowledged.

    Args:
        topic: its name.
        file: each line that is not empty is one message; .gz is expanded, - is standard input. The first line of a
            .csv names its columns and is not a message.
        rate: at most this many messages a second.
        key: the field of the JSON lines, or the column of the .csv, that is the message's key.
        create: create the topic if it does not exist.
        partitions: how many, if the topic is created.
        json: print JSON.

    """
    from headgate.operations.send import send as run

    sent = run(
        common.settings().kafka,
        topic,
        file,
        rate=rate,
        key=key,
        create=partitions if create else None,
        console=Console(stderr=True),
    )
    if json:
        print_json(asdict(sent))
    else:
        told = count(sent.acknowledged, "message")
        Console().print(f"{told} acknowledged by {sent.topic} in {sent.seconds:.1f} s")
