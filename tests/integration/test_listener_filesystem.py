"""Files dropped into real folders, watched by the real listener, opened in the real ledger."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import dataframely as dy
import pytest
from harness import home_in
from headgate.errors import LedgerUnavailable
from headgate.ledger import Arrivals, Database, Homes
from headgate.listeners.files import FileListener
from headgate.listeners.files.inspection import files_beneath
from headgate.listeners.files.source import Source
from headgate.model import ArrivalRecord, NewArrival, Opened, Places, Reason
from headgate.pipeline import Folder, Marker, Pipeline, Quiet, Table
from headgate.setting_groups import ListenerSettings
from watchdog.utils import BaseThread

BYTES = b"id\n1\n"
OTHER = "/dev/shm"  # noqa: S108 - another file system; only fresh folders are made there
# pytest makes its own list of warnings, so what `headgate.listeners.files.watch` ignores is ignored here again.
pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")
THREADS = 3  # of a watch: the observer, the inotify reader, the emitter


class Row(dy.Schema):
    """One number a row."""

    id = dy.Int64()


@dataclass(frozen=True, kw_only=True)
class Site:
    """One pipeline with one folder, and all that a listener of it needs."""

    home: Path
    ledger: Arrivals
    homes: Homes
    folder: Folder
    inbox: Path
    scan_seconds: float = 3600  # so that what is found was reported, unless a test says otherwise
    pipeline: str = field(default_factory=lambda: f"p{uuid4().hex}")

    @property
    def root(self) -> Path:
        """The watched folder."""
        return self.inbox / "in"

    @property
    def places(self) -> Places:
        """Where bytes are kept."""
        return Places(self.home / "spool", self.home / "archive", self.home / "rejected", self.home / "work")

    def listener(self, stop: threading.Event) -> FileListener:
        """Make a listener of this site."""
        return FileListener(
            pipelines=[Pipeline(name=self.pipeline, sources=(self.folder,), schema=Row, sink=Table("rows"))],
            inbox=self.inbox,
            places=self.places,
            settings=ListenerSettings(scan_seconds=self.scan_seconds),
            ledger=self.ledger,
            homes=self.homes,
            lease=timedelta(seconds=3),
            stop=stop,
        )

    def arrivals(self) -> list[ArrivalRecord]:
        """All that the ledger has of this site."""
        return self.ledger.find(pipeline=self.pipeline, limit=100_000)

    def states(self) -> dict[str, int]:
        """How many arrivals stand in each state."""
        return dict(Counter(str(arrival.state) for arrival in self.arrivals()))

    def spooled(self) -> list[str]:
        """Token folders in the spool."""
        place = self.places.spool / self.pipeline
        return [f"{self.pipeline}/in/{token.name}" for token in place.glob("in/*")]


def until(holds: Callable[[], object], *, within: float = 20) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


@contextmanager
def listening(site: Site) -> Iterator[FileListener]:
    stop = threading.Event()
    listener = site.listener(stop)
    thread = threading.Thread(target=listener.run)
    thread.start()
    try:
        until(lambda: all(len(watch.threads) == THREADS for watch in listener.watches.values()))
        yield listener
    finally:
        stop.set()
        thread.join(timeout=20)
        assert not thread.is_alive()


@pytest.fixture
def site(tmp_path: Path, ledger: Arrivals, homes: Homes) -> Site:
    return Site(
        home=tmp_path, inbox=tmp_path / "inbox", ledger=ledger, homes=homes, folder=Folder("in", duplicates="keep")
    )


def settled(site: Site, count: int) -> None:
    """Wait for so many arrivals, and see that there are no more, and nothing else in the spool."""
    until(lambda: len(site.arrivals()) >= count)
    assert len(site.arrivals()) == count
    until(lambda: set(here := site.spooled()) == site.ledger.spooled(here))


def test_what_was_there_before_the_start_is_taken_in(site: Site) -> None:
    site.root.mkdir(parents=True)
    (site.root / "a.csv").write_bytes(BYTES)
    with listening(site):
        settled(site, 1)
    assert site.states() == {"ready": 1}


def test_a_slow_writer_is_waited_for(site: Site) -> None:
    with listening(site):
        with (site.root / "slow.csv").open("wb", buffering=0) as writer:
            for part in range(10):
                writer.write(b"%d\n" % part)
                time.sleep(0.05)  # the writer's pace, not a wait for the listener
            assert site.arrivals() == []
        settled(site, 1)
    assert site.arrivals()[0].size == 20


def test_an_old_file_with_a_writer_is_waited_for_however_old_it_says_it_is(site: Site, tmp_path: Path) -> None:
    """A copy that keeps the times (`cp -p`) sets them before it closes the file."""
    file = tmp_path / "old.csv"
    with listening(site):
        with file.open("wb", buffering=0) as writer:
            writer.write(b"1")
            os.utime(file, (0, 0))
            file.rename(site.root / "old.csv")
            (site.root / "other.csv").write_bytes(BYTES)
            settled(site, 1)
            writer.write(b"2")
            os.utime(site.root / "old.csv", (0, 0))
        settled(site, 2)
    assert {arrival.name: arrival.size for arrival in site.arrivals()}["old.csv"] == 2


def test_an_old_file_that_is_moved_in_waits_for_nothing(tmp_path: Path, ledger: Arrivals, homes: Homes) -> None:
    patient = Folder("in", duplicates="keep", ready=Quiet(3600))
    site = Site(home=tmp_path, inbox=tmp_path / "inbox", ledger=ledger, homes=homes, folder=patient)
    file = tmp_path / "old.csv"
    file.write_bytes(BYTES)
    with listening(site):
        (site.root / "new.csv").write_bytes(BYTES)
        os.utime(file, (0, 0))
        file.rename(site.root / "old.csv")
        settled(site, 1)
        assert [arrival.name for arrival in site.arrivals()] == ["old.csv"]


def test_each_way_a_file_can_come_gives_one_arrival(site: Site, tmp_path: Path) -> None:
    """Moved in, hard-linked in, renamed from a temporary name, and in a folder that is moved in."""
    outside = tmp_path / "outside"
    (outside / "folder" / "deep").mkdir(parents=True)
    for name in ("moved.csv", "linked.csv", "folder/one.csv", "folder/deep/two.csv"):
        (outside / name).write_bytes(BYTES)
    with listening(site):
        (outside / "moved.csv").rename(site.root / "moved.csv")
        os.link(outside / "linked.csv", site.root / "linked.csv")
        (outside / "folder").rename(site.root / "folder")
        (site.root / "renamed.csv.tmp").write_bytes(BYTES)
        (site.root / "renamed.csv.tmp").rename(site.root / "renamed.csv")
        (site.root / ".hidden.csv").write_bytes(BYTES)
        (site.root / "other.txt").write_bytes(BYTES)
        settled(site, 5)
    names = {arrival.name for arrival in site.arrivals()}
    assert names == {"moved.csv", "linked.csv", "folder/one.csv", "folder/deep/two.csv", "renamed.csv"}
    assert sorted(path.name for path in site.root.iterdir() if path.is_file()) == [".hidden.csv", "other.txt"]


def test_files_written_at_once_into_new_folders_are_all_found(site: Site) -> None:
    with listening(site):
        for number in range(50):
            (site.root / str(number) / "deep").mkdir(parents=True)
            (site.root / str(number) / "deep" / "a.csv").write_bytes(BYTES)
        settled(site, 50)


def test_two_thousand_files_at_once_give_one_arrival_each(site: Site) -> None:
    with listening(site):
        for number in range(2000):
            (site.root / f"{number}.csv").write_bytes(b"id\n%d\n" % number)
        settled(site, 2000)
    assert list(site.root.iterdir()) == []


def test_a_name_that_is_not_utf_8_works_end_to_end(site: Site) -> None:
    with listening(site):
        with open(os.fsencode(site.root) + b"/caf\xe9.csv", "wb") as file:
            file.write(BYTES)
        settled(site, 1)
    assert site.arrivals()[0].name == "caf\\xe9.csv"


def test_what_is_no_file_is_rejected_once_and_stops_nothing(site: Site, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    with listening(site):
        (site.root / "link.csv").symlink_to(tmp_path / "secret")
        os.mkfifo(site.root / "fifo.csv")
        (site.root / "folder.csv").mkdir()
        (site.root / "folder.csv" / "inside.csv").write_bytes(BYTES)
        settled(site, 4)
        until(lambda: len(list((site.places.rejected / site.pipeline).glob("*.why.txt"))) == 3)
    reasons = {arrival.name: arrival.reason for arrival in site.arrivals()}
    assert reasons == {
        "link.csv": "unsafe",
        "fifo.csv": "not-a-file",
        "folder.csv": "not-a-file",
        "folder.csv/inside.csv": None,
    }
    assert [path.name for path in site.root.iterdir()] == ["folder.csv"]
    with listening(site):
        (site.root / "next.csv").write_bytes(BYTES)
        settled(site, 5)


def test_a_file_that_is_replaced_again_and_again_is_never_read_half(site: Site) -> None:
    """Each version that was taken in is one that was dropped, whole, and no version is taken in twice."""
    with listening(site):
        for number in range(300):
            fresh = site.root / ".fresh"
            fresh.write_bytes(b"%03d" % number * 1000)
            fresh.rename(site.root / "a.csv")
        until(lambda: not (site.root / "a.csv").exists())
        until(lambda: (here := site.spooled()) and set(here) == site.ledger.spooled(here))
    contents = [(site.places.spool / place / "a.csv").read_bytes() for place in site.spooled()]
    assert len(contents) == len(site.arrivals())
    assert all(len(content) == 3000 and content == content[:3] * 1000 for content in contents)
    assert len(set(contents)) == len(contents)
    assert b"299" * 1000 in contents


def test_the_same_bytes_again_are_recorded_as_duplicates_and_archived(
    tmp_path: Path, ledger: Arrivals, homes: Homes
) -> None:
    site = Site(home=tmp_path, inbox=tmp_path / "inbox", ledger=ledger, homes=homes, folder=Folder("in"))
    with listening(site):
        (site.root / "a.csv").write_bytes(BYTES)
        settled(site, 1)
        for number in range(50):
            (site.root / f"{number}.csv").write_bytes(BYTES)
        (site.root / "a.csv").write_bytes(BYTES)
        settled(site, 52)
        (site.root / "a.csv").write_bytes(b"id\n2\n")
        settled(site, 53)
        until(lambda: site.ledger.unsettled([arrival.arrival_id for arrival in site.arrivals()]) == [])
    assert site.states() == {"ready": 2, "duplicate": 51}
    assert len(list((site.places.archive / site.pipeline / "in").iterdir())) == 51
    assert len(site.spooled()) == 2


def test_files_that_stay_are_taken_in_once_and_again_when_they_change(
    tmp_path: Path, ledger: Arrivals, homes: Homes
) -> None:
    site = Site(
        home=tmp_path,
        inbox=tmp_path / "inbox",
        ledger=ledger,
        homes=homes,
        folder=Folder("in", after="leave"),
        scan_seconds=0.1,
    )
    with listening(site):
        (site.root / "a.csv").write_bytes(BYTES)
        settled(site, 1)
    with listening(site):
        (site.root / "b.csv").write_bytes(b"id\n2\n")
        settled(site, 2)
        (site.root / "a.csv").write_bytes(b"id\n3\n")
        settled(site, 3)
    assert len(list(site.root.iterdir())) == 2


def test_a_marked_file_is_taken_in_when_its_marker_comes(tmp_path: Path, ledger: Arrivals, homes: Homes) -> None:
    folder = Folder("in", ready=Marker(".done"), duplicates="keep")
    site = Site(home=tmp_path, inbox=tmp_path / "inbox", ledger=ledger, homes=homes, folder=folder)
    with listening(site):
        (site.root / "a.csv").write_bytes(BYTES)
        (site.root / "b.csv").write_bytes(BYTES)
        (site.root / "b.csv.done").touch()
        settled(site, 1)
        assert [path.name for path in site.root.iterdir()] == ["a.csv"]
        (site.root / "a.csv.done").touch()
        settled(site, 2)


def test_an_inbox_on_another_file_system_works_the_same(tmp_path: Path, ledger: Arrivals, homes: Homes) -> None:
    with tempfile.TemporaryDirectory(dir=OTHER) as inbox:
        site = Site(
            home=tmp_path, inbox=Path(inbox), ledger=ledger, homes=homes, folder=Folder("in", duplicates="keep")
        )
        with listening(site):
            (site.root / "sub").mkdir()
            for number in range(100):
                (site.root / "sub" / f"{number}.csv").write_bytes(BYTES)
            settled(site, 100)
            until(lambda: list((site.root / "sub").iterdir()) == [])


def test_a_folder_made_again_is_watched_again(site: Site) -> None:
    with listening(site):
        for number in range(3):
            site.root.rename(site.inbox / f"old{number}") if number % 2 else site.root.rmdir()
            site.root.mkdir()
            (site.root / "a.csv").write_bytes(BYTES)
            settled(site, number + 1)


@pytest.mark.parametrize("victim", [0, 1, 2], ids=["observer", "inotify reader", "emitter"])
def test_a_dead_thread_of_the_watch_is_replaced(site: Site, victim: int) -> None:
    with listening(site) as listener:
        [watch] = listener.watches.values()
        thread = watch.threads[victim]
        assert isinstance(thread, BaseThread)
        thread.stop()
        until(lambda: not thread.is_alive())
        until(lambda: watch.threads and all(each.is_alive() for each in watch.threads))
        (site.root / "a.csv").write_bytes(BYTES)
        settled(site, 1)


def test_what_no_watch_reported_is_found_by_the_scan(site: Site) -> None:
    """The watch is alive and deaf; the scan is all there is."""
    site = replace(site, scan_seconds=0.2)
    with listening(site) as listener:
        [watch] = listener.watches.values()
        before = listener.found_by_scan
        watch._observer.unschedule_all()  # type: ignore[union-attr]  # noqa: SLF001 - as above
        (site.root / "a.csv").write_bytes(BYTES)
        settled(site, 1)
        assert listener.found_by_scan == before + 1


def test_a_folder_that_may_not_be_entered_does_not_end_the_scan() -> None:
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)  # noqa: S103 - somebody else is to look into it
        source = Source("orders", Folder("in"), os.fsencode(root))
        locked = Path(root) / "locked"
        locked.mkdir()
        for folder in (locked, Path(root)):
            (folder / "a.csv").write_bytes(b"id\n1\n")
        locked.chmod(0o644)  # it can be listed, and its files cannot be looked at
        me = os.geteuid()
        os.seteuid(65534 if me == 0 else me)
        try:
            found = [path for _, path, _ in files_beneath(source, b"")]
        finally:
            os.seteuid(me)
        assert found == [b"a.csv"]


def test_one_folder_that_cannot_be_watched_does_not_stop_the_others(
    tmp_path: Path, ledger: Arrivals, homes: Homes
) -> None:
    (tmp_path / "file").touch()
    good = Site(home=tmp_path, inbox=tmp_path / "inbox", ledger=ledger, homes=homes, folder=Folder("in"))
    stop = threading.Event()
    listener = FileListener(
        pipelines=[
            Pipeline(name="bad", sources=(Folder(tmp_path / "file" / "in"),), schema=Row, sink=Table("rows")),
            Pipeline(name=good.pipeline, sources=(good.folder,), schema=Row, sink=Table("rows")),
        ],
        inbox=good.inbox,
        places=good.places,
        settings=ListenerSettings(),
        ledger=ledger,
        homes=homes,
        lease=timedelta(seconds=3),
        stop=stop,
    )
    thread = threading.Thread(target=listener.run)
    thread.start()
    try:
        until(good.root.exists)
        (good.root / "a.csv").write_bytes(BYTES)
        settled(good, 1)
    finally:
        stop.set()
        thread.join(timeout=20)


def test_a_path_too_long_for_an_index_is_taken_in_like_any_other(
    tmp_path: Path, ledger: Arrivals, homes: Homes
) -> None:
    """Twelve nested folders of long names; whoever may write to the inbox can make them."""
    for after, left in (("archive", 0), ("leave", 2)):
        root = tmp_path / after
        folder = Folder("in", recursive=True, after=after)  # type: ignore[arg-type]
        site = Site(home=tmp_path, inbox=root / "i", ledger=ledger, homes=homes, folder=folder, scan_seconds=0.2)
        site.root.mkdir(parents=True)
        at = os.open(site.root, os.O_RDONLY)
        for number in range(12):
            # Random, for an index compresses what repeats.
            name = "".join(uuid4().hex for _ in range(7)) + f"{number:02}"
            os.mkdir(name, dir_fd=at)
            below = os.open(name, os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = below
        for name, content in (("a.csv", BYTES), ("b.csv", b"id\n2\n")):
            with os.fdopen(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=at), "wb") as file:
                file.write(content)
        os.close(at)
        with listening(site):
            until(lambda: site.states() == {"ready": 2})  # noqa: B023 - called at once
            (site.root / "c.csv").write_bytes(b"id\n3\n")
            until(lambda: site.states() == {"ready": 3})  # noqa: B023 - called at once
        with listening(site):
            (site.root / "d.csv").write_bytes(b"id\n4\n")
            until(lambda: site.states() == {"ready": 4})  # noqa: B023 - called at once
        assert len([path for path in site.root.rglob("*") if path.name in {"a.csv", "b.csv"}]) == left


def test_a_file_that_the_ledger_refuses_is_rejected_alone_with_its_bytes(site: Site, database: Database) -> None:
    """All are opened in one transaction; the cause here is a rule of the database's owner."""
    refuse = """
    create function no() returns trigger language plpgsql as $$ begin
        if new.name like 'bad%' and new.state = 'ready' then raise 'no bad names'; end if; return new;
    end $$;
    create trigger no before insert on headgate.arrival for each row execute function no()
    """
    with database.transaction() as connection:
        connection.execute(refuse.encode())
    site.root.mkdir(parents=True)
    for name in ("a.csv", "bad.csv", "c.csv"):
        (site.root / name).write_text(f"id\n{len(name)}\n", encoding="utf-8")
    (site.root / "c.csv").write_bytes(b"id\n9\n")
    with listening(site):
        settled(site, 3)
        until(lambda: [path.read_bytes() for path in site.places.rejected.rglob("bad.csv")] == [b"id\n7\n"])
    assert site.states() == {"ready": 2, "rejected": 1}
    (rejected,) = [each for each in site.arrivals() if each.state == "rejected"]
    assert (rejected.name, rejected.reason) == ("bad.csv", Reason.REFUSED)
    assert "no bad names" in str(rejected.detail)


