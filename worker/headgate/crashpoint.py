"""Crash points for the fault tests: named places where a process can be told to die.

`HEADGATE_CRASHPOINT=intake.before-open` makes the process kill itself, as `kill -9` would, when it reaches that place.
When the variable is unset, as it always is in production, a crash point costs one comparison.
"""

import os
import signal

# Not a setting, because it is not part of the product. It is read once, so that a crash point costs nothing.
_CHOSEN = os.environ.get("HEADGATE_CRASHPOINT")


def crashpoint(name: str) -> None:
    """Kill this process, without any clean-up, if this is the place the tests chose."""
    if name == _CHOSEN:
        os.kill(os.getpid(), signal.SIGKILL)
