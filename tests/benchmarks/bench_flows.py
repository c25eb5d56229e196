"""Flows for the benchmark of latency: one that does nothing, and one that waits to be cancelled."""

import asyncio

from prefect import flow


@flow
async def nothing() -> None:
    """Be over at once."""


@flow
async def sleeps(seconds: float = 60) -> None:
    """Be there for a while."""
    await asyncio.sleep(seconds)


if __name__ == "__main__":
    nothing.serve(name="served", limit=None)
