"""One TLS context for all of Prefect's clients of a process, and of those that are forked from it.

Each of its clients makes one of its own, though all are alike: 15 ms and a megabyte of authorities, four times in the
first run of a process, and even for a server that is asked without TLS.
"""

import functools
import ssl
from types import SimpleNamespace

from prefect.client import orchestration
from prefect.client.orchestration import SyncPrefectClient

_SHARED = SimpleNamespace(**vars(ssl) | {"create_default_context": functools.cache(ssl.create_default_context)})


def share() -> None:
    """Have the clients of this process use one context for each way in which they make it."""
    vars(orchestration)["ssl"] = _SHARED
    SyncPrefectClient("http://localhost/api")  # makes the context, before anything is forked
