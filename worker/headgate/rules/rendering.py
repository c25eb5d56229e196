"""What an action would do: its parameters and texts, rendered by Prefect's own code. Nothing is executed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefect.server.events.actions import CallWebhook, RunDeployment, SendNotification
from prefect.server.events.schemas.automations import TriggeredAction
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.hydration import HydrationError
from prefect.utilities.schema_tools.validation import CircularSchemaRefError, ValidationError, validate

from headgate.rules.engine import Engine, Fired
from headgate.rules.shape import Json


@dataclass(frozen=True, slots=True)
class Act:
    """What an action of a firing would do, or why it would fail."""

    kind: str  # as Prefect calls it: "run-deployment"
    target: str | None  # the id of what it acts on: a deployment, a block, a pool; None: inferred from the event
    parameters: Mapping[str, object] | None = None  # of a run, as the server would pass them
    texts: Mapping[str, str] = field(default_factory=dict)  # of a notification or a webhook, by field
    problem: str | None = None  # why it would fail


def render(engine: Engine, fired: Fired, schemas: Mapping[str, Json] | None = None) -> Sequence[Act]:
    """Say what the actions of a firing would do.

    Args:
        engine: the engine that it fired in.
        fired: the firing.
        schemas: parameter schemas of deployments, by their ids; parameters that do not fit are refused, as by the
            server.

    """
    return [_render(engine, each, schemas or {}) for each in fired.actions]


def schema_of(flow: Callable[..., Any]) -> Json:
    """The schema of a flow's parameters, as its deployment has it."""
    return parameter_schema(flow).model_dump()


def _render(engine: Engine, triggered: TriggeredAction, schemas: Mapping[str, Json]) -> Act:
    action = triggered.action
    target = next((str(value) for name, value in action if name.endswith("_id") and value is not None), None)
    try:
        if isinstance(action, RunDeployment):
            parameters = engine.call(action.render_parameters, triggered)
            return Act(action.type, target, parameters, problem=_misfit(parameters, schemas.get(target or "")))
        if isinstance(action, SendNotification):
            return Act(action.type, target, texts=_texts(engine, triggered, "subject", "body"))
        if isinstance(action, CallWebhook):
            return Act(action.type, target, texts=_texts(engine, triggered, "payload"))
    except Exception as error:  # noqa: BLE001 - whatever a template raises is why its action fails
        return Act(action.type, target, problem=_said(error))
    return Act(action.type, target)


def _texts(engine: Engine, triggered: TriggeredAction, *fields: str) -> dict[str, str]:
    action: Any = triggered.action
    rendered = engine.call(action._render, [getattr(action, each) for each in fields], triggered)  # noqa: SLF001 - internals.PARTS
    return dict(zip(fields, rendered, strict=True))


def _misfit(parameters: Mapping[str, object], schema: Json | None) -> str | None:
    """Why the server would refuse to create a run with these parameters."""
    if schema is None:
        return None
    try:
        # A required parameter may be absent: the deployment's own parameters, unknown here, may provide it.
        validate(dict(parameters), dict(schema), raise_on_error=True, ignore_required=True)
    except ValidationError as error:
        return str(error)
    except CircularSchemaRefError:
        return "The deployment's parameter schema refers to itself."
    return None


def _said(error: BaseException) -> str:
    if isinstance(error, HydrationError):
        return error.message
    return str(error) or repr(error)
