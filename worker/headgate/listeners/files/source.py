"""A folder of a pipeline, with its place on disk."""

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from headgate.pipeline import Folder, Pipeline


@dataclass(frozen=True, slots=True)
class Source:
    """A watched folder of one pipeline."""

    pipeline: str
    folder: Folder
    root: bytes  # absolute; bytes, because paths may not be UTF-8

    @property
    def name(self) -> str:
        """The source's name, unique in its pipeline."""
        return self.folder.name

    @property
    def place(self) -> str:
        """Its folder below the spool and the archive: `<pipeline>/<slug of the name>`."""
        return f"{self.pipeline}/{slug(self.name)}"


def sources_of(pipelines: Iterable[Pipeline], inbox: Path) -> tuple[Source, ...]:
    """Return the watched folders of all pipelines; relative ones are below the inbox."""
    return tuple(
        Source(pipeline.name, folder, os.fsencode((inbox / folder.path).absolute()))
        for pipeline in pipelines
        for folder in pipeline.folders
    )


def slug(name: str) -> str:
    """Return a source's name as a single folder name; different names give different slugs."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        return name
    readable = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[-48:]
    return f"{readable}.{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:12]}".lstrip(".")