class Unreachable(Arrivals):
    """The real ledger behind a door that can be shut; what was asked may have been done all the same."""

    away = threading.Event()

    def open(self, arrivals: Sequence[NewArrival]) -> list[Opened]:
        """Open, and lose the answer."""
        opened = super().open(arrivals)
        if self.away.is_set():
            raise LedgerUnavailable("the answer was lost")
        return opened


def test_a_commit_whose_answer_was_lost_gives_one_arrival(tmp_path: Path, database_url: str, homes: Homes) -> None:
    with Database(database_url) as database:
        database.migrate()
        homes = Homes(database, home_in(tmp_path), lease=timedelta(seconds=30))
        ledger = Unreachable(database, homes)
        site = Site(home=tmp_path, inbox=tmp_path / "inbox", ledger=ledger, homes=homes, folder=Folder("in"))
        with listening(site):
            ledger.away.set()
            (site.root / "a.csv").write_bytes(BYTES)
            until(lambda: len(site.arrivals()) == 1)
            ledger.away.clear()
            (site.root / "b.csv").write_bytes(b"id\n2\n")
            settled(site, 2)
        assert site.states() == {"ready": 2}
        for place in site.spooled():
            assert len(list((site.places.spool / place).iterdir())) == 1


def test_a_second_listener_waits_until_the_first_is_gone(site: Site) -> None:
    stop = threading.Event()
    with listening(site):
        second = threading.Thread(target=site.listener(stop).run)
        second.start()
        (site.root / "a.csv").write_bytes(BYTES)
        settled(site, 1)
    try:
        (site.root / "b.csv").write_bytes(BYTES)
        settled(site, 2)
    finally:
        stop.set()
        second.join(timeout=20)


