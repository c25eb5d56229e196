"""How long the first hour's steps take: from a fresh clone to the UI's address, a start, a stop, and single commands.

Package caches are warm: the environment was made here before. Beside the figures stands what takes the time.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
LONGEST = 300.0  # seconds until a step counts as failed
LIMITS = {
    "fresh_s": 25.0,
    "up_again_s": 12.0,
    "help_s": 0.4,
    "broken_s": 1.5,
    "status_s": 0.7,
}
BROKEN = "import dataframely as dy\n\nclass Order(dy.Schema):\n    id = dy.Integer64()\n"


def clean() -> dict[str, str]:
    """Our environment without what is meant for Headgate or Prefect."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("HEADGATE_", "PREFECT_", "MAKE"))}


def started(command: list[str], folder: Path, env: Mapping[str, str]) -> tuple["subprocess.Popen[str]", float]:
    """Start `headgate up` in a folder; seconds until it prints the address of the UI.

    Raises:
        RuntimeError: it ended, or took too long.

    """
    began = time.monotonic()
    process = subprocess.Popen(
        command, cwd=folder, env=dict(env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said = []
    for line in process.stdout or ():
        said.append(line)
        if line.startswith("Prefect UI:"):
            return process, time.monotonic() - began
        if time.monotonic() - began > LONGEST:
            break
    process.kill()
    raise RuntimeError(f"{' '.join(command)}: no address of the UI\n{''.join(said)}")


def stopped(process: "subprocess.Popen[str]", pid: int) -> float:
    """Stop it as Ctrl-C does; seconds until it has ended."""
    began = time.monotonic()
    os.kill(pid, signal.SIGINT)
    process.communicate(timeout=LONGEST)
    return time.monotonic() - began


def took(command: list[str], folder: Path, env: Mapping[str, str], code: int, times: int = 5) -> float:
    """Run a command some times; the median in seconds.

    Raises:
        RuntimeError: it ended with another exit code.

    """
    seconds = []
    for _ in range(times):
        began = time.monotonic()
        done = subprocess.run(command, cwd=folder, env=dict(env), capture_output=True, text=True, check=False)
        seconds.append(time.monotonic() - began)
        if done.returncode != code:
            raise RuntimeError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return statistics.median(seconds)


def measure(folder: Path) -> dict[str, float]:
    """Take all figures, in a folder that is empty."""
    env = clean()
    clone = folder / "clone"
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], check=True, env=env)
    figures: dict[str, float] = {}
    headgate = str(clone / ".venv/bin/headgate")
    run = [headgate, "up", "--demo"]

    began = time.monotonic()
    subprocess.run(
        ["make", ".venv/.run", f"PYTHON={sys.executable}"], cwd=clone, env=env, check=True, capture_output=True
    )
    figures["install_s"] = time.monotonic() - began
    process, seconds = started(run, clone, env)
    figures["fresh_s"] = figures["install_s"] + seconds  # as `make run`: install, then start
    figures["first_start_s"] = seconds
    stopped(process, process.pid)

    began = time.monotonic()
    subprocess.run(
        ["make", ".venv/.run", f"PYTHON={sys.executable}"], cwd=clone, env=env, check=True, capture_output=True
    )
    again = time.monotonic() - began
    process, seconds = started(run, clone, env)
    figures["again_s"] = again + seconds
    stopped(process, process.pid)

    up = [headgate, "up"]
    shutil.rmtree(clone / ".headgate")
    process, figures["up_first_s"] = started(up, clone, env)
    stopped(process, process.pid)
    process, figures["up_again_s"] = started(up, clone, env)
    figures["status_s"] = took([headgate, "status"], clone, env, 0)
    figures["stop_s"] = stopped(process, process.pid)

    figures["help_s"] = took([headgate, "--help"], clone, env, 0)
    (clone / "broken.py").write_text(BROKEN, encoding="utf-8")
    figures["broken_s"] = took([headgate, "up", "--app", "broken:orders"], clone, env, 2)
    return {name: round(value, 2) for name, value in figures.items()}


def main() -> None:
    """Print a table, and write the figures where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headgate-start-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # PostgreSQL's stand-in user must reach it
        figures = measure(Path(folder))
    sys.stdout.write(f"{'figure':<16}{'seconds':>8}  wanted\n")
    for name, value in figures.items():
        wanted = f"<= {LIMITS[name]:g}" if name in LIMITS else ""
        sys.stdout.write(f"{name:<16}{value:>8.2f}  {wanted}\n")
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
