"""`headgate sources`: what arrives where, and which sources are paused."""

import getpass
import socket
from datetime import datetime
from typing import Literal

from cyclopts import App

from headgate.app import open_app
from headgate.cli.common import Common, require_pipeline
from headgate.cli.output import print_json, print_table
from headgate.operations.sources import turn

app = App(name="sources", help="Where arrivals come from, and which of these sources are paused.")


@app.default
def list_(*, pipeline: str | None = None, json: bool = False, common: Common = Common()) -> None:
    """List the sources, and why one is paused.

    Args:
        pipeline: only of this pipeline.
        json: print JSON.

    """
    with open_app(common.settings()) as opened:
        require_pipeline(opened, pipeline)
        paused = opened.sources.paused()
        rows: list[dict[str, object]] = []
        for each in opened.pipelines:
            for source in each.sources if pipeline in {None, each.name} else ():
                found = paused.get((each.name, source.name))
                since = None if found is None else _shown(found.paused_at)
                by, why = (None, None) if found is None else (found.by, found.reason)
                rows.append(
                    {"pipeline": each.name, "source": source.name, "paused since": since, "by": by, "reason": why}
                )
    print_json(rows) if json else print_table(rows)


@app.command
def pause(
    pipeline: str, source: str | None = None, *, reason: str, json: bool = False, common: Common = Common()
) -> None:
    """Take nothing in from a source until it is resumed; what is under way goes on.

    Args:
        pipeline: its name.
        source: its name; all sources of the pipeline if left out.
        reason: why; it is shown while the source is paused.
        json: print JSON.

    """
    _turn("pause", pipeline, source, reason, json=json, common=common)


@app.command
def resume(
    pipeline: str,
    source: str | None = None,
    *,
    reason: str = "by hand",
    json: bool = False,
    common: Common = Common(),
) -> None:
    """Take in from a paused source again.

    Args:
        pipeline: its name.
        source: its name; all sources of the pipeline if left out.
        reason: why; the event carries it.
        json: print JSON.

    """
    _turn("resume", pipeline, source, reason, json=json, common=common)


def _turn(  # noqa: PLR0913 - what the commands take
    change: Literal["pause", "resume"], pipeline: str, source: str | None, reason: str, *, json: bool, common: Common
) -> None:
    with open_app(common.settings()) as opened:
        by = f"{getpass.getuser()}@{socket.gethostname()}"
        with opened.database.transaction() as connection:
            turned = turn(opened, connection, change, pipeline, source, by=by, reason=reason)
    if json:
        print_json({"change": change, "pipeline": pipeline, "changed": turned.changed, "before": turned.before})
    else:
        print_table([{"done": turned.sentence()}])


def _shown(at: datetime) -> str:
    return at.isoformat(sep=" ", timespec="seconds")
