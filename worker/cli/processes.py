"""The commands that run something: up, listen, work, apply, sweep, send."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.types import PositiveFloat, PositiveInt
from rich.console import Console

from worker.cli.common import Common
from worker.cli.output import print_json, print_table

# Each command imports what it runs when it runs: Prefect alone takes two seconds and 90 MB, and `--help` needs neither.


def register(app: App) -> None:
    """Add the commands."""
    for command in (up, listen, work, apply, sweep, send):
        app.command(command)


def up(
    *,
    demo: bool = False,
    kafka: bool = False,
    exit_when_idle: bool = False,
    common: Common = Common(),
) -> int:
    """Start everything: PostgreSQL and a Prefect server unless they are given, listener, announcer and worker.

    Args:
        demo: drop the sample files into the inbox, publish the sample messages to a broker as of --kafka, and show
            their way.
        kafka: start a Kafka broker too, for trying things out, unless HEADGATE_KAFKA_BOOTSTRAP names one. It needs
            java 17 and mvn; without them all else goes on.
        exit_when_idle: end when all that arrived is done: with 0 if all of it was persisted, else 1.

    """
    from worker.processes.show import show

    return show(common.settings(discover=False), demo=demo, kafka=kafka, exit_when_idle=exit_when_idle)


def listen(*, common: Common = Common()) -> None:
    """Watch the folders, take in what arrives, and announce it."""
    from worker.processes.listen import listen as run

    run(common.settings())


def work(*, common: Common = Common()) -> int:
    """Execute runs of the work pool."""
    from worker.processes.work import work as run

    return 0 if run(common.settings()) else 1


def apply(*, dry_run: bool = False, json: bool = False, common: Common = Common()) -> None:
    """Make the Prefect server match the code: work pool, deployments, automations.

    Args:
        dry_run: only say what would change.
        json: print JSON.

    """
    from worker.processes.apply import apply as run

    changes = run(common.settings(), dry_run=dry_run)
    rows = [{"what": change.kind, "name": change.name, "action": change.action} for change in changes]
    print_json(rows) if json else print_table(rows)


def sweep(*, json: bool = False, common: Common = Common()) -> None:
    """Find what was left open and put it right, now."""
    from worker.processes.apply import sweep as run

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
    """Publish the lines of a file to a Kafka topic; it ends when all are acknowledged.

    Args:
        topic: its name.
        file: each line that is not empty is one message; .gz is expanded, - is standard input. The first line of a
            .csv names its columns, and is no message.
        rate: so many messages a second at the most.
        key: the field of the JSON lines, or the column of the .csv, that is the message's key.
        create: make the topic if it is not there.
        partitions: of a topic that is made.
        json: print JSON.

    """
    from worker.processes.send import send as run

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
        Console().print(f"{sent.acknowledged:,} messages acknowledged by {sent.topic} in {sent.seconds:.1f} s")