PROGRAM = """
import sys, threading
from datetime import timedelta
from pathlib import Path
from harness import home_in
from headgate.ledger import Arrivals, Database, Homes
from test_listener_filesystem import Site
from headgate.pipeline import Folder
home, inbox, pipeline, url = sys.argv[1:]
with Database(url) as database:
    homes = Homes(database, home_in(Path(home)), lease=timedelta(seconds=30))
    site = Site(home=Path(home), inbox=Path(inbox), ledger=Arrivals(database, homes), homes=homes, pipeline=pipeline,
                folder=Folder("in", duplicates="keep"))
    site.listener(threading.Event()).run()
"""


@pytest.mark.parametrize("place", ["intake.after-take", "intake.before-open", "intake.after-open"])
@pytest.mark.parametrize("where", ["same file system", "other file system"])
def test_a_kill_at_any_moment_of_intake_gives_one_arrival_each(  # noqa: PLR0913, PLR0917 - fixtures
    tmp_path: Path, ledger: Arrivals, database_url: str, place: str, where: str, homes: Homes
) -> None:
    parent = OTHER if where == "other file system" else tmp_path
    with tempfile.TemporaryDirectory(dir=parent) as inbox:
        folder = Folder("in", duplicates="keep")
        site = Site(home=tmp_path, inbox=Path(inbox), ledger=ledger, homes=homes, folder=folder)
        site.root.mkdir(parents=True)
        for number in range(20):
            (site.root / f"{number}.csv").write_bytes(BYTES)
        killed = subprocess.run(
            [sys.executable, "-c", PROGRAM, tmp_path, inbox, site.pipeline, database_url],
            env={
                **os.environ,
                "HEADGATE_CRASHPOINT": place,
                "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])]),
            },
            check=False,
            timeout=60,
        )
        assert killed.returncode == -signal.SIGKILL
        with listening(site):
            settled(site, 20)
            until(lambda: list(site.root.iterdir()) == [])
        assert len(site.spooled()) == 20


