"""One TLS context for all of Prefect's clients in a process and in the processes forked from it.

Each of Prefect's clients makes its own, though all are alike: 15 ms and a megabyte of authorities, four times in the
first run of a process, and even for a server without TLS.
"""

import functools
import ssl
from types import SimpleNamespace

from prefect.client import orchestration
from prefect.client.orchestration import SyncPrefectClient

from headgate.private_names import Use, usable

_SHARED = SimpleNamespace(**vars(ssl) | {"create_default_context": functools.cache(ssl.create_default_context)})


def share() -> None:
    """Have the clients of this process share one context per set of options."""
    if not usable(Use.TLS):
        return
    vars(orchestration)["ssl"] = _SHARED
    SyncPrefectClient("http://localhost/api")  # makes the context, before anything is forked
