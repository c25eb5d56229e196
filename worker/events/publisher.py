"""The Prefect server as the announcer sees it: events out, and the few questions of the ladder. Plain HTTP.

Events go by POST and not through Prefect's own client queue: an error is known per request, nothing waits in the memory
of this process, and one refused event cannot stop those behind it.
"""

from collections.abc import Sequence
from datetime import datetime
from operator import itemgetter
from types import TracebackType
from typing import Self
from uuid import UUID

import httpx
import structlog

from worker.errors import NotFound, PrefectUnavailable
from worker.events.catalog import Event

log = structlog.get_logger()


class Publisher:
    """Posts events, dispatches runs directly, and counts what is queued.

    Args:
        api: the server's API, http://host:port/api.
        auth: user:password, if the server asks for one.
        timeout: seconds for one request.

    """

    def __init__(self, api: str, *, auth: str | None = None, timeout: float = 10) -> None:
        # Without TLS, the authorities are not loaded: a megabyte.
        self._client = httpx.Client(
            base_url=api, timeout=timeout, auth=_basic(auth), verify=not api.startswith("http://")
        )

    def __enter__(self) -> Self:
        """Nothing is opened before it is needed."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Close the connections."""
        self._client.close()

    def check(self) -> None:
        """See to it that the server is there.

        Raises:
            PrefectUnavailable: it does not answer.

        """
        response = self._request("GET", "/health")
        if response.is_error:
            raise PrefectUnavailable(f"The Prefect server answered {response.status_code} when asked how it is.")

    def publish(self, events: Sequence[Event]) -> None:
        """Post events; an event that the server refuses is logged and left out, the others go.

        Raises:
            PrefectUnavailable: the server does not answer, or fails; nothing is known of these events.

        """
        if not events:
            return
        response = self._request("POST", "/events", [event.body() for event in events])
        if response.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
            # One bad event refuses the whole request: find it, and do not lose the rest.
            if len(events) == 1:
                log.error(
                    "event refused by the server", action="publish", event_id=str(events[0].id), name=events[0].event
                )
                return
            for event in events:
                self.publish([event])
        elif response.is_error:
            raise PrefectUnavailable(f"The Prefect server answered {response.status_code} to events.")

    def dispatch(self, deployment: str, parameters: dict[str, object], idempotency_key: str) -> UUID:
        """Create a run of a deployment directly; the same key again gives the same run.

        Args:
            deployment: "<flow>/<deployment>".
            parameters: of the run.
            idempotency_key: at most one run comes of it.

        Raises:
            NotFound: there is no such deployment.
            PrefectUnavailable: the server does not answer.

        """
        found = self._request("GET", f"/deployments/name/{deployment}")
        if found.status_code == httpx.codes.NOT_FOUND:
            raise NotFound(f"There is no deployment {deployment} on the Prefect server; run `headgate apply`.")
        if found.is_error:
            raise PrefectUnavailable(f"The Prefect server answered {found.status_code} to a look for {deployment}.")
        body = {"parameters": parameters, "idempotency_key": idempotency_key, "state": {"type": "SCHEDULED"}}
        made = self._request("POST", f"/deployments/{found.json()['id']}/create_flow_run", body)
        if made.is_error:
            raise PrefectUnavailable(
                f"A run of {deployment} could not be created: {made.status_code} {made.text[:200]}"
            )
        return UUID(made.json()["id"])

    def states(self, flow_run_id: str) -> list[tuple[str, datetime]]:
        """The states that a flow run came to, by name, and when; none if the server does not know it.

        Raises:
            PrefectUnavailable: the server does not answer.

        """
        response = self._request("GET", f"/flow_run_states/?flow_run_id={flow_run_id}")
        if response.is_error:
            return []
        return sorted(
            ((each["name"], datetime.fromisoformat(each["timestamp"])) for each in response.json()),
            key=itemgetter(1),
        )

    def queued(self, deployment: str) -> int:
        """Count the runs of a deployment that wait for a worker.

        Raises:
            PrefectUnavailable: the server does not answer.

        """
        flow, _, name = deployment.partition("/")
        asked = {
            "flows": {"name": {"any_": [flow]}},
            "deployments": {"name": {"any_": [name]}},
            "flow_runs": {"state": {"type": {"any_": ["SCHEDULED", "PENDING"]}}},
        }
        response = self._request("POST", "/flow_runs/count", asked)
        if response.is_error:
            raise PrefectUnavailable(f"The Prefect server answered {response.status_code} to a count of runs.")
        return int(response.json())

    def _request(self, method: str, path: str, body: object = None) -> httpx.Response:
        try:
            return self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise PrefectUnavailable(
                f"The Prefect server at {self._client.base_url} does not answer ({error}); "
                "start it, or correct PREFECT_API_URL."
            ) from error


def _basic(auth: str | None) -> httpx.BasicAuth | None:
    if auth is None:
        return None
    user, _, password = auth.partition(":")
    return httpx.BasicAuth(user, password)