def test_what_came_while_nobody_listened_is_numbered_by_its_age(site: Site) -> None:
    """In mode upsert the higher number wins: that of the newer version."""
    site.root.mkdir(parents=True)
    names = [f"{uuid4().hex}.csv" for _ in range(30)]
    for age, name in enumerate(names):
        (site.root / name).write_bytes(BYTES)
        os.utime(site.root / name, (1e9 - age, 1e9 - age))
    with listening(site):
        settled(site, 30)
    assert [arrival.name for arrival in site.arrivals()] == names


def test_what_was_taken_in_by_a_listener_that_died_is_numbered_by_its_age(site: Site) -> None:
    names = [f"{uuid4().hex}.csv" for _ in range(30)]
    for age, name in enumerate(names):
        place = site.places.spool / site.pipeline / "in" / uuid4().hex / name
        place.parent.mkdir(parents=True)
        place.write_bytes(BYTES)
        os.utime(place, (1e9 - age, 1e9 - age))
    with listening(site):
        settled(site, 30)
    assert [arrival.name for arrival in site.arrivals()] == names


@pytest.mark.parametrize("moved", [True, False], ids=["moved in", "written in place"])
def test_of_two_versions_one_right_after_the_other_the_newer_has_the_higher_number(
    site: Site, tmp_path: Path, *, moved: bool
) -> None:
    names = [f"{uuid4().hex}.csv" for _ in range(60)]
    (tmp_path / "aside").mkdir()
    for name in names:
        (tmp_path / "aside" / name).write_bytes(BYTES)
    with listening(site):
        for name in names:
            if moved:
                (tmp_path / "aside" / name).rename(site.root / name)
            else:
                (site.root / name).write_bytes(BYTES)
        settled(site, 60)
    assert [arrival.name for arrival in reversed(site.arrivals())] == names


