"""Events and automations as people write them in files, converted to the JSON of Prefect's API."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import yaml

from headgate.errors import BadFixture
from headgate.events import catalog
from headgate.model import Fact
from headgate.pipeline import load_object
from headgate.pipeline.reference import automation, block, deployment, reference_of, work_pool, work_queue
from headgate.rules.shape import RESOURCE_ID, Json

TOLD = {f"headgate.{fact}": fact for fact in Fact}
UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
NAMED: Mapping[str, Callable[[str], UUID]] = {
    "deployment_id": deployment,
    "block_document_id": block,
    "work_pool_id": work_pool,
    "work_queue_id": work_queue,
    "automation_id": automation,
}
SPAN = re.compile(r"(-?\d+(?:\.\d+)?) *([a-z]*)")
OF_API = {"event", "id", "occurred", "received", "resource", "related", "payload", "follows"}
SHORT = {"labels", "pipeline", "age"}  # shorthands


def read(path: Path) -> Any:
    """Read a file of JSON or YAML.

    Raises:
        BadFixture: it cannot be read; the text says where it is wrong.

    """
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise BadFixture(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    except json.JSONDecodeError as error:
        raise BadFixture(f"{path}, line {error.lineno}, column {error.colno} is not JSON: {error.msg}.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise BadFixture(f"{path}{place} is not YAML: {getattr(error, 'problem', None) or error}.") from error


def read_events(path: Path) -> list[Json]:
    """Read one event, or a list of them, that have not been sent, as if they arrived now.

    Raises:
        BadFixture: the file holds something else.

    """
    found = read(path)
    try:
        return [event_of(each, datetime.now(UTC)) for each in (found if isinstance(found, list) else [found])]
    except BadFixture as error:
        raise BadFixture(f"{path}: {error}") from error


def event_of(written: object, received: datetime) -> Json:
    """Convert an event as people write it.

    Args:
        written: the fields of the API. `resource` may be just its id, with `labels` beside it. An event of the
            catalogue needs neither: they follow from `pipeline` and the payload. `age` says how long ago it occurred.
        received: when the server receives it.

    Raises:
        BadFixture: something is missing, or unknown.

    """
    if not isinstance(written, Mapping) or not isinstance(written.get("event"), str):
        raise BadFixture("An event has a name: event: headgate.rows.dead-lettered")
    if unknown := written.keys() - OF_API - SHORT:
        raise BadFixture(f"Event {written['event']}: {', '.join(sorted(unknown))} is not a field of an event.")
    identity = written.get("id")
    occurred = written.get("occurred") or (received - span(written.get("age", 0))).isoformat()
    resource, related, payload = _about(written)
    return {
        "id": str(named_id(str(identity)) if identity is not None else uuid4()),
        "event": written["event"],
        "occurred": str(occurred),
        "received": received.isoformat(),
        "resource": {**resource, **(written.get("labels") or {})},
        "related": written.get("related", related),
        "payload": payload,
        **({"follows": str(named_id(str(written["follows"])))} if "follows" in written else {}),
    }


def _about(written: Mapping[str, Any]) -> tuple[Json, Sequence[Json], Json]:
    """The resource, the related resources and the payload of an event."""
    resource, payload = written.get("resource"), written.get("payload") or {}
    if isinstance(resource, str):
        return {RESOURCE_ID: resource}, (), payload
    if resource is not None:
        return resource, (), payload
    if written["event"] not in {catalog.READY, *TOLD}:
        raise BadFixture(
            f"Event {written['event']} needs a resource, as: resource: my.thing.1; those that have their own are "
            f"{', '.join(sorted({catalog.READY, *TOLD}))}."
        )
    pipeline = str(written.get("pipeline") or payload.get("pipeline") or "")
    if not pipeline:
        raise BadFixture(f"Event {written['event']} needs a pipeline, as: pipeline: flights.")
    if written["event"] == catalog.READY:
        made = catalog.ready(uuid4(), pipeline, int(payload.get("count", 1)))
    else:
        made = catalog.news(uuid4(), TOLD[written["event"]], pipeline, payload, datetime.now(UTC))
    return made.resource, made.related, {**made.payload, **payload}


def span(written: object) -> timedelta:
    """Parse a duration: seconds, or a text such as 20s, 5 min, 1h, 2d.

    Raises:
        BadFixture: it is not a duration.

    """
    found = SPAN.fullmatch(str(written).strip())
    if found is None or (found[2] and found[2] not in UNITS):
        raise BadFixture(f"{written!r} is not a time; write such as 20s, 5 min, 1h.")
    return timedelta(seconds=float(found[1]) * UNITS[found[2] or "s"])


def named_id(text: str) -> UUID:
    """The UUID that a text spells, or one derived from it: the same text always gives the same UUID."""
    return _uuid(text) or uuid5(NAMESPACE_URL, text)


@dataclass(frozen=True, slots=True)
class Rules:
    """The automations to test."""

    automations: tuple[Json, ...]  # as the API has them
    names: Mapping[str, str] = field(default_factory=dict)  # of deployments and blocks, by the ids that stand for them


def rules_of(written: object, folder: Path) -> Rules:
    """Find the automations to test.

    Args:
        written: "package.module:NAME" of a list; a file of JSON or YAML; or the automations themselves, as the API or
            Prefect's classes have them. Where the API has an id, a name as `headgate.deployment` takes it also works.
        folder: where the relative path of a file starts.

    Raises:
        BadFixture: the file cannot be read, or something in it is not an automation.
        BadPipeline: `package.module:NAME` cannot be imported.

    """
    if isinstance(written, str) and ":" in written:
        written = load_object(written, "automations")
    elif isinstance(written, str):
        written = read(folder / written)
    given = written if isinstance(written, list | tuple) else [written]
    names: dict[str, str] = {}
    return Rules(tuple(_automation(each, number, names) for number, each in enumerate(given)), names)


def _automation(written: Any, number: int, names: dict[str, str]) -> Json:
    found = written.model_dump(mode="json") if hasattr(written, "model_dump") else written
    if not isinstance(found, Mapping) or "trigger" not in found:
        raise BadFixture("An automation has a name, a trigger and actions, as in the JSON of Prefect's API.")
    actions = {
        field: [_action(each, names) for each in found.get(field) or ()]
        for field in ("actions", "actions_on_trigger", "actions_on_resolve")
    }
    name = str(found.get("name") or f"automation {number + 1}")
    identity = str(found.get("id") or named_id(f"{number} {name}"))
    return {**found, **actions, "name": name, "id": identity, "trigger": _trigger(found["trigger"])}


def _trigger(written: Any) -> Any:
    """Add the fields that every event trigger needs and people leave out."""
    if not isinstance(written, Mapping):
        return written
    if "triggers" in written:
        return {**written, "triggers": [_trigger(each) for each in written["triggers"]]}
    return {"type": "event", "posture": "Reactive", "threshold": 1, "within": 0, **written}


def _action(written: Any, names: dict[str, str]) -> Any:
    if not isinstance(written, Mapping):
        return written
    made = dict(written)
    if "deployment" in made:
        made["deployment_id"] = made.pop("deployment")
    for key, stand_for in NAMED.items():
        if isinstance(made.get(key), str):
            identity = _uuid(made[key]) or stand_for(made[key])
            name = reference_of(identity)
            made[key] = str(identity)
            names[str(identity)] = name.name if name else str(identity)
    return made


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
