"""The process that ends the children when their supervisor was killed and could not do it itself.

The supervisor holds the other end of this process's standard input and writes one JSON list a line:
`["started", process group, stop signal, grace in seconds, tier]` and `["ended", process group]`. When that pipe breaks,
the supervisor is gone, and whatever is left on the list is stopped as the supervisor would have: by tier.

It runs as a bare script (standard library alone), so that it costs a few megabytes and outlives any fault of ours.
"""

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

POLL = 0.05  # seconds between two looks at a group that is ending


def end_group(group: int, stop_signal: int | None, grace: float) -> None:
    """End a process group: the stop signal to its leader, up to `grace` seconds, then SIGKILL to what is left.

    Args:
        group: id of the process group; its leader, a supervised child, has the same process id.
        stop_signal: None sends none, and only waits.
        grace: seconds until SIGKILL.

    """
    if stop_signal is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(group, stop_signal)
    deadline = time.monotonic() + grace
    while is_running(group):
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
            return
        time.sleep(POLL)


def is_running(group: int) -> bool:
    """Whether any process of the group still runs.

    Zombies do not count: where process 1 reaps nothing, as in many containers, they would stand there for ever.
    """
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # the process ended while we looked
            # proc(5): "pid (name) state ppid pgrp ..."; the name may hold anything, a bracket too
            state, _, pgrp = stat.read_bytes().rpartition(b") ")[2].split()[:3]
            if int(pgrp) == group and state not in b"ZX":
                return True
    return False


def main() -> None:
    """Keep the list until the pipe breaks, then end what is on it."""
    groups: dict[int, tuple[int, float, int]] = {}
    for line in sys.stdin:
        word, group, *how = json.loads(line)
        if word == "started":
            groups[group] = (how[0], how[1], how[2])
        else:
            groups.pop(group, None)
    tiers = sorted(groups.items(), key=lambda item: item[1][2])
    for group, (stop_signal, grace, _) in reversed(tiers):
        end_group(group, stop_signal, grace)


if __name__ == "__main__":
    main()
