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


def lying(app: App) -> bool:
    """Whether a file lies in a watched folder that the listener is to take away."""
    return any(
        path.is_file()
        for pipeline in app.pipelines
        for folder in pipeline.sources
        if folder.after != "leave"
        for pattern in folder.patterns
        for path in (app.settings.inbox / folder.path).rglob(pattern)
        if not path.name.startswith(".")
    )
