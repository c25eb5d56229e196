"""`headgate automations`: what differs between code and server, and the way from one to the other."""

import sys
from dataclasses import asdict

from cyclopts import App

from headgate.cli.common import Common
from headgate.cli.output import print_json
from headgate.cli.plan_text import lines_of
from headgate.cli.processes import apply

app = App(name="automations", help="Automations in code, and those on the Prefect server.")
app.command(apply)
# By path, so that `--help` does not import Prefect's server, which takes a second.
app.command(
    "headgate.cli.explaining:explain", name="explain", help="Say why each automation fired on an event, or why not."
)
app.command(
    "headgate.cli.explaining:run_cases",
    name="test",
    help="Run test cases of rules without a server; exit code 1 if one differs.",
)


@app.command
def plan(*, prune: bool = False, json: bool = False, common: Common = Common()) -> int:
    """Show what `apply` would change, field by field; exit code 1 if it would change something.

    Args:
        prune: also show what `apply --prune` would remove.
        json: print JSON.

    """
    from headgate.processes.apply import apply as run

    outcome = run(common.settings(), dry_run=True, prune=prune)
    if json:
        print_json(asdict(outcome))
    else:
        sys.stdout.writelines(f"{line}\n" for line in lines_of(outcome))
    return 1 if outcome.pending else 0


@app.command
def adopt(name: str, *, write: bool = False, common: Common = Common()) -> None:
    """Print an automation that was made in the UI as Python; the next `apply` takes it over unchanged.

    Args:
        name: its name, or its id.
        write: add it to the module of HEADGATE_RULES instead.

    """
    from headgate.processes.apply import adopt as run

    print_adopted = run(common.settings(), name, write=write)
    sys.stdout.write(print_adopted)
