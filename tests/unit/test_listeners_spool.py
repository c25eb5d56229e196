"""Files taken out of real folders."""

import errno
import hashlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from headgate.errors import FileUnsettled
from headgate.listeners.files.disk import folder_beneath, has_writer, rename_new
from headgate.listeners.files.intake import arrival_of, fingerprint, printable
from headgate.listeners.files.readiness import marker_of
from headgate.listeners.files.source import Source, slug
from headgate.listeners.files.spool import OUTPOST, Spool
from headgate.model import Places, Reason
from headgate.pipeline import Afterwards, Folder, Marker, Quiet

OTHER = "/dev/shm"  # noqa: S108 - another file system; only fresh folders are made there
BYTES = b"id,name\n1,a\n"
NAMES = [b"a.csv", b"deep/er/a.csv", b"caf\xe9 \\ \n.csv", b"x" * 251 + b".csv"]


def places_in(home: Path) -> Places:
    return Places(home / "spool", home / "archive", home / "rejected", home / "work")


def source_in(root: Path, *, after: Afterwards = "archive", ready: Quiet | Marker | None = None) -> Source:
    root.mkdir(parents=True, exist_ok=True)
    return Source("orders", Folder("in", after=after, ready=ready or Quiet()), os.fsencode(root))


def drop(source: Source, path: bytes, content: bytes = BYTES) -> bytes:
    place = os.path.join(source.root, path)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place, "wb") as file:
        file.write(content)
    return place


def files_in(folder: Path | bytes) -> set[bytes]:
    root = os.fsencode(folder)
    return {os.path.join(at, name) for at, _, names in os.walk(root) for name in names}


@pytest.fixture(params=["same file system", "other file system"])
def inbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder from which a rename leads to the spool, and one from which none does."""
    if request.param == "same file system":
        yield tmp_path / "inbox"
        return
    with tempfile.TemporaryDirectory(dir=OTHER) as folder:
        assert os.stat(folder).st_dev != os.stat(tmp_path).st_dev
        yield Path(folder) / "inbox"


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(places=places_in(tmp_path))


@pytest.mark.parametrize("path", NAMES)
def test_a_taken_file_is_out_of_the_inbox_and_in_the_spool_byte_for_byte(
    inbox: Path, spool: Spool, path: bytes
) -> None:
    source = source_in(inbox)
    place = drop(source, path)
    mtime = os.stat(place).st_mtime_ns

    sealed = spool.seal(spool.take(source, path))
    spool.flush([sealed])
    spool.acknowledge(sealed.held)

    assert files_in(inbox) == set()
    kept = os.path.join(spool.root, os.fsencode(sealed.held.place), path)
    assert files_in(spool.root) == {kept}
    with open(kept, "rb") as file:
        assert file.read() == BYTES
    assert sealed.position.path == path
    assert sealed.position.size == len(BYTES)
    assert sealed.position.mtime_ns == mtime == os.stat(kept).st_mtime_ns
    assert sealed.position.sha256 == hashlib.sha256(BYTES).digest()
    assert OUTPOST not in b"".join(os.path.join(at, *names) for at, names, _ in os.walk(os.fsencode(inbox)))


@pytest.mark.parametrize("path", NAMES)
def test_what_a_killed_process_took_is_found_with_its_source_and_path(inbox: Path, spool: Spool, path: bytes) -> None:
    source = source_in(inbox)
    drop(source, path)
    held = spool.take(source, path)
    assert list(spool.left_over([source])) == [held]


def test_a_rename_that_reports_an_error_although_it_took_place_loses_nothing(
    tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer of an NFS server may be lost: the client asks again, and is told that the file does not exist."""

    def answer_lost(source: bytes, target: bytes, *, src_dir_fd: int) -> None:
        rename(source, target, src_dir_fd=src_dir_fd)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), source)

    rename = os.rename
    source = source_in(tmp_path / "inbox")
    drop(source, b"a.csv")
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", answer_lost)
        held = spool.take(source, b"a.csv")
    assert held.moved
    assert spool.seal(held).position.sha256 == hashlib.sha256(BYTES).digest()


