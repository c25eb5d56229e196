"""The `headgate` command: parses, calls, prints; no logic.

Exit codes: 0 all went well; 1 it was done, and the answer is no (something is not persisted, a check failed);
2 something has to be changed first, said in one line.
"""

import importlib.metadata
import os
import sys

from cyclopts import App

from worker.cli import processes
from worker.errors import HeadgateError

app = App(
    name="headgate",
    help="Event-driven ingestion on Prefect: each row once, in PostgreSQL, whatever is killed on the way.",
    version=importlib.metadata.version("headgate"),
    version_flags=["--version"],
)
processes.register(app)
# By their paths, so that each is imported when it is asked for: they load polars, which the others do without.
for path, name, text in (
    ("status:status", "status", "Show what became of all that arrived, pipeline by pipeline."),
    ("arrivals:app", "arrivals", "What arrived, and what became of it."),
    ("dead_letters:app", "dead-letters", "What was set aside, and the way back."),
    ("topics:app", "topics", "How far the partitions of Kafka topics are taken in."),
    (
        "status:doctor",
        "doctor",
        "Check everything that Headgate rests on, and say what to do; exit code 1 if a check failed.",
    ),
):
    app.command(f"worker.cli.{path}", name=name, help=text)
app.register_install_completion_command()


def main() -> None:
    """Run the command line; an error of ours is one line on standard error, and exit code 2."""
    try:
        result = app(exit_on_error=True, result_action="return_value")
    except HeadgateError as error:
        sys.stderr.write(f"headgate: {error}\n")
        sys.exit(2)
    except BrokenPipeError:
        # Whoever read has had enough: `| head`. Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise  # no file that a person could mend: a fault of ours
        sys.stderr.write(
            f"headgate: {error.filename}: {error.strerror}; see to it that we may use it, or name another.\n"
        )
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(result if isinstance(result, int) else 0)
