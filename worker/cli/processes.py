"""The commands that run something: up, listen, work, apply, sweep."""

import asyncio

from cyclopts import App

from worker.cli.common import Common
from worker.cli.output import print_json, print_table

# Each command imports what it runs when it runs: Prefect alone takes two seconds and 90 MB, and `--help` needs neither.


def register(app: App) -> None:
    """Add the commands."""
    for command in (up, listen, work, apply, sweep):
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
        demo: drop the sample files into the inbox, and show their way.
        kafka: start a Kafka broker too, for trying things out, unless HEADGATE_KAFKA_BOOTSTRAP names one. It needs
            java 17 and mvn; without them all else goes on.
        exit_when_idle: end when all that arrived is done: with 0 if all of it was persisted, else 1.

    """
    from worker.processes.show import show

    return asyncio.run(show(common.settings(discover=False), demo=demo, kafka=kafka, exit_when_idle=exit_when_idle))


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