def test_what_a_killed_process_took_belongs_to_the_source_that_wanted_it(spool: Spool) -> None:
    """Two pipelines may share a folder; on another file system the bytes are still in it."""
    with tempfile.TemporaryDirectory(dir=OTHER) as folder:
        root = os.fsencode(folder)
        json = Source("orders", Folder("in", patterns=("*.json",)), root)
        csv = Source("weather", Folder("in", patterns=("*.csv",)), root)
        drop(json, b"a.json")
        held = spool.take(json, b"a.json")
        assert list(spool.left_over([csv, json])) == [held]
        assert list(spool.left_over([json, csv])) == [held]
        assert len(list(spool.left_over([csv]))) == 1, "if no other is declared, it is not left behind"


def test_after_a_kill_in_the_middle_of_a_copy_the_original_is_copied_again(spool: Spool) -> None:
    with tempfile.TemporaryDirectory(dir=OTHER) as folder:
        source = source_in(Path(folder))
        drop(source, b"a.csv")
        held = spool.take(source, b"a.csv")
        token = os.path.join(spool.root, os.fsencode(held.place))
        os.makedirs(token)
        for half in (b".copy", b"a.csv"):
            with open(os.path.join(token, half), "wb") as file:
                file.write(BYTES[:3])

        [found] = spool.left_over([source])
        assert spool.seal(found).position.sha256 == hashlib.sha256(BYTES).digest()
        assert files_in(spool.root) == {os.path.join(token, b"a.csv")}


def test_empty_token_folders_do_not_stay(tmp_path: Path, spool: Spool) -> None:
    source = source_in(tmp_path / "inbox")
    token = tmp_path / "spool" / "orders" / "in" / "token" / "deep"
    token.mkdir(parents=True)
    assert list(spool.left_over([source])) == []
    assert not token.parent.exists()


def test_a_file_with_a_writer_is_held_until_the_writer_is_done(inbox: Path, spool: Spool) -> None:
    source = source_in(inbox)
    with open(drop(source, b"a.csv"), "ab", buffering=0) as writer:
        held = spool.take(source, b"a.csv")
        with pytest.raises(FileUnsettled):
            spool.seal(held)
        writer.write(b"2,b\n")
    assert spool.seal(held).position.sha256 == hashlib.sha256(BYTES + b"2,b\n").digest()


def test_a_second_name_of_the_file_cannot_change_what_was_taken(tmp_path: Path, spool: Spool) -> None:
    source = source_in(tmp_path / "inbox")
    original = tmp_path / "original"
    original.write_bytes(BYTES)
    os.link(original, tmp_path / "inbox" / "a.csv")
    sealed = spool.seal(spool.take(source, b"a.csv"))
    original.write_bytes(b"changed")
    kept = tmp_path / "spool" / sealed.held.place / "a.csv"
    assert kept.read_bytes() == BYTES


def test_a_source_that_leaves_its_files_is_copied_and_not_touched(inbox: Path, spool: Spool) -> None:
    source = source_in(inbox, after="leave")
    place = drop(source, b"a.csv")
    before = os.stat(place)
    sealed = spool.seal(spool.take(source, b"a.csv"))
    spool.acknowledge(sealed.held)
    assert files_in(inbox) == {place}
    assert os.stat(place).st_ino == before.st_ino
    assert len(files_in(spool.root)) == 1


def test_a_symbolic_link_is_moved_aside_and_never_followed(tmp_path: Path, spool: Spool) -> None:
    source = source_in(tmp_path / "inbox")
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (tmp_path / "inbox" / "a.csv").symlink_to(secret)
    sealed = spool.seal(spool.take(source, b"a.csv"))
    assert sealed.problem is Reason.UNSAFE
    assert (tmp_path / "spool" / sealed.held.place / "a.csv").readlink() == secret
    assert sealed.position.sha256 == b""


