"""`headgate dead-letters`: what was set aside, and the way back."""

import sys
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from cyclopts import App, Parameter
from rich.text import Text

from headgate.app import open_app
from headgate.cli.common import Common, require_pipeline
from headgate.cli.output import console, print_json, print_record, print_table, some_of
from headgate.errors import NotFound
from headgate.imports import dy
from headgate.ledger.dead_letters import DeadLetterRecord, Selection
from headgate.ledger.summary import count_dead_letters
from headgate.model import Envelope
from headgate.operations.replay import replay as send_again
from headgate.records.messages import moment
from headgate.records.saying import say
from headgate.words import count

app = App(name="dead-letters", help="What was set aside, and the way back.")


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Filters:
    """Which dead letters to select; an option that is left out does not filter."""

    id: Annotated[tuple[int, ...], Parameter(name="--id")] = ()
    "Only these numbers."
    pipeline: str | None = None
    "Only of this pipeline."
    arrival: int | None = None
    "Only of this arrival."
    reason: str | None = None
    "Only those set aside for this reason."

    def selection(self, *, state: str | None = "open", limit: int = 100_000) -> Selection:
        """Convert to a selection of the ledger."""
        return Selection(self.id, self.pipeline, self.arrival, self.reason, state, limit)

    def require(self) -> None:
        """Require a filter: leaving out all options must not send or discard everything."""
        if not (self.id or self.pipeline or self.arrival or self.reason):
            raise NotFound("Say which: --id, --pipeline, --arrival or --reason.")


@app.command(name="list")
def list_(
    *,
    filters: Filters = Filters(),
    state: Literal["open", "replayed", "discarded", "all"] = "open",
    limit: int = 50,
    json: bool = False,
    common: Common = Common(),
) -> None:
    """List dead letters, newest first.

    Args:
        filters: which.
        state: only those in this state, or all.
        limit: list at most this many.
        json: print JSON.

    """
    selection = filters.selection(state=None if state == "all" else state, limit=limit)
    with open_app(common.settings()) as opened:
        require_pipeline(opened, filters.pipeline)
        found = opened.dead_letters.find(selection)
        total = count_dead_letters(opened.database, selection)
        schemas = {pipeline.name: pipeline.schema for pipeline in opened.pipelines}
    if json:
        print_json([_whole(each) for each in found])
        return
    print_table(
        [short(each, schemas.get(each.pipeline)) for each in found], empty="No dead letter is like that.", cut=True
    )
    if found:
        console().print(f"\n{some_of(len(found), total, 'dead letter')}")


@app.command
def show(dead_letter: int, *, json: bool = False, common: Common = Common()) -> None:
    """Show one dead letter: each rule it broke, the values, and the bytes as they came.

    Args:
        dead_letter: its number.
        json: print JSON.

    """
    with open_app(common.settings()) as opened:
        found = opened.dead_letters.find(Selection(ids=(dead_letter,), state=None))
        schemas = {pipeline.name: pipeline.schema for pipeline in opened.pipelines}
    if not found:
        raise NotFound(f"There is no dead letter {dead_letter}; `headgate dead-letters list` shows what there is.")
    if json:
        print_json(_whole(found[0]))
        return
    record = _whole(found[0])
    del record["faults"]
    print_record(record)
    console().print("\nWhat is wrong")
    for fault in found[0].faults:
        console().print(Text(f"* {say(fault, schemas.get(found[0].pipeline))}"), soft_wrap=True)


@app.command
def replay(
    *, filters: Filters = Filters(), dry_run: bool = False, json: bool = False, common: Common = Common()
) -> int:
    """Send dead letters again, as new arrivals.

    Exits with 1 if some could not be sent, or if there are too many for one call.

    Args:
        filters: which.
        dry_run: only say what would go.
        json: print JSON.

    """
    filters.require()
    selection = filters.selection()
    with open_app(common.settings()) as opened:
        require_pipeline(opened, filters.pipeline)
        total = count_dead_letters(opened.database, selection)
        done = send_again(opened, selection, dry_run=dry_run)
    rows = [
        {
            "arrival": each.replay_of,
            "name": each.name,
            "records": each.records or "the whole file",
            "goes_as": each.arrival_id or ("left out" if each.left_out else "(dry run)"),
        }
        for each in done
    ]
    print_json(rows) if json else print_table(rows, empty="No open dead letter is like that.")
    out = [each for each in done if each.left_out]
    for each in out:
        sys.stderr.write(f"headgate: left out: {each.left_out}\n")
    if total > selection.limit:
        sys.stderr.write(f"headgate: {total - selection.limit:,} more are open: run the same command again.\n")
    return int(bool(out) or total > selection.limit)


@app.command
def discard(
    *, filters: Filters = Filters(), dry_run: bool = False, json: bool = False, common: Common = Common()
) -> None:
    """Close dead letters for good; their content stays in the ledger.

    Args:
        filters: which.
        dry_run: only say how many.
        json: print JSON.

    """
    filters.require()
    with open_app(common.settings()) as opened:
        require_pipeline(opened, filters.pipeline)
        ids = opened.dead_letters.ids(filters.selection())
        number = len(ids) if dry_run else opened.dead_letters.discard(ids)
    if json:
        print_json({"discarded": number, "dry_run": dry_run})
    else:
        console().print(f"{count(number, 'dead letter')} {'would be ' if dry_run else ''}discarded.")


def short(letter: DeadLetterRecord, schema: type[dy.Schema] | None) -> dict[str, object]:
    """Make a dead letter's row of the list; the schema says what its rules mean."""
    more = f" (+{len(letter.faults) - 1})" if len(letter.faults) > 1 else ""
    return {
        "id": letter.dead_letter_id,
        "pipeline": letter.pipeline,
        "arrival": letter.arrival_id,
        "row": letter.row_number,
        "what is wrong": f"{say(letter.faults[0], schema)}{more}" if letter.faults else letter.reason,
        "name": letter.name,
        "state": None if letter.state == "open" else letter.state,
    }


def _whole(letter: DeadLetterRecord) -> dict[str, object]:
    record = asdict(letter)
    # Bytes become text; those that are not UTF-8 become escapes, which are readable and exact.
    for name in ("original", "preamble", "path"):
        value = record[name]
        record[name] = _text(value) if isinstance(value, bytes) else value
    del record["envelope"], record["range"]
    if letter.range is not None:
        record |= {"topic": letter.range.topic, "partition": letter.range.partition}
        record |= {"first_offset": letter.range.first, "end_offset": letter.range.end}
    if letter.envelope is not None:
        record |= _of_message(letter.envelope)
    return record


def _of_message(envelope: Envelope) -> dict[str, object]:
    return {
        "offset": envelope.offset,
        "partition": envelope.partition,
        "timestamp": moment(envelope.timestamp_ms),
        "key": None if envelope.key is None else _text(envelope.key),
        "headers": [[name, None if value is None else _text(value)] for name, value in envelope.headers],
        "tombstone": envelope.tombstone,
    }


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")
