"""The Prefect server as the announcer sees it: events out, and the few questions of the ladder. Plain HTTP.

Events go by POST and not through Prefect's own client queue: an error is known per request, nothing waits in the memory
of this process, and one refused event cannot stop those behind it.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import httpx
import structlog

from headgate.errors import NotFound, PrefectDenied, PrefectUnavailable
from headgate.events.catalog import Event

BEGINS_WITHIN = timedelta(seconds=30)  # from being taken by a worker; a run that takes longer has lost it
ONLINE = timedelta(seconds=90)  # a worker's heartbeat is not older

UNFINISHED = ("RUNNING", "PENDING")

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

    def check(self) -> str:
        """See to it that a Prefect server is there and lets us in; its version.

        Raises:
            PrefectUnavailable: it does not answer.
            PrefectDenied: it does not let us in, or is not a Prefect server: waiting does not help.

        """
        response = self._request("GET", "/admin/version")
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise PrefectDenied(self._refusal())
        if response.is_server_error:
            raise PrefectUnavailable(f"The Prefect server answered {response.status_code} when asked for its version.")
        version = _version(response)
        if version is None:
            raise PrefectDenied(
                f"{self._client.base_url} is not a Prefect server's API ({response.status_code}); "
                "correct PREFECT_API_URL to http://host:port/api."
            )
        return version

    def _refusal(self) -> str:
        server = f"The Prefect server at {self._client.base_url}"
        if self._client.auth is None:
            return f"{server} asks for a password; set PREFECT_API_AUTH_STRING to user:password."
        return f"{server} does not accept the password in PREFECT_API_AUTH_STRING; correct it."

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

    def crash(self, flow_run_id: str, since: datetime, why: str) -> int:
        """Set a run whose process is gone to Crashed, and its subflows with it; how many runs that were.

        A run that somebody has begun anew meanwhile, or that has come to its end, is left alone.

        Args:
            flow_run_id: of the run.
            since: when its process was found to be gone.
            why: the reason, for people.

        Raises:
            PrefectUnavailable: the server does not answer.

        """
        asked = {
            "flow_runs": {
                "operator": "or_",
                "id": {"any_": [flow_run_id]},
                "parent_flow_run_id": {"any_": [flow_run_id]},
            }
        }
        found = [run["state"] | {"run": run["id"]} for run in self._read("/flow_runs/filter", asked) if run["state"]]
        left = [
            state["run"]
            for state in found
            if state["type"] in UNFINISHED and datetime.fromisoformat(state["timestamp"]) < since
        ]
        for run in left:
            body = {"state": {"type": "CRASHED", "name": "Crashed", "message": why}, "force": True}
            if self._request("POST", f"/flow_runs/{run}/set_state", body).is_error:
                log.warning("a run of a dead process could not be set to Crashed", action="bury", flow_run_id=run)
        return len(left)

    def queued(self, deployment: str, pool: str) -> int:
        """Count the runs of a deployment that wait for a worker of a pool, and may still begin.

        Runs that were made while the deployment had no pool never do, nor do those that a worker took long ago: it is
        dead.

        Raises:
            PrefectUnavailable: the server does not answer.

        """
        flow, _, name = deployment.partition("/")
        asked = {
            "flows": {"name": {"any_": [flow]}},
            "deployments": {"name": {"any_": [name]}},
            "work_pools": {"name": {"any_": [pool]}},
            "flow_runs": {"state": {"type": {"any_": ["SCHEDULED", "PENDING"]}}},
        }
        oldest = datetime.now(UTC) - BEGINS_WITHIN
        states = [run["state"] for run in self._read("/flow_runs/filter", asked)]
        return sum(
            state["type"] == "SCHEDULED" or datetime.fromisoformat(state["timestamp"]) > oldest for state in states
        )

    def deployed(self, deployments: Sequence[str], pool: str | None = None) -> int:
        """Count the deployments of these that are there.

        Args:
            deployments: "<flow>/<deployment>" each.
            pool: count only those whose runs go to this work pool.

        Raises:
            PrefectUnavailable: the server does not answer.

        """
        pairs = [each.partition("/") for each in deployments]
        asked = {
            "flows": {"name": {"any_": sorted({flow for flow, _, _ in pairs})}},
            "deployments": {"name": {"any_": [name for _, _, name in pairs]}},
            **({} if pool is None else {"work_pools": {"name": {"any_": [pool]}}}),
        }
        return int(self._read("/deployments/count", asked))

    def unfinished(self, pool: str) -> int:
        """Count the runs of a work pool that are under way, or due to begin; those that ingest are left out.

        Of these the ledger knows more: one may be running only because it waits for what comes next.

        Raises:
            PrefectUnavailable: the server does not answer.

        """
        pools = {"name": {"any_": [pool]}}
        under_way = {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}}
        due = {
            "state": {"type": {"any_": ["SCHEDULED"]}},
            "expected_start_time": {"before_": datetime.now(UTC).isoformat()},
        }
        asked = [{"work_pools": pools, "flow_runs": chosen} for chosen in (under_way, due)]
        ingesting = {"flows": {"name": {"any_": ["ingest"]}}}
        return sum(
            int(self._read("/flow_runs/count", each)) - int(self._read("/flow_runs/count", {**each, **ingesting}))
            for each in asked
        )

    def workers_online(self, pool: str) -> int:
        """Count the workers of a work pool whose last heartbeat is fresh.

        Raises:
            PrefectUnavailable: the server does not answer, or has no such pool.

        """
        oldest = datetime.now(UTC) - ONLINE
        beats = [each["last_heartbeat_time"] for each in self._read(f"/work_pools/{pool}/workers/filter", {})]
        return sum(beat is not None and datetime.fromisoformat(beat) > oldest for beat in beats)

    def flow_run(self, flow_run_id: str) -> dict[str, Any]:
        """A flow run as Prefect's API gives it.

        Raises:
            PrefectUnavailable: the server does not answer, or does not know it.

        """
        response = self._request("GET", f"/flow_runs/{flow_run_id}")
        if response.is_error:
            raise PrefectUnavailable(f"The Prefect server answered {response.status_code} to flow run {flow_run_id}.")
        found: dict[str, Any] = response.json()
        return found

    def events(self, chosen: Mapping[str, object]) -> list[dict[str, Any]]:
        """The events that a filter of Prefect's API lets through, oldest first; at most 50.

        The server writes events down some seconds after they came.

        Raises:
            PrefectUnavailable: the server does not answer.

        """
        asked = {"filter": {**chosen, "order": "ASC"}, "limit": 50}
        found: list[dict[str, Any]] = self._read("/events/filter", asked)["events"]
        return found

    def _read(self, path: str, asked: object) -> Any:
        response = self._request("POST", path, asked)
        if response.is_error:
            raise PrefectUnavailable(f"The Prefect server answered {response.status_code} to {path}.")
        return response.json()

    def _request(self, method: str, path: str, body: object = None) -> httpx.Response:
        try:
            response = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise PrefectUnavailable(
                f"The Prefect server at {self._client.base_url} does not answer ({error}); "
                "start it, or correct PREFECT_API_URL."
            ) from error
        if response.status_code == httpx.codes.UNAUTHORIZED and path != "/admin/version":
            raise PrefectUnavailable(self._refusal())  # it let us in before, and may again
        return response


def _version(response: httpx.Response) -> str | None:
    try:
        version = response.json()
    except ValueError:
        return None
    return version if isinstance(version, str) else None


def _basic(auth: str | None) -> httpx.BasicAuth | None:
    if auth is None:
        return None
    user, _, password = auth.partition(":")
    return httpx.BasicAuth(user, password)