def test_a_fifo_and_a_socket_are_moved_aside_and_never_opened(tmp_path: Path, spool: Spool) -> None:
    source = source_in(tmp_path / "inbox")
    os.mkfifo(tmp_path / "inbox" / "f.csv")
    # A socket's address may be no longer than 107 bytes.
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/s")
        os.rename(f"{folder}/s", tmp_path / "inbox" / "s.csv")
    for name in (b"f.csv", b"s.csv"):
        sealed = spool.seal(spool.take(source, name))
        assert sealed.problem is Reason.NOT_A_FILE
        assert sealed.kept
    assert files_in(tmp_path / "inbox") == set()


def test_a_folder_with_the_name_of_a_file_stays_where_it_is(tmp_path: Path, spool: Spool) -> None:
    source = source_in(tmp_path / "inbox")
    (tmp_path / "inbox" / "x.csv").mkdir()
    first, second = (arrival_of(spool.seal(spool.take(source, b"x.csv"))) for _ in range(2))
    assert first.reason is Reason.NOT_A_FILE
    assert first.spool is None
    assert first.identity == second.identity
    assert (tmp_path / "inbox" / "x.csv").is_dir()


def test_no_way_leads_out_of_the_folder_through_a_link_to_a_folder(tmp_path: Path, spool: Spool) -> None:
    source = source_in(tmp_path / "inbox")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.csv").write_bytes(BYTES)
    (tmp_path / "inbox" / "sub").symlink_to(outside)
    with pytest.raises(OSError, match="sub"):
        spool.take(source, b"sub/a.csv")
    assert (outside / "a.csv").exists()
    with pytest.raises(OSError, match="sub"), folder_beneath(source.root, b"sub"):
        pass


def test_a_file_that_went_away_leaves_nothing_in_the_spool(inbox: Path, spool: Spool) -> None:
    source = source_in(inbox)
    with pytest.raises(FileNotFoundError):
        spool.take(source, b"a.csv")
    assert list(spool.left_over([source])) == []


def test_a_marker_goes_with_its_file_so_that_it_cannot_vouch_for_the_next_one(inbox: Path, spool: Spool) -> None:
    source = source_in(inbox, ready=Marker(".done"))
    drop(source, b"a.csv")
    drop(source, b"a.csv.done", b"")
    spool.take(source, b"a.csv")
    assert not (inbox / "a.csv.done").exists()


def test_a_marker_that_a_kill_left_behind_is_removed_unless_a_new_file_stands_beside_it(
    inbox: Path, spool: Spool
) -> None:
    source = source_in(inbox, ready=Marker(".done"))
    for name in (b"a.csv", b"b.csv"):
        drop(source, name)
        spool.take(source, name)
        drop(source, name + b".done", b"")
    drop(source, b"b.csv", b"new")
    assert len(list(spool.left_over([source]))) == 2
    assert not (inbox / "a.csv.done").exists()
    assert (inbox / "b.csv.done").exists()


def test_the_same_file_dropped_again_is_an_arrival_of_its_own_with_the_same_content(
    tmp_path: Path, spool: Spool
) -> None:
    """A file moved back from the archive keeps its times: it must be recorded as a duplicate, not vanish."""
    source = source_in(tmp_path / "inbox")
    arrivals = []
    for _ in range(2):
        place = drop(source, b"a.csv")
        os.utime(place, ns=(0, 0))
        arrivals.append(arrival_of(spool.seal(spool.take(source, b"a.csv"))))
    first, second = arrivals
    assert first.identity != second.identity
    assert first.content_key == second.content_key is not None


def test_a_file_that_stays_is_the_same_arrival_until_it_changes(tmp_path: Path, spool: Spool) -> None:
    source = source_in(tmp_path / "inbox", after="leave")
    drop(source, b"a.csv")
    first, second = (arrival_of(spool.seal(spool.take(source, b"a.csv"))) for _ in range(2))
    drop(source, b"a.csv", b"other")
    third = arrival_of(spool.seal(spool.take(source, b"a.csv")))
    assert first.identity == second.identity != third.identity


