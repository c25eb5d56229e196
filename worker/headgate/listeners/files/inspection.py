"""Looking at the files of a source: which there are, and what each is like right now."""

import os
from collections.abc import Iterator
from contextlib import suppress

from headgate.listeners.files.disk import entries_beneath, folder_beneath, has_writer, opened
from headgate.listeners.files.readiness import Stamp, marker_of, wanted
from headgate.listeners.files.source import Source
from headgate.listeners.files.untaken import Untaken


def files_beneath(
    source: Source, folder: bytes, untaken: Untaken | None = None
) -> Iterator[tuple[Source, bytes, Stamp]]:
    """Yield the files below a folder of a source whose names are wanted; note the others in `untaken`."""
    for path, entry in entries_beneath(source.root, folder, recursive=source.folder.recursive):
        # A folder that may be listed but not entered, or a stale handle, must not end the scan of all others.
        with suppress(OSError):
            if wanted(os.path.basename(path), source.folder):
                yield source, path, Stamp.of(entry.stat(follow_symlinks=False))
            elif untaken is not None:
                untaken.note_name(source, path, entry)


def inspect(source: Source, path: bytes) -> tuple[Stamp, bool, bool | None]:
    """Return a file's stamp, whether its marker is there, and whether it has a writer (None if unknown)."""
    folder, name = os.path.split(path)
    with folder_beneath(source.root, folder) as descriptor:
        stamp = Stamp.of(os.lstat(name, dir_fd=descriptor))
        if marker := marker_of(name, source.folder.ready):
            try:
                os.lstat(marker, dir_fd=descriptor)
            except FileNotFoundError:
                return stamp, False, False
        if not stamp.regular:
            return stamp, True, False
        with opened(name, descriptor) as file:
            return stamp, True, has_writer(file)
