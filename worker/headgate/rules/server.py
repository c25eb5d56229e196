"""The Prefect server as `explain` reads it: events, automations, and what came of them. Plain HTTP, raw JSON.

Raw, because the client's classes leave out when an automation was created and updated, and the ids of its triggers.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from headgate.errors import NotFound, PrefectUnavailable
from headgate.rules.shape import RESOURCE_ID, Json

PAGE = 200  # objects in one answer, the server's maximum
CHANGES = ("prefect.automation.created", "prefect.automation.updated")


class Server:
    """Reads from a Prefect server.

    Args:
        api: http://host:port/api.
        auth: user:password, if the server asks for one.
        timeout: seconds for one request.

    """

    def __init__(self, api: str, *, auth: str | None = None, timeout: float = 30) -> None:
        self._api = api
        user, _, password = (auth or "").partition(":")
        # Without TLS, do not load the CA certificates: they take a megabyte.
        self._client = httpx.Client(
            base_url=api,
            timeout=timeout,
            auth=httpx.BasicAuth(user, password) if auth else None,
            verify=not api.startswith("http://"),
        )

    def __enter__(self) -> Self:
        """Open nothing yet: the first request does."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Close the connections."""
        self._client.close()

    def version(self) -> str:
        """The version of Prefect that the server runs."""
        return str(self._ask("GET", "/admin/version"))

    def automations(self) -> list[Json]:
        """Every automation, by name."""
        found: list[Json] = []
        while True:
            page = self._ask("POST", "/automations/filter", {"limit": PAGE, "offset": len(found), "sort": "NAME_ASC"})
            found += page
            if len(page) < PAGE:
                return found

    def event(self, event_id: str) -> Json:
        """Read an event.

        Raises:
            NotFound: the server does not know it.

        """
        found = self.events({"id": {"id": [event_id]}}, limit=1)
        if not found:
            raise NotFound(
                f"The Prefect server has no event {event_id}: it shows events a few seconds after they came, and keeps "
                "them for 7 days."
            )
        return found[0]

    def last_events(self, count: int, names: Sequence[str] = ()) -> list[Json]:
        """The newest events, newest first: those with these names, or all except Prefect's own."""
        asked = _names(names) if names else {"exclude_prefix": ["prefect."]}
        return self.events({"event": asked, "order": "DESC"}, limit=count)

    def events_of_arrival(self, number: int) -> list[Json]:
        """The events about an arrival, then those about pipelines that name it, each oldest first.

        Raises:
            NotFound: the server has none of them.

        """
        own = self.events({"resource": {"id": [f"headgate.arrival.{number}"]}, "order": "ASC"}, limit=50)
        if not own:
            raise NotFound(
                f"The Prefect server has no event of arrival {number}; it keeps them for 7 days. "
                f"`headgate arrivals show {number}` tells what became of it."
            )
        since = own[0]["occurred"]
        of_pipeline = self.events(
            {"event": {"prefix": ["headgate."]}, "occurred": {"since": since}, "order": "ASC"}, limit=1000
        )
        return own + [each for each in of_pipeline if number in (each["payload"].get("arrival_ids") or ())]

    def consequences(self, event_ids: Iterable[str]) -> list[Json]:
        """What Prefect recorded of the firings that these events completed, oldest first."""
        related = [f"prefect.event.{each}" for each in event_ids]
        return self.events({"related": {"id": related}, "order": "ASC"}, limit=5000) if related else []

    def changes(self, automation_ids: Iterable[str]) -> list[Json]:
        """The events of the creation and updates of automations, oldest first."""
        resources = [f"prefect.automation.{each}" for each in automation_ids]
        if not resources:
            return []
        return self.events({"event": {"name": CHANGES}, "resource": {"id": resources}, "order": "ASC"}, limit=5000)

    def history(self, names: Sequence[str], since: datetime, until: datetime, limit: int) -> list[Json]:
        """The events in a time range whose names may match any of these patterns, newest first; see `_names`."""
        occurred = {"since": since.isoformat(), "until": until.isoformat()}
        return self.events({"event": _names(names), "occurred": occurred, "order": "DESC"}, limit=limit)

    def oldest(self) -> datetime | None:
        """When the oldest event occurred that the server still has; None if it has none."""
        found = self.events({"order": "ASC"}, limit=1)
        return datetime.fromisoformat(found[0]["occurred"]) if found else None

    def runs(self, ids: Sequence[str]) -> dict[str, Json]:
        """Flow runs by their ids."""
        return self._by_id("/flow_runs/filter", "flow_runs", ids)

    def deployments(self, ids: Sequence[str]) -> dict[str, Json]:
        """Deployments by their ids."""
        return self._by_id("/deployments/filter", "deployments", ids)

    def flows(self, ids: Sequence[str]) -> dict[str, Json]:
        """Flows by their ids."""
        return self._by_id("/flows/filter", "flows", ids)

    def variables(self) -> dict[str, object]:
        """Prefect's variables."""
        return {each["name"]: each["value"] for each in self._ask("POST", "/variables/filter", {"limit": PAGE})}

    def events(self, asked: Mapping[str, object], *, limit: int) -> list[Json]:
        """Read events page by page, at most `limit`."""
        page = self._ask("POST", "/events/filter", {"filter": asked, "limit": min(limit, 50)})
        found: list[Json] = page["events"]
        while page["next_page"] and len(found) < limit:
            page = self._ask("GET", f"/events/filter/next?{urlsplit(page['next_page']).query}")
            found += page["events"]
        return found[:limit]

    def _by_id(self, path: str, kind: str, ids: Sequence[str]) -> dict[str, Json]:
        if not ids:
            return {}
        return {each["id"]: each for each in self._ask("POST", path, {kind: {"id": {"any_": list(ids)}}})}

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        try:
            response = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise PrefectUnavailable(
                f"The Prefect server at {self._api} does not answer ({error}); start it, or correct PREFECT_API_URL."
            ) from error
        if response.is_error:
            raise PrefectUnavailable(
                f"The Prefect server at {self._api} answered {response.status_code} to {path.partition('?')[0]}: "
                f"{response.text[:200]}"
            )
        try:
            return response.json()
        except ValueError as error:
            raise PrefectUnavailable(
                f"{self._api} answers, but not as a Prefect server does; correct PREFECT_API_URL."
            ) from error


def _names(patterns: Sequence[str]) -> dict[str, object]:
    """A filter for event names. The server knows exact names and prefixes, not globs, so it may let more through."""
    prefixes = sorted({each.partition("*")[0] for each in patterns if "*" in each})
    exact = sorted(each for each in patterns if "*" not in each)
    if not prefixes:
        return {"name": exact}
    return {"prefix": [*prefixes, *exact]}


def resource_id(event: Json) -> str:
    """The id of the resource that an event is about."""
    return str(event["resource"][RESOURCE_ID])
