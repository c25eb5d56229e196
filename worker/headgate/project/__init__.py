"""The example project: what `headgate init` makes, to begin a project of one's own with."""

import shutil
from dataclasses import dataclass
from pathlib import Path

EXAMPLE = Path(__file__).parent / "example"
DOT = "dot-"  # begins a name that begins with a dot in the project: tools would take the example's own for theirs


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a file of the example."""

    path: Path
    new: bool  # False: there was one already, and it was left as it is


def make_project(folder: Path) -> list[Made]:
    """Write the example project into a folder, and leave each file that is there as it is.

    Args:
        folder: made if it is not there.

    Raises:
        OSError: something cannot be written.

    """
    made = []
    for source in sorted(path for path in EXAMPLE.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        path = folder / source.relative_to(EXAMPLE)
        path = path.with_name(path.name.replace(DOT, ".", 1) if path.name.startswith(DOT) else path.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("xb") as target:  # refuses what is there, a link that leads nowhere too
                target.write(source.read_bytes())
        except FileExistsError:
            made.append(Made(path, new=False))
        else:
            shutil.copymode(source, path)
            made.append(Made(path, new=True))
    return made
