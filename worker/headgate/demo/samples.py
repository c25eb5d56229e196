"""The sample files of the demo, and a check for files in the watched folders."""

import shutil
from importlib import resources
from pathlib import Path

from headgate.app import App
from headgate.errors import Misuse

SAMPLES = "samples"  # below the package of the pipelines


def drop_samples(app: App) -> int:
    """Copy the samples into the inbox, each under its final name only once complete; return how many there were.

    Raises:
        Misuse: the pipelines' package has no samples.

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
    """Return whether the ledger does not know a file yet: in a watched folder, or in the spool without an arrival.

    The check follows the direction in which files move, so that it misses none between the two.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    paused = app.sources.paused()  # files there wait for a person
    lying = any(
        path.is_file()
        for pipeline in app.pipelines
        for folder in pipeline.folders
        if folder.after != "leave" and (pipeline.name, folder.name) not in paused
        for path in (app.settings.inbox / folder.path).rglob("*")
        if folder.takes(path.name) and not path.name.startswith(".")
    )
    if lying:
        return True
    spool = app.settings.places.spool
    taken = {str(token.relative_to(spool)) for token in spool.glob("*/*/*")}
    return bool(taken) and bool(taken - app.arrivals.spooled(sorted(taken)))
