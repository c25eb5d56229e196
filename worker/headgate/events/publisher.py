"""The announcer's client of the Prefect server, in plain HTTP: it posts events and answers the ladder's questions.

Events go by POST and not through the queue of Prefect's client, so that each request reports its own error, nothing
waits in this process's memory, and a refused event cannot stop those behind it.
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

BEGINS_WITHIN = timedelta(seconds=30)  # from Pending to Running; a run that takes longer has lost its worker
ONLINE = timedelta(seconds=90)  # the maximum age of an online worker's last heartbeat

UNFINISHED = ("RUNNING", "PENDING")

log = structlog.get_logger()


class Publisher:
    """Posts events, dispatches runs directly, and counts queued runs.

    Args:
        api: the server's API, http://host:port/api.
        auth: user:password, if the server requires it.
        timeout: seconds for one request.

    """

    def __init__(self, api: str, *, auth: str | None = None, timeout: float = 10) -> None:
        # Without TLS, do not load the certificate authorities, which take a megabyte.
        self._client = httpx.Client(
            base_url=api, timeout=timeout, auth=_basic(auth), verify=not api.startswith("http://")
        )

    def __enter__(self) -> Self:
        """Open nothing: connections are made when needed."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Close the connections."""
        self._client.close()

    def check(self) -> str:
        """Check that a Prefect server answers and accepts our login; return its version.

        Raises:
            PrefectUnavailable: it does not answer.
            PrefectDenied: it rejects our login, or is not a Prefect server: waiting does not help.

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
        """Post events; an event that the server refuses is logged and left out, and the others are posted.

        Raises:
            PrefectUnavailable: the server does not answer, or fails; it may or may not have these events.

        """
        if not events:
            return
        response = self._request("POST", "/events", [event.body() for event in events])
        if response.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
            # One bad event makes the server refuse the whole request: post one by one, to lose only that event.
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
        """Create a run of a deployment directly; return its id.

        Args:
            deployment: "<flow>/<deployment>".
            parameters: the run's parameters.
            idempotency_key: the same key again returns the same run.

        Raises:
            NotFound: no such deployment exists.
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
        """Return the names and times of a flow run's states, oldest first; none if the server does not know the run.

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
        """Set a run whose process is gone, and its subflows, to Crashed; return how many runs that were.

        A run that has been restarted meanwhile, or has ended, is left alone.

        Args:
            flow_run_id: the run's id.
            since: when its process was found to be gone.
            why: the reason, shown to people.

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
        """Count the runs of a deployment that wait for a worker of a pool and may still begin.

        Runs created while the deployment had no pool never begin. Nor do runs that a worker took long ago: that worker
        is dead. And the server creates the next runs of a schedule long before they are due: nothing waits for those.

        Raises:
            PrefectUnavailable: the server does not answer.

        """
        flow, _, name = deployment.partition("/")
        now = datetime.now(UTC)
        asked = {
            "flows": {"name": {"any_": [flow]}},
            "deployments": {"name": {"any_": [name]}},
            "work_pools": {"name": {"any_": [pool]}},
            "flow_runs": {
                "state": {"type": {"any_": ["SCHEDULED", "PENDING"]}},
                "expected_start_time": {"before_": now.isoformat()},
            },
        }
        oldest = now - BEGINS_WITHIN
        states = [run["state"] for run in self._read("/flow_runs/filter", asked)]
        return sum(
            state["type"] == "SCHEDULED" or datetime.fromisoformat(state["timestamp"]) > oldest for state in states
        )

    def deployed(self, deployments: Sequence[str], pool: str | None = None) -> int:
        """Count those of these deployments that exist.

        Args:
            deployments: their names, each "<flow>/<deployment>".
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
        """Count the runs of a work pool that are in progress or due to begin, except runs of `ingest`.

        The ledger knows more about those: one may be running only because it waits for the next arrival.

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
        """Count the workers of a work pool whose last heartbeat is recent.

        Raises:
            PrefectUnavailable: the server does not answer, or no such pool exists.

        """
        oldest = datetime.now(UTC) - ONLINE
        beats = [each["last_heartbeat_time"] for each in self._read(f"/work_pools/{pool}/workers/filter", {})]
        return sum(beat is not None and datetime.fromisoformat(beat) > oldest for beat in beats)

    def flow_run(self, flow_run_id: str) -> dict[str, Any]:
        """Return a flow run as Prefect's API returns it.

        Raises:
            PrefectUnavailable: the server does not answer, or does not know the run.

        """
        response = self._request("GET", f"/flow_runs/{flow_run_id}")
        if response.is_error:
            raise PrefectUnavailable(f"The Prefect server answered {response.status_code} to flow run {flow_run_id}.")
        found: dict[str, Any] = response.json()
        return found

    def events(self, chosen: Mapping[str, object]) -> list[dict[str, Any]]:
        """Return at most 50 events that match a filter of Prefect's API, oldest first.

        The server stores events some seconds after they come.

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
        if path != "/admin/version" and (response.is_redirect or not _is_prefects(response)):
            # A proxy before it, for example with a page for maintenance: what it took is not stored.
            raise PrefectUnavailable(
                f"Something else than a Prefect server answers at {self._client.base_url} ({response.status_code}); "
                "look at the proxy before it, or correct PREFECT_API_URL."
            )
        return response


def _is_prefects(response: httpx.Response) -> bool:
    """Return whether a response without an error is what Prefect's API would say: JSON, or nothing."""
    said = response.headers.get("content-type", "")
    return response.is_error or not response.content or said.startswith("application/json")


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
