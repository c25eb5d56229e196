"""The home's folder: an id in its spool tells it from every other folder, and a beat tells it from its own copies."""

import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

import orjson

from headgate.errors import HomeUnavailable
from headgate.model import Places

FILE = ".home"  # in the spool, so that the id comes and goes with what is mounted there
DEFAULT = "default"  # the first home of a ledger; its deployments have the plain names
BOOT = Path("/proc/sys/kernel/random/boot_id")


def at_home(name: str, home: str) -> str:
    """Return the name on the Prefect server of something that belongs to a home; for the first home, the plain name."""
    return name if home == DEFAULT else f"{name}@{home}"


@dataclass(frozen=True, slots=True)
class Mark:
    """The content of the mark file in a home's folder."""

    home: UUID
    name: str  # short, unique in the ledger
    beat: int  # raised while a listener serves the home, so that a copy of the folder falls behind


class Home:
    """The folder of a home. It does not know the ledger.

    Args:
        places: its folders.

    """

    def __init__(self, places: Places) -> None:
        self._spool = places.spool
        self._file = places.spool / FILE

    @property
    def path(self) -> Path:
        """The folder's path."""
        return self._spool.parent

    @property
    def host(self) -> str:
        """The host it is on."""
        return socket.gethostname()

    def find(self) -> Mark | None:
        """Read the mark; return None if the folder has none.

        Raises:
            HomeUnavailable: the mark cannot be read.

        """
        try:
            found = orjson.loads(self._file.read_bytes())
            return Mark(UUID(found["home"]), found["name"], int(found["beat"]))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise HomeUnavailable(f"The home {self.path} cannot be read ({error.strerror}); mend that.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise HomeUnavailable(f"{self._file} is damaged ({error}); restore it from a backup.") from error

    def read(self) -> Mark:
        """Read the mark.

        Raises:
            HomeUnavailable: there is no mark, or it cannot be read.

        """
        found = self.find()
        if found is None:
            raise HomeUnavailable(
                f"{self.path} is not a home: {self._file} does not exist. "
                "Mount it, correct HEADGATE_HOME, or start `headgate listen` to make a new home there."
            )
        return found

    @property
    def name(self) -> str:
        """The home's name, or the first home's name for a folder that is not a home.

        Raises:
            HomeUnavailable: the mark cannot be read.

        """
        found = self.find()
        return DEFAULT if found is None else found.name

    def write(self, mark: Mark) -> None:
        """Write the mark atomically, so that it survives a power cut.

        Raises:
            HomeUnavailable: the mark cannot be written.

        """
        fresh = self._file.with_name(f"{FILE}.{os.getpid()}")
        try:
            self._spool.mkdir(parents=True, exist_ok=True)
            with fresh.open("wb") as file:
                file.write(orjson.dumps(asdict(mark)))
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(self._file)
            folder = os.open(self._spool, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise HomeUnavailable(f"The home {self.path} cannot be written ({error.strerror}); mend that.") from error

    def fingerprint(self) -> str:
        """Return what tells this folder from every other one, whatever its path and whichever container sees it.

        Raises:
            HomeUnavailable: the folder cannot be read.

        """
        try:
            found = self._spool.stat()
            boot = BOOT.read_text(encoding="ascii").strip() if BOOT.exists() else self.host
        except OSError as error:
            raise HomeUnavailable(f"The home {self.path} cannot be read ({error.strerror}); mend that.") from error
        return f"{boot}/{found.st_dev}:{found.st_ino}"
