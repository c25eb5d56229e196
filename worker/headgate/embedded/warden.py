"""The process that ends the children when their supervisor was killed and cannot do so itself.

The supervisor holds the other end of this process's standard input and writes one JSON list per line:
`["started", process group, stop signal, grace in seconds, tier]` and `["ended", process group]`. When that pipe breaks,
the supervisor is gone, and whatever is left on the list is stopped as the supervisor would have: by tier.

In case this process is killed too, a file, the record, holds the same list. Whoever finds it runs `end_left`, or this
script with the path of the record.

It runs as a bare script (standard library alone), so that it takes only a few megabytes and survives any fault of ours.
"""

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

Groups = dict[int, tuple[int, float, int]]  # stop signal, grace in seconds, tier; by the id of the process group

POLL = 0.05  # seconds between two looks at a group that is ending
KILLED_WITHIN = 5.0  # seconds a killed process may take to disappear: it may wait for a disk


def end_group(group: int, stop_signal: int | None, grace: float) -> None:
    """End a process group: the stop signal to its leader, up to `grace` seconds, then SIGKILL to what is left.

    Args:
        group: id of the process group; its leader, a supervised child, has the same process id.
        stop_signal: the signal to send; None only waits.
        grace: seconds until SIGKILL.

    """
    if stop_signal is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(group, stop_signal)
            os.killpg(group, signal.SIGCONT)  # a stopped (SIGSTOP) process receives no other signal
    if not _ends_within(group, grace):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        _ends_within(group, KILLED_WITHIN)


def _ends_within(group: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_running(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


def is_running(group: int) -> bool:
    """Return whether any process of the group still runs.

    Zombies do not count: where process 1 does not reap them, as in many containers, they would remain for ever.
    """
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # the process ended while we looked
            # proc(5): "pid (name) state ppid pgrp ..."; the name may hold anything, even a bracket
            state, _, pgrp = stat.read_bytes().rpartition(b") ")[2].split()[:3]
            if int(pgrp) == group and state not in b"ZX":
                return True
    return False


def write_record(record: Path, groups: Groups) -> None:
    """Write down what runs.

    Raises:
        OSError: it cannot be written.

    """
    children = [(group, started(group), *how) for group, how in groups.items()]
    part = record.with_name(record.name + ".part")
    part.write_text(json.dumps({"boot": _boot(), "children": children}), encoding="ascii")
    part.replace(record)


def end_left(record: Path) -> int:
    """End the recorded groups that still run, and remove the record; return how many there were.

    A process id that now belongs to another process is left alone.
    """
    try:
        found = json.loads(record.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return 0
    left: Groups = {}
    if found["boot"] == _boot():
        left = {group: (how[0], how[1], how[2]) for group, begun, *how in found["children"] if started(group) == begun}
    end_groups(left)
    record.unlink(missing_ok=True)
    return len(left)


def end_groups(groups: Groups) -> None:
    """End process groups, highest tier first, last started first within a tier."""
    tiers = sorted(groups.items(), key=lambda item: item[1][2])
    for group, (stop_signal, grace, _) in reversed(tiers):
        end_group(group, stop_signal, grace)


def started(pid: int) -> int | None:
    """Return when a process was started, in ticks since boot, or None if it does not exist or is a zombie."""
    try:
        # proc(5): "pid (name) state ...": the name may hold anything; the start time is the 20th after it
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    except OSError:
        return None
    return None if fields[0] in b"ZX" else int(fields[19])


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def main() -> None:
    """Keep the list until the pipe breaks, then end the groups on it; given a record, end the groups left in it."""
    if sys.argv[1:]:
        end_left(Path(sys.argv[1]))
        return
    groups: Groups = {}
    for line in sys.stdin:
        word, group, *how = json.loads(line)
        if word == "started":
            groups[group] = (how[0], how[1], how[2])
        else:
            groups.pop(group, None)
    end_groups(groups)


if __name__ == "__main__":
    main()
