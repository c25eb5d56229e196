"""A watched folder as a source, and when a file in it is complete."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Literal

from headgate.pipeline.checks import one_of, require, texts
from headgate.pipeline.formats import ENDINGS, Format

Afterwards = Literal["archive", "delete", "leave"]
Duplicates = Literal["content", "keep"]


@dataclass(frozen=True, slots=True)
class Quiet:
    """A file is complete when no process has it open for writing and it has not changed for a while.

    Args:
        seconds: how long size and modification time must stay unchanged.

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
    r"""A watched folder.

    Args:
        path: the folder; a relative path is below the inbox (`HEADGATE_INBOX`).
        patterns: which names are taken in, as case-insensitive shell globs on the file's name; hidden and temporary
            names never are.
        recursive: whether its subfolders are watched too.
        ready: when a file is complete: `Quiet()` or `Marker(".done")`.
        after: what happens to a file once its rows are committed. A rejected file always goes to the rejected folder.
        duplicates: "content" records the same bytes again as a duplicate, "keep" takes them in again.
        readers: how to read files whose names do not tell their format, by a glob on the name without `.gz`, such as
            `{"*.tsv": Csv(delimiter="\t")}`; such files are taken in too.

    """

    path: str | Path
    patterns: tuple[str, ...] = tuple(f"*{ending}" for ending in ENDINGS)
    recursive: bool = True
    ready: Quiet | Marker = field(default_factory=Quiet)
    after: Afterwards = "archive"
    duplicates: Duplicates = "content"
    readers: Mapping[str, Format] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        require(str(self.path).strip(), 'Folder(path=""): name a folder, such as Folder("orders").')
        require(".." not in PurePosixPath(self.path).parts, f"Folder({str(self.path)!r}): write it without '..'.")
        object.__setattr__(self, "patterns", texts("Folder", "patterns", self.patterns))
        require(self.patterns, "Folder(patterns=[]): nothing would ever match; write patterns=['*'] to take all.")
        for pattern in (*self.patterns, *self.readers):
            require("/" not in pattern, f"Folder(patterns=[{pattern!r}]): a pattern is of the file's name alone.")
        for pattern, reader in self.readers.items():
            require(
                isinstance(reader, Format),
                f"Folder(readers={{{pattern!r}: {reader!r}}}): write a format, such as Csv(delimiter=';') or Json().",
            )
        one_of("Folder", "after", self.after, Afterwards)
        one_of("Folder", "duplicates", self.duplicates, Duplicates)
        require(
            isinstance(self.ready, Quiet | Marker),
            "Folder(ready=...): write ready=Quiet(0.1) or ready=Marker('.done').",
        )

    @property
    def name(self) -> str:
        """The source's name, unique in its pipeline."""
        return str(self.path)

    @property
    def globs(self) -> tuple[str, ...]:
        """All globs of names that are taken in; those of `readers` also match with `.gz` appended."""
        return (*self.patterns, *self.readers, *(f"{pattern}.gz" for pattern in self.readers))

    def takes(self, name: str) -> bool:
        """Return whether a file of this name is taken in."""
        return _matches(name, self.patterns) or self.reader(name) is not None

    def reader(self, name: str) -> Format | None:
        """Return how a file of this name is read, or None if the folder does not say."""
        bare = name[: -len(".gz")] if name.lower().endswith(".gz") else name
        return next((form for pattern, form in self.readers.items() if _matches(bare, (pattern,))), None)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)
