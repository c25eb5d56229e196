"""The example project that `headgate init` creates as a starting point."""

import shutil
from dataclasses import dataclass
from pathlib import Path

EXAMPLE = Path(__file__).parent / "example"
DOT = "dot-"  # stands for a leading dot, because tools would treat the example's own dotfiles as theirs


@dataclass(frozen=True, slots=True)
class Made:
    """The result of writing one file of the example."""

    path: Path
    new: bool  # False: a file was there already, and was left as it is


def make_project(folder: Path) -> list[Made]:
    """Write the example project into a folder; leave existing files as they are.

    Args:
        folder: the folder; created if it does not exist.

    Raises:
        OSError: a file or folder cannot be written.

    """
    made = []
    for source in sorted(path for path in EXAMPLE.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        path = folder / source.relative_to(EXAMPLE)
        path = path.with_name(path.name.replace(DOT, ".", 1) if path.name.startswith(DOT) else path.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("xb") as target:  # fails if anything exists, even a dangling link
                target.write(source.read_bytes())
        except FileExistsError:
            made.append(Made(path, new=False))
        else:
            shutil.copymode(source, path)
            made.append(Made(path, new=True))
    return made
