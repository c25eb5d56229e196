"""`headgate alerts`: what is watched, what is broken, and which notices could not be delivered."""

from dataclasses import asdict

from cyclopts import App

from headgate.app import open_app
from headgate.cli.common import Common
from headgate.cli.output import print_json, print_table
from headgate.operations.watch import watched

app = App(name="alerts", help="What is watched, what is broken, and what could not be told.")


@app.default
def list_(*, json: bool = False, common: Common = Common()) -> None:
    """List what is watched, what is broken and why, and notices that could not be delivered.

    Args:
        json: print JSON.

    """
    with open_app(common.settings()) as opened:
        keys = {(each.key.pipeline, each.key.alert) for each in watched(opened)}
        found = {(each.pipeline, each.alert): each for each in opened.alerts.find()}
        failing = opened.alerts.failing()
    rows: list[dict[str, object]] = []
    for key in sorted(keys):
        state = found.get(key)
        since = state.broken_since if state else None
        broken = since and since.isoformat(sep=" ", timespec="seconds")
        detail = state.detail if state else None
        rows.append({"pipeline": key[0] or "(all)", "alert": key[1], "broken since": broken, "detail": detail})
    if json:
        print_json({"alerts": rows, "failing": [asdict(each) for each in failing]})
        return
    print_table(rows, empty="Nothing is watched: write alerts=[...] on a pipeline.")
    if failing:
        print_table([{"not delivered": each.subject, "tries": each.tries, "why": each.failure} for each in failing])


@app.command
def send(*, common: Common = Common()) -> int:
    """Deliver the notices that are due; exit code 1 if one could not be delivered."""
    from headgate.processes.apply import send_notices  # imports Prefect's client only when needed

    send_notices(common.settings())
    with open_app(common.settings()) as opened:
        return int(bool(opened.alerts.failing()))
