"""Hides optional dependencies that cost more than they bring."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(module: str) -> Iterator[None]:
    """Hide a module from whatever is imported in this block, unless the module is imported already.

    For libraries that import another one only to offer an extra, which costs each process time and memory for nothing.

    Args:
        module: its top-level name.

    """
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # the documented way to make an import fail
    try:
        yield
    finally:
        del sys.modules[module]


# dataframely imports SQLAlchemy if it is installed, and it is, because Prefect's server needs it. We do not.
with without("sqlalchemy"):
    import dataframely as dy

__all__ = ["dy", "without"]
