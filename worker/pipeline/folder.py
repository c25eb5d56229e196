"""A watched folder as a source, and when a file in it is complete."""

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from worker.pipeline.checks import one_of, require, texts

After = Literal["archive", "delete", "leave"]
Duplicates = Literal["content", "keep"]


@dataclass(frozen=True, slots=True)
class Quiet:
    """A file is complete when no process has it open for writing and it has not changed for a while.

    Args:
        seconds: how long size and modification time must stand still.

    """

    seconds: float = 0.1

    def __post_init__(self) -> None:
        require(0 <= self.seconds <= 3600, f"Quiet(seconds={self.seconds}): write 0 to 3600 seconds.")  # noqa: PLR2004


@dataclass(frozen=True, slots=True)
class Marker:
    """A file is complete when its marker file stands beside it: `orders.csv` when `orders.csv.done` is there.

    Args:
        suffix: what the marker adds to the file's name. The marker is removed once the file is taken in.

    """

    suffix: str = ".done"

    def __post_init__(self) -> None:
        require(
            self.suffix.startswith(".") and "/" not in self.suffix and len(self.suffix) > 1,
            f"Marker({self.suffix!r}): write a suffix that begins with a dot, such as Marker('.done').",
        )


@dataclass(frozen=True, slots=True)
class Folder:
    """A watched folder.

    Args:
        path: the folder; if relative, below the inbox (`HEADGATE_INBOX`).
        patterns: what names are taken in, as shell globs on the file's name; hidden and temporary names never are.
        recursive: whether folders inside it are watched too.
        ready: when a file is complete: `Quiet()` or `Marker(".done")`.
        after: what becomes of a file once its rows are committed. A rejected file always goes to the rejected folder.
        duplicates: "content" records the same bytes again as a duplicate, "keep" takes them in again.

    """

    path: str | Path
    patterns: tuple[str, ...] = ("*.csv", "*.csv.gz", "*.jsonl", "*.jsonl.gz", "*.ndjson", "*.json", "*.parquet")
    recursive: bool = True
    ready: Quiet | Marker = field(default_factory=Quiet)
    after: After = "archive"
    duplicates: Duplicates = "content"

    def __post_init__(self) -> None:
        require(str(self.path).strip(), 'Folder(path=""): name a folder, such as Folder("orders").')
        require(".." not in PurePosixPath(self.path).parts, f"Folder({str(self.path)!r}): write it without '..'.")
        object.__setattr__(self, "patterns", texts("Folder", "patterns", self.patterns))
        require(self.patterns, "Folder(patterns=[]): nothing would ever match; write patterns=['*'] to take all.")
        for pattern in self.patterns:
            require("/" not in pattern, f"Folder(patterns=[{pattern!r}]): a pattern is of the file's name alone.")
        one_of("Folder", "after", self.after, After)
        one_of("Folder", "duplicates", self.duplicates, Duplicates)
        require(
            isinstance(self.ready, Quiet | Marker),
            "Folder(ready=...): write ready=Quiet(0.1) or ready=Marker('.done').",
        )

    @property
    def name(self) -> str:
        """The source's name, unique in its pipeline."""
        return str(self.path)
