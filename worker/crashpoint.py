"""The door of the fault tests: named places where a process can be told to die.

`HEADGATE_CRASHPOINT=intake.before-open` makes the process kill itself, as `kill -9` would, when it comes to that place.
Unset, as it always is in production, a crash point is one comparison.
"""

import os
import signal

# Not a setting: it is no part of the product, and it is read once so that a crash point costs nothing.
_CHOSEN = os.environ.get("HEADGATE_CRASHPOINT")


def crashpoint(name: str) -> None:
    """Die here, without any clean-up, if this is the place the tests chose."""
    if name == _CHOSEN:
        os.kill(os.getpid(), signal.SIGKILL)
