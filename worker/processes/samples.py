"""The sample files of the demo, and what lies in the watched folders."""

import shutil
from importlib import resources
from pathlib import Path

from worker.app import App
from worker.errors import Misuse

SAMPLES = "samples"  # below the package of the pipelines


def drop_samples(app: App) -> int:
    """Copy the samples into the inbox, each under its own name only when it is whole; how many there were.

    Raises:
        Misuse: the pipelines' package brings no samples.

    """
    package = app.settings.pipelines.partition(":")[0].partition(".")[0]
    samples = Path(str(resources.files(package))) / SAMPLES
    files = sorted(path for path in samples.rglob("*") if path.is_file())
    if not files:
        raise Misuse(f"There are no sample files in {package}/{SAMPLES}; run `headgate up` without --demo.")
    for file in files:
        target = app.settings.inbox / file.relative_to(samples)
        target.parent.mkdir(parents=True, exist_ok=True)
        hidden = target.with_name(f".{target.name}")
        shutil.copyfile(file, hidden)
        hidden.rename(target)
    return len(files)


def on_its_way_in(app: App) -> bool:
    """Whether a file lies in a watched folder, or in the spool without an arrival: the ledger does not know it yet.

    Asked in the direction in which files move, so that none is missed between the two.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    lying = any(
        path.is_file()
        for pipeline in app.pipelines
        for folder in pipeline.folders
        if folder.after != "leave"
        for pattern in folder.patterns
        for path in (app.settings.inbox / folder.path).rglob(pattern)
        if not path.name.startswith(".")
    )
    if lying:
        return True
    spool = app.settings.places.spool
    taken = {str(token.relative_to(spool)) for token in spool.glob("*/*/*")}
    return bool(taken - app.arrivals.spooled(sorted(taken)))
