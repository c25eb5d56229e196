"""Access to the Prefect server for `apply`: a client that raises Headgate's errors."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import PrefectException

from headgate.errors import PrefectRefused, PrefectUnavailable
from headgate.settings import Settings

PAGE = 200  # the server's maximum for one answer


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[PrefectClient]:
    """Open a client.

    Raises:
        BadSettings: no server is configured.
        PrefectUnavailable: it does not answer, fails, or was changed by another meanwhile.
        PrefectRefused: it refuses a request.

    """
    url = settings.require_api()
    try:
        async with get_client() as client:
            yield client
    except httpx.HTTPStatusError as error:
        if error.response.is_server_error:
            raise PrefectUnavailable(
                f"The Prefect server at {url} failed ({_said(error.response)}); look into its log, and try again."
            ) from error
        raise PrefectRefused(
            f"The Prefect server at {url} refused {error.request.method} {error.request.url.path}: "
            f"{_said(error.response)}"
        ) from error
    except PrefectException as error:
        raise PrefectUnavailable(
            f"The Prefect server at {url} was changed by another meanwhile ({error}); try again."
        ) from error
    except httpx.HTTPError as error:
        raise PrefectUnavailable(
            f"The Prefect server at {url} does not answer ({error}); start it, or correct PREFECT_API_URL."
        ) from error


async def find(client: PrefectClient, path: str) -> dict[str, Any] | None:
    """Read one thing; None if it does not exist."""
    try:
        found: dict[str, Any] = (await client.request("GET", path)).json()  # type: ignore[arg-type]  # any path
    except httpx.HTTPStatusError as error:
        if error.response.status_code == httpx.codes.NOT_FOUND:
            return None
        raise
    return found


async def find_all(client: PrefectClient, path: str, body: Mapping[str, object]) -> list[dict[str, Any]]:
    """Read all things that match a filter, page by page."""
    found: list[dict[str, Any]] = []
    while True:
        page = (await client.request("POST", path, json={**body, "limit": PAGE, "offset": len(found)})).json()  # type: ignore[arg-type]  # any path
        found += page
        if len(page) < PAGE:
            return found


@contextmanager
def absent_is_made() -> Iterator[None]:
    """Ignore a conflict: another `apply`, or a starting worker, created the thing a moment earlier."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.CONFLICT:
            raise


def _said(response: httpx.Response) -> str:
    """What the server said, in one line."""
    try:
        body = response.json()
    except ValueError:
        body = response.text
    detail = body.get("exception_detail") or body.get("detail") or body if isinstance(body, dict) else body
    if isinstance(detail, list):  # pydantic's
        detail = "; ".join(
            f"{'.'.join(str(part) for part in each.get('loc', ()))}: {each.get('msg')}"
            if isinstance(each, dict)
            else str(each)
            for each in detail
        )
    return " ".join(f"{response.status_code} {detail}".split())[:1000]
