"""The `headgate` command: parses, calls, prints; no logic.

Exit codes: 0 success; 1 the command ran, and the answer is no (something is not persisted, a check failed);
2 something has to be changed first, reported in one line. A process that `headgate up` started ends with 75 instead if
another start may succeed.
"""

import importlib.metadata
import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from headgate.cli import processes
from headgate.embedded.orphan import SUPERVISED
from headgate.errors import MISUSE, TRY_AGAIN, HeadgateError, Transient

app = App(
    name="headgate",
    help="Event-driven ingestion on Prefect: each row once, in PostgreSQL, whatever is killed on the way.",
    version=importlib.metadata.version("headgate"),
    version_flags=["--version"],
)
processes.register(app)
# By path, so that each is imported only when it runs: they load polars, which other commands do not need.
for path, name, text in (
    ("project:init", "init", "Make an example project to begin with."),
    (
        "status:healthy",
        "healthy",
        "Say by its heartbeat whether a process of this host is at work; exit code 1 if not.",
    ),
    (
        "services:prefect_server",
        "prefect-server",
        "Serve the Prefect server, set up for Headgate, on a database of your own.",
    ),
    ("status:status", "status", "Show how things are: what waits, what runs, and what a person has to see to."),
    ("status:why", "why", "Say why a file is not taken in, or what became of it."),
    ("tables:rows", "rows", "Show the newest rows of a pipeline's table."),
    ("tables:psql", "psql", "Open the database in psql."),
    ("arrivals:app", "arrivals", "What arrived, and what became of it."),
    ("automations:app", "automations", "Automations: plan, apply and adopt them, say why one fired or not, test them."),
    ("dead_letters:app", "dead-letters", "What was set aside, and the way back."),
    ("sources:app", "sources", "Where arrivals come from, and which of these sources are paused."),
    ("alerts:app", "alerts", "What is watched, what is broken, and what could not be told."),
    ("homes:app", "homes", "The homes of the ledger: where they are, and who serves them."),
    ("topics:app", "topics", "How far the partitions of Kafka topics are taken in."),
    (
        "status:doctor",
        "doctor",
        "Check everything that Headgate rests on, and say what to do; exit code 1 if a check failed.",
    ),
):
    app.command(f"headgate.cli.{path}", name=name, help=text)
app.register_install_completion_command()


def main(tokens: Sequence[str] | None = None) -> None:
    """Run the command line; a HeadgateError is one line on standard error, and exit code 2 or 75.

    Args:
        tokens: the command and its options; those of this process if left out.

    """
    try:
        result = app(sys.argv[1:] if tokens is None else tokens, exit_on_error=False, result_action="return_value")
    except CycloptsError:
        sys.exit(MISUSE)  # cyclopts has printed what is wrong with the command
    except HeadgateError as error:
        sys.stderr.write(f"headgate: {error}\n")
        sys.exit(TRY_AGAIN if isinstance(error, Transient) and SUPERVISED in os.environ else MISUSE)
    except BrokenPipeError:
        # The reader closed the pipe, as `| head` does. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise  # not about a file that the user could fix: a bug of ours
        sys.stderr.write(
            f"headgate: {error.filename}: {error.strerror}; "
            f"give user {os.getuid()} the right to use it, or choose another.\n"
        )
        sys.exit(MISUSE)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(result if isinstance(result, int) else 0)
