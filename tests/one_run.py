"""One run on one file in a process of its own, without Prefect around it: what became of the file, and what it took."""

import asyncio
import json
import resource
import sys
import time
from hashlib import sha256
from pathlib import Path

from headgate.app import open_app
from headgate.flows.course import Course
from headgate.flows.work import work
from headgate.flows.workbench import Workbench, cleared_after
from headgate.model import FilePosition, NewArrival, Stage
from headgate.settings import Settings
from headgate.sinks.postgres import PostgresSink


def peak_mb() -> float:
    """The highest resident size of this process, in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def run(file: Path, named: str, most_mb: int) -> dict[str, object]:
    """Take a file in as an arrival of a pipeline, and bring it to its end; it is moved, not copied.

    Args:
        file: what is dropped; its name tells the format.
        named: the pipeline.
        most_mb: address space that the process may take; with more, it fails instead of the machine.

    """
    resource.setrlimit(resource.RLIMIT_AS, (most_mb * 1024**2, most_mb * 1024**2))
    settings = Settings.load()
    with open_app(settings) as app:
        app.database.migrate()
        app.homes.join()
        pipeline = app.pipeline(named)
        name, size = file.name, file.stat().st_size
        place = settings.places.spool / pipeline.name / "one" / name
        place.parent.mkdir(parents=True)
        file.rename(place)
        (source,) = pipeline.sources
        identity = sha256(name.encode()).digest()
        position = FilePosition(name.encode(), size, 0, identity)
        app.arrivals.open(
            [NewArrival(pipeline.name, source.name, identity, name, position, None, f"{pipeline.name}/one")]
        )
        before, began = peak_mb(), time.monotonic()
        claim = app.claims.claim(pipeline, holder="one", only=None, limit=None)
        bench = Workbench(app, pipeline, claim, settings.places.work / "one", PostgresSink(pipeline))
        with app.claims.holding("one"), cleared_after(bench):
            asyncio.run(work(bench, Course()))
            for arrival_id, error in bench.rejected.items():
                app.claims.reject(bench.arrivals[arrival_id], Stage.PARSE, error)
            chunks = len(bench.chunks)
        seconds = time.monotonic() - began
        arrival, _ = app.arrivals.show(claim.arrivals[0].arrival_id)
        return {
            "state": arrival.state,
            "reason": arrival.reason,
            "detail": arrival.detail,
            "rows_persisted": arrival.rows_persisted,
            "rows_dead": arrival.rows_dead,
            "chunks": chunks,
            "before_mb": before,
            "peak_mb": peak_mb(),
            "seconds": seconds,
        }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
