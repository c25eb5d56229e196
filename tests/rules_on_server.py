"""A real Prefect server as the tests of rules use it: automations made and changed, events sent, firings counted."""

import contextlib
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx
import psycopg
from harness import Services, wait_until

NEVER = 1_000_000


class RuleServer:
    """Makes automations that go away at the end.

    Events are evaluated in order, so that one behind them that was counted tells that they were evaluated too.
    """

    def __init__(self, services: Services) -> None:
        self.api = services.prefect().api_url
        self._database = psycopg.connect(services.prefect().database_url, autocommit=True)
        self._made: list[str] = []
        self._client = httpx.Client(base_url=self.api, timeout=60)
        self._marker = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for each in self._made:
            with contextlib.suppress(httpx.HTTPError):
                self._client.delete(f"/automations/{each}")
        self._client.close()
        self._database.close()

    def create(self, body: dict[str, Any]) -> Any:
        """Make an automation; as the server has it."""
        response = self._client.post("/automations/", json=body)
        assert response.is_success, f"{body['name']}: {response.text[:500]}"
        self._made.append(response.json()["id"])
        return self.read(response.json()["id"])

    def read(self, automation_id: str) -> Any:
        """An automation as the server has it."""
        return self._client.get(f"/automations/{automation_id}").raise_for_status().json()

    def change(self, made: Any, method: str, body: dict[str, Any]) -> Any:
        """Change an automation; as the server has it then, None if it is gone."""
        named = {"name": made["name"], **body} if method == "PUT" else body
        response = self._client.request(method, f"/automations/{made['id']}", json=named or None)
        assert response.is_success, response.text[:500]
        return None if method == "DELETE" else self.read(made["id"])

    def settle(self) -> None:
        """Wait until the server evaluates by all changes so far: it takes them in one after the other."""
        self._marker = f"settled.{uuid4().hex}"
        trigger = {
            "type": "event",
            "posture": "Reactive",
            "expect": [self._marker],
            "threshold": NEVER,
            "within": 0,
            "for_each": ["mark"],
        }
        self.create({"name": self._marker, "trigger": trigger, "actions": [{"type": "do-nothing"}]})
        # Marks that come before the server has taken the automation in are lost; later ones are counted.
        self._marks: list[str] = []
        wait_until(self._one_passed, every=0.5)

    def _one_passed(self) -> bool:
        self._marks.append(self._post_marks([]))
        return any(self._counted(mark) for mark in self._marks)

    def send(self, events: list[dict[str, Any]]) -> None:
        """Send events, and wait until they were evaluated."""
        mark = self._post_marks(events)
        wait_until(lambda: self._counted(mark), within=120)

    def _post_marks(self, events: list[dict[str, Any]]) -> str:
        """Send events and two marks behind them, for there are two consumers."""
        mark = uuid4().hex
        self.post([*events, *(event(self._marker, mark=mark) for _ in range(2))])
        return mark

    def _counted(self, mark: str) -> bool:
        found = self._ask("select count from automation_bucket where bucketing_key = %s::jsonb", f'["{mark}"]')
        return bool(sum(count for (count,) in found) == 2)

    def post(self, events: list[dict[str, Any]]) -> None:
        """Send events."""
        self._client.post("/events", json=events).raise_for_status()

    def shown(self) -> None:
        """Wait until all events so far can be read."""
        marker = event(f"shown.{uuid4().hex}")
        self.post([marker])
        asked = {"filter": {"id": {"id": [marker["id"]]}}}
        wait_until(lambda: self._client.post("/events/filter", json=asked).json()["events"], every=0.2)

    def deployment(self, name: str, schema: dict[str, Any]) -> str:
        """Make a deployment that nobody works on; its id."""
        flow = self._client.post("/flows/", json={"name": name}).raise_for_status().json()
        body = {
            "name": name,
            "flow_id": flow["id"],
            "parameter_openapi_schema": schema,
            "enforce_parameter_schema": True,
        }
        return str(self._client.post("/deployments/", json=body).raise_for_status().json()["id"])

    def webhook(self, name: str, url: str) -> str:
        """Make a webhook block; its id."""
        kind = self._client.get("/block_types/slug/webhook").raise_for_status().json()
        asked = {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}}
        schema = self._client.post("/block_schemas/filter", json=asked).raise_for_status().json()[0]
        data = {"url": url, "method": "POST", "allow_private_urls": True}
        body = {"name": name, "data": data, "block_schema_id": schema["id"], "block_type_id": kind["id"]}
        return str(self._client.post("/block_documents/", json=body).raise_for_status().json()["id"])

    def outcomes(self, automation_id: str) -> list[Any]:
        """What actions of an automation came to."""
        query = """select event from events where resource_id = %s
                   and event in ('prefect.automation.action.executed', 'prefect.automation.action.failed')"""
        return self._ask(query, f"prefect.automation.{automation_id}")

    def firings(self, automation_id: str) -> list[tuple[str | None, str]]:
        """By which events an automation fired, and with which labels."""
        query = """select payload->'triggering_event'->>'id', payload->'triggering_labels' from events
                   where event = 'prefect.automation.triggered' and resource_id = %s"""
        found = self._ask(query, f"prefect.automation.{automation_id}")
        return sorted((identity, str(labels)) for identity, labels in found)

    def age(self, automation_id: str, *, days: int) -> None:
        """Let an automation be this old."""
        query = "update automation set created = now() - make_interval(days => %s) where id = %s"
        self._database.execute(query, (days, automation_id))

    def forget_firings(self, automation_id: str) -> None:
        """Let no record be left of the firings of an automation."""
        self._database.execute("delete from events where resource_id = %s", (f"prefect.automation.{automation_id}",))

    def _ask(self, query: str, *values: object) -> list[Any]:
        return self._database.execute(query.encode(), values).fetchall()


def event(name: str, *, payload: dict[str, Any] | None = None, **labels: str) -> dict[str, Any]:
    """An event that occurs now."""
    return {
        "id": str(uuid4()),
        "event": name,
        "occurred": datetime.now(UTC).isoformat(),
        "resource": {"prefect.resource.id": "r", **labels},
        "related": [],
        "payload": payload or {},
    }
