"""`headgate rows` and `headgate psql`: what is in the database."""

from typing import Annotated

from cyclopts import Parameter
from cyclopts.types import PositiveInt
from rich.text import Text

from headgate.cli.common import Common, require_pipeline
from headgate.cli.output import console, print_json, print_record, table
from headgate.words import count

MOST_COLUMNS = 8  # of a table on a terminal; a wider row is shown column by column


def rows(pipeline: str, *, last: PositiveInt = 10, json: bool = False, common: Common = Common()) -> None:
    """Show the newest rows of a pipeline's table, and which arrival each came with.

    Args:
        pipeline: its name.
        last: at most this many.
        json: print JSON.

    """
    from headgate.app import open_app
    from headgate.sinks.reading import newest_rows

    with open_app(common.settings()) as opened:
        require_pipeline(opened, pipeline)
        sink = opened.pipeline(pipeline).sink.name
        with opened.database.transaction() as connection:
            found = newest_rows(connection, sink, last)
    if json:
        print_json(found, ours=False)
        return
    out = console()
    # Print values as the table has them: a year is not 2,013, and a null is not an empty text.
    texts = [{name: "null" if value is None else str(value) for name, value in each.items()} for each in found]
    if not found:
        out.print(f"Table {sink} has no rows yet.")
        return
    if len(found[0]) <= MOST_COLUMNS or not out.is_terminal:
        out.print(table(texts))
    else:
        for each in texts:
            *_, arrival, row = each.values()
            out.print(Text(f"row {row} of arrival {arrival}", "bold cyan"))
            print_record(each)
    out.print(f"\nThe newest {count(len(found), 'row')} of {sink}.")


def psql(
    *arguments: Annotated[str, Parameter(allow_leading_hyphen=True)],
    common: Common = Common(),
) -> int:
    """Open the database in psql: the rows in `public`, the ledger in `headgate`.

    Args:
        arguments: passed on to psql, such as -c 'select count(*) from flights'.

    """
    from headgate.operations.psql import run

    return run(common.settings(), arguments)