def test_probing_for_a_writer_does_not_end_the_process_when_a_writer_comes(tmp_path: Path) -> None:
    """A writer that opens a file under our read lease has a signal sent to us, which ends a process by default."""
    place = tmp_path / "a.csv"
    place.touch()
    writer = "import os, sys\nwhile True: os.close(os.open(sys.argv[1], os.O_WRONLY))"
    prober = (
        "import os, sys\nfrom headgate.listeners.files.disk import has_writer\n"
        "for _ in range(5_000):\n"
        "    file = os.open(sys.argv[1], os.O_RDONLY)\n    has_writer(file)\n    os.close(file)\n"
    )
    busy = subprocess.Popen([sys.executable, "-c", writer, place])
    try:
        assert subprocess.run([sys.executable, "-c", prober, place], check=False, timeout=60).returncode == 0
    finally:
        busy.kill()
        busy.wait()


def test_a_writer_is_noticed_and_a_reader_is_not(tmp_path: Path) -> None:
    place = tmp_path / "a.csv"
    place.touch()
    with place.open("rb") as reader:
        assert not has_writer(reader.fileno())
        with place.open("r+b"):
            assert has_writer(reader.fileno())
        assert not has_writer(reader.fileno())


def test_rename_new_never_replaces(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_text("1")
    second.write_text("2")
    with pytest.raises(FileExistsError):
        rename_new(os.fsencode(first), os.fsencode(second))
    assert second.read_text() == "2"


def test_names_are_shown_printable() -> None:
    assert printable(b"caf\xe9.csv") == "caf\\xe9.csv"
    assert printable("café.csv".encode()) == "café.csv"
    assert printable("a\n\x1b[31m\u202e.csv".encode()) == "a\\n\\x1b[31m\\u202e.csv"


def test_no_two_lists_of_values_have_the_same_fingerprint() -> None:
    assert fingerprint(b"ab", b"c") != fingerprint(b"a", b"bc")
    assert fingerprint(b"a", b"") != fingerprint(b"a")


@pytest.mark.parametrize(
    ("one", "other"), [("a/b", "a-b"), ("/a", "a"), ("é", "è"), ("a" * 300, "a" * 301), ("A", "a")]
)
def test_different_sources_have_different_places(one: str, other: str) -> None:
    assert slug(one) != slug(other)
    for text in (slug(one), slug(other)):
        assert "/" not in text
        assert not text.startswith(".")
        assert len(text) < 100


def test_a_file_that_is_rewritten_while_it_is_copied_is_never_taken_mixed(tmp_path: Path, spool: Spool) -> None:
    source = source_in(tmp_path / "inbox", after="leave")
    place = drop(source, b"a.csv", b"0" * 4_000_000)
    rewrite = (
        "import itertools, sys, time\n"
        "for number in itertools.count():\n"
        "    with open(sys.argv[1], 'r+b') as file: file.write(b'%d' % (number % 10) * 4_000_000)\n"
        "    time.sleep(0.004)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", rewrite, place])
    outcomes = set()
    try:
        for _ in range(150):
            held = spool.take(source, b"a.csv")
            try:
                spool.seal(held)
            except FileUnsettled:
                outcomes.add("unsettled")
                continue
            content = (tmp_path / "spool" / held.place / "a.csv").read_bytes()
            assert content == content[:1] * 4_000_000
            spool.drop(held)
    finally:
        writer.kill()
        writer.wait()
    assert outcomes == {"unsettled"}


def test_a_marker_that_cannot_be_removed_keeps_no_file_from_being_taken(inbox: Path, spool: Spool) -> None:
    """Who put a folder in its place is told; the file is in the spool, and is not to be called left behind."""
    source = source_in(inbox, ready=Marker())
    drop(source, b"a.csv")
    marker = marker_of(b"a.csv", source.folder.ready)
    assert marker is not None
    os.mkdir(os.path.join(source.root, marker))
    held = spool.take(source, b"a.csv")
    assert held.moved
    assert not os.path.exists(os.path.join(source.root, b"a.csv"))


def test_files_of_sources_that_are_declared_no_more_are_told(inbox: Path, spool: Spool) -> None:
    source = source_in(inbox)
    drop(source, b"a.csv")
    held = spool.seal(spool.take(source, b"a.csv")).held
    assert list(spool.strays([source])) == []
    assert list(spool.strays([])) == [held.place]
    assert spool.has(held.place, b"a.csv")