def test_while_the_home_is_gone_files_wait_and_are_taken_in_when_it_is_back(site: Site) -> None:
    """As where a volume is unmounted: nothing is taken in to the empty folder in its place."""
    site = replace(site, scan_seconds=0.2)
    with listening(site):
        (site.root / "a.csv").write_bytes(BYTES)
        settled(site, 1)
        away = site.home / "unmounted"
        site.places.spool.rename(away)
        until(site.places.spool.is_dir)  # the listener looks there again
        (site.root / "b.csv").write_bytes(b"id\n2\n")
        time.sleep(1)  # so long nothing may happen
        assert (site.root / "b.csv").exists()
        assert [path.name for path in site.places.spool.iterdir()] == [".listener.lock"]
        assert site.states() == {"ready": 1}
        shutil.rmtree(site.places.spool)
        away.rename(site.places.spool)
        settled(site, 2)
    assert site.states() == {"ready": 2}


def test_bytes_of_a_lost_arrival_that_turn_up_again_are_kept_with_it(site: Site, database: Database) -> None:
    """A process that could not see them had given the arrival up."""
    with listening(site):
        (site.root / "a.csv").write_bytes(BYTES)
        settled(site, 1)
    with database.transaction() as connection:
        connection.execute(
            "update headgate.arrival set state = 'rejected', reason = 'lost', finished_at = now(), settled_at = now(), "
            "spool = null"
        )
    with listening(site):
        until(lambda: (kept := site.arrivals()[0].kept_at) and Path(kept).read_bytes() == BYTES)
    assert site.spooled() == []


def test_bytes_of_an_arrival_that_another_home_has_on_its_way_are_kept(
    site: Site, database: Database, tmp_path: Path
) -> None:
    """As in a copy of a home that was made a home of its own."""
    with listening(site):
        (site.root / "a.csv").write_bytes(BYTES)
        settled(site, 1)
    copied = tmp_path / "copy"
    shutil.copytree(site.places.spool, copied / "spool", ignore=shutil.ignore_patterns(".home"))
    homes = Homes(database, home_in(copied), lease=timedelta(seconds=30))
    other = replace(site, home=copied, inbox=tmp_path / "other", homes=homes, ledger=Arrivals(database, homes))
    with listening(other):
        (other.root / "b.csv").write_bytes(b"id\n2\n")
        until(lambda: len(site.arrivals()) == 2)
    assert len(list((copied / "spool").rglob("a.csv"))) == 1
    assert len(list(site.places.spool.rglob("a.csv"))) == 1
    assert site.states() == {"ready": 2}
