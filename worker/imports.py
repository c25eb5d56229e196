"""Imports that cost more than they bring."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(module: str) -> Iterator[None]:
    """Let what is imported meanwhile believe that a module is not installed, unless it is imported already.

    For libraries that import another one only to offer an extra: it costs each process time and memory for nothing.

    Args:
        module: the top-level name.

    """
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # the documented way to make an import fail
    try:
        yield
    finally:
        del sys.modules[module]


# dataframely imports SQLAlchemy where it finds it, and here it does: Prefect's server needs it. We do not.
with without("sqlalchemy"):
    import dataframely as dy

__all__ = ["dy", "without"]
