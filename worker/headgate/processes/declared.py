"""The declarations, checked before `headgate up` starts anything, so that a mistake is reported at once."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from headgate.errors import BadPipeline, HeadgateError
from headgate.settings import Settings


@dataclass(frozen=True, slots=True)
class Declared:
    """The declarations of the pipelines' module."""

    names: tuple[str, ...]  # of the pipelines
    digest: str  # of their source
    folders: tuple[str, ...]  # the watched folders, absolute


def look_at_declarations(settings: Settings) -> Callable[[], Declared]:
    """Load the pipelines in a fork, so that this process does not keep the 40 MB that polars takes.

    Call before this process starts a thread.

    Returns:
        A function that waits for the fork and returns what it found. It raises BadPipeline if the pipelines cannot be
        loaded; the text says where and why.

    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _tell(settings, writer)
    os.close(writer)

    def answer() -> Declared:
        with open(reader, encoding="utf-8") as told:  # noqa: PTH123 - a descriptor
            text = told.read()
        os.waitpid(child, 0)
        if not text:
            raise BadPipeline(f"HEADGATE_PIPELINES={settings.pipelines}: the process that imported it died.")
        found = json.loads(text)
        if "error" in found:
            raise BadPipeline(found["error"])
        return Declared(tuple(found["names"]), found["digest"], tuple(found["folders"]))

    return answer


def _tell(settings: Settings, writer: int) -> None:
    """Load the pipelines, write what they declare, and end this process silently."""
    code = 1
    try:
        from headgate.pipeline.loading import digest_of, load_pipelines  # noqa: PLC0415 - in the fork alone

        try:
            names, digest = digest_of(settings.pipelines)
            folders = tuple(
                str((settings.inbox / folder.path).absolute())
                for pipeline in load_pipelines(settings.pipelines)
                for folder in pipeline.folders
            )
            told: dict[str, object] = asdict(Declared(names, digest, folders))
        except HeadgateError as error:
            told = {"error": str(error)}
        with open(writer, "w", encoding="utf-8") as answer:
            json.dump(told, answer)
        code = 0
    finally:
        os._exit(code)


def make_folders(found: Declared) -> list[Path]:
    """Create the watched folders, so that files can be dropped at once; the listener reports those it cannot create."""
    made = []
    for folder in found.folders:
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        made.append(Path(folder))
    return made
