"""The command line in this process: hundreds of commands in the time that a few processes take to start."""

import contextlib
import importlib
import io
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headgate.cli import main


@dataclass(frozen=True)
class Said:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str


def run_here(*command: str, folder: Path, env: Mapping[str, str], columns: int | None = None) -> Said:
    """Run a command in a folder with these variables of ours and no others; all that it changes is put back.

    Args:
        command: the command and its options.
        folder: where it runs; modules there can be imported, under names that may come again with other text.
        env: variables; HEADGATE_ and PREFECT_ ones of the tests' own environment are left out.
        columns: the width of a terminal; None: the output is piped.

    """
    before, cwd, path, modules = dict(os.environ), Path.cwd(), list(sys.path), set(sys.modules)
    writes = sys.dont_write_bytecode
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    clean = {name: value for name, value in before.items() if not name.startswith(("HEADGATE_", "PREFECT_"))}
    terminal = {} if columns is None else {"COLUMNS": str(columns), "TTY_COMPATIBLE": "1", "TERM": "dumb"}
    out, err = _Terminal(columns is not None), io.StringIO()
    code = 0
    try:
        os.environ.clear()
        os.environ.update({**clean, "NO_COLOR": "1", **terminal, **env})
        os.chdir(folder)
        # Python takes a module of the same second and the same size for the one that it has compiled.
        sys.dont_write_bytecode = True
        importlib.invalidate_caches()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main(list(command))
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
    finally:
        os.chdir(cwd)
        sys.dont_write_bytecode = writes
        os.environ.clear()
        os.environ.update(before)
        sys.path[:] = path
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for name in set(sys.modules) - modules:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
                del sys.modules[name]
    return Said(code, out.getvalue(), err.getvalue())


class _Terminal(io.StringIO):
    """Standard output that is a terminal, or is not."""

    def __init__(self, terminal: bool) -> None:  # noqa: FBT001 - what it is
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal
