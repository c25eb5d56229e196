"""`headgate homes`: the folders into which files are taken."""

from dataclasses import asdict

from cyclopts import App

from headgate.cli.common import Common
from headgate.cli.output import print_json, print_table
from headgate.operations.homes import Served, served
from headgate.words import duration

app = App(name="homes", help="Look at the homes of the ledger: each file belongs to the one that took it in.")


@app.command(name="list")
def list_(*, json: bool = False, common: Common = Common()) -> None:
    """List the homes: where they are, who serves them, and what waits in each.

    Args:
        json: print JSON.

    """
    from headgate.app import open_app

    with open_app(common.settings()) as opened:
        found = served(opened.homes)
    print_json([asdict(each) for each in found]) if json else print_table([row(each) for each in found])


@app.command(name="give-up")
def give_up(name: str, *, common: Common = Common()) -> None:
    """Remove a home whose files are gone for good from the ledger; what it had on its way is rejected as lost.

    Args:
        name: its name.

    """
    from headgate.app import open_app

    with open_app(common.settings()) as opened:
        opened.homes.give_up(name)


def row(home: Served) -> dict[str, object]:
    """Make a home's row of the table."""
    return {
        "home": home.name,
        "where": f"{home.host}:{home.path}",
        "waiting": home.waiting,
        "oldest": duration(home.oldest_seconds),
        "trouble": home.trouble,
    }
