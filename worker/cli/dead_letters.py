"""`headgate dead-letters`: what was set aside, and the way back."""

from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from cyclopts import App, Parameter
from rich.console import Console

from worker.app import open_app
from worker.cli.common import Common
from worker.cli.output import print_json, print_record, print_table
from worker.errors import NotFound
from worker.ledger.dead_letters import DeadLetterRecord, Selection
from worker.model import Envelope
from worker.records.messages import moment
from worker.replay import replay as send_again

app = App(name="dead-letters", help="What was set aside, and the way back.")


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Filters:
    """Which dead letters are meant; what is left out does not narrow."""

    id: Annotated[tuple[int, ...], Parameter(name="--id")] = ()
    "These numbers."
    pipeline: str | None = None
    "Of this pipeline."
    arrival: int | None = None
    "Of this arrival."
    reason: str | None = None
    "Set aside for this reason."

    def selection(self, *, state: str | None = "open", limit: int = 100_000) -> Selection:
        """The same in the ledger's words."""
        return Selection(self.id, self.pipeline, self.arrival, self.reason, state, limit)

    def require(self) -> None:
        """See to it that nobody sends or discards everything by leaving the options out."""
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
        state: open ones, or others.
        limit: at the most so many.
        json: print JSON.

    """
    with open_app(common.settings()) as opened:
        found = opened.dead_letters.find(filters.selection(state=None if state == "all" else state, limit=limit))
    print_json([_whole(each) for each in found]) if json else print_table([_short(each) for each in found])


@app.command
def show(dead_letter: int, *, json: bool = False, common: Common = Common()) -> None:
    """Show one dead letter: each rule it broke, the values, and the bytes as they came.

    Args:
        dead_letter: its number.
        json: print JSON.

    """
    with open_app(common.settings()) as opened:
        found = opened.dead_letters.find(Selection(ids=(dead_letter,), state=None))
    if not found:
        raise NotFound(f"There is no dead letter {dead_letter}; `headgate dead-letters list` shows what there is.")
    if json:
        print_json(_whole(found[0]))
        return
    record = _whole(found[0])
    faults = record.pop("faults")
    print_record(record)
    Console().print("\nRules broken")
    print_table(faults if isinstance(faults, list) else [])


@app.command
def replay(
    *, filters: Filters = Filters(), dry_run: bool = False, json: bool = False, common: Common = Common()
) -> None:
    """Send dead letters again, as new arrivals.

    Args:
        filters: which.
        dry_run: only say what would go.
        json: print JSON.

    """
    filters.require()
    with open_app(common.settings()) as opened:
        done = send_again(opened, filters.selection(), dry_run=dry_run)
    rows = [
        {
            "arrival": each.replay_of,
            "name": each.name,
            "records": each.records or "the whole file",
            "goes as": "(dry run)" if each.arrival_id is None else each.arrival_id,
        }
        for each in done
    ]
    print_json(rows) if json else print_table(rows, empty="No open dead letter is like that.")


@app.command
def discard(
    *, filters: Filters = Filters(), dry_run: bool = False, json: bool = False, common: Common = Common()
) -> None:
    """Close dead letters for good; what they hold stays in the ledger.

    Args:
        filters: which.
        dry_run: only say how many.
        json: print JSON.

    """
    filters.require()
    with open_app(common.settings()) as opened:
        ids = [each.dead_letter_id for each in opened.dead_letters.find(filters.selection())]
        count = len(ids) if dry_run else opened.dead_letters.discard(ids)
    print_json({"discarded": count, "dry_run": dry_run}) if json else print_table(
        [{"discarded": count, "dry run": dry_run}]
    )


def _short(letter: DeadLetterRecord) -> dict[str, object]:
    first = letter.faults[0] if letter.faults else {}
    more = f" (+{len(letter.faults) - 1})" if len(letter.faults) > 1 else ""
    return {
        "dead letter": letter.dead_letter_id,
        "arrival": letter.arrival_id,
        "pipeline": letter.pipeline,
        "name": letter.name,
        "row": letter.row_number,
        "stage": letter.stage,
        "reason": letter.reason,
        "rule": f"{first.get('rule')}{more}",
        "value": first.get("value"),
        "state": letter.state,
    }


def _whole(letter: DeadLetterRecord) -> dict[str, object]:
    record = asdict(letter)
    # Text where it is text; what is not stays readable, and exact, as escapes.
    for name in ("original", "preamble", "path"):
        value = record[name]
        record[name] = _text(value) if isinstance(value, bytes) else value
    del record["envelope"], record["range"]
    if letter.range is not None:
        record |= {"topic": letter.range.topic, "partition": letter.range.partition}
        record |= {"first offset": letter.range.first, "end offset": letter.range.end}
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
