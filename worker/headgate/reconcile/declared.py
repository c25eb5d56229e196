"""All that the Prefect server should have, as the code declares it: in pipelines, and in `automations/rules.py`."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from prefect.blocks.core import Block
from prefect.client.schemas.actions import (
    GlobalConcurrencyLimitCreate,
    VariableCreate,
    WorkPoolCreate,
    WorkQueueCreate,
)
from prefect.deployments.runner import RunnerDeployment
from prefect.events.schemas.automations import AutomationCore
from prefect.variables import Variable

from headgate.errors import BadPipeline, BadRule
from headgate.home import DEFAULT
from headgate.pipeline import Pipeline, load_object
from headgate.reconcile import objects
from headgate.reconcile.deployments import DeploymentSpec, of_pipeline, of_sweep, of_users_flow
from headgate.reconcile.objects import Thing
from headgate.reconcile.rule_deployments import for_rules
from headgate.reconcile.triggers import automation
from headgate.settings import Settings

VARIABLE = "HEADGATE_RULES"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What `automations/rules.py` lists, in Prefect's own classes."""

    automations: tuple[AutomationCore, ...] = ()  # RULES
    blocks: Mapping[str, Block] = field(default_factory=dict)  # BLOCKS: by name
    pools: tuple[WorkPoolCreate, ...] = ()  # POOLS
    queues: Mapping[str, Sequence[WorkQueueCreate]] = field(default_factory=dict)  # QUEUES: by the name of their pool
    variables: tuple[Variable | VariableCreate, ...] = ()  # VARIABLES
    limits: tuple[GlobalConcurrencyLimitCreate, ...] = ()  # LIMITS
    deployments: tuple[RunnerDeployment, ...] = ()  # DEPLOYMENTS: of the user's own flows


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """All that the server should have."""

    things: tuple[Thing, ...]  # work pools, queues, variables, concurrency limits
    blocks: Mapping[str, Block]
    deployments: tuple[DeploymentSpec, ...]
    automations: tuple[AutomationCore, ...]
    homes: tuple[str, ...]  # to which the deployments and doorbells belong

    @classmethod
    def of(
        cls, settings: Settings, pipelines: Sequence[Pipeline], rules: Rules, homes: Sequence[str] = (DEFAULT,)
    ) -> "Declared":
        """Gather what pipelines and rules declare.

        Args:
            settings: name the work pool.
            pipelines: each gets a deployment and a doorbell in each home.
            rules: common to all homes.
            homes: their names.

        """
        return cls(
            things=(
                objects.our_pool(settings.worker.pool),
                *map(objects.pool, rules.pools),
                *(objects.queue(pool, queue) for pool, queues in rules.queues.items() for queue in queues),
                *map(objects.variable, rules.variables),
                *map(objects.limit, rules.limits),
            ),
            blocks=rules.blocks,
            deployments=tuple(
                spec
                for home in homes
                for spec in (*(of_pipeline(each, home) for each in pipelines), of_sweep(home), *for_rules(home))
            )
            + tuple(map(of_users_flow, rules.deployments)),
            automations=(*(automation(each, home) for home in homes for each in pipelines), *rules.automations),
            homes=tuple(homes),
        )


def load_rules(settings: Settings) -> Rules:
    """Load the rules at HEADGATE_RULES, and the other lists in their module.

    Empty for a project without rules. The default rules are the demo's: they are loaded only with the demo's pipelines,
    and only if their module exists.

    Raises:
        BadRule: the path does not exist, or leads to something other than automations.

    """
    path, fields = settings.rules, type(settings).model_fields
    if path == fields["rules"].default and (
        settings.pipelines != fields["pipelines"].default or not _exists(path.partition(":")[0])
    ):
        return Rules()
    try:
        listed = load_object(path, VARIABLE)
    except BadPipeline as error:
        raise BadRule(str(error)) from error
    beside = importlib.import_module(path.partition(":")[0])
    return Rules(
        automations=_many(path, "", listed, AutomationCore),
        blocks=_mapping(beside, "BLOCKS", Block),
        pools=_many(path, "POOLS", getattr(beside, "POOLS", ()), WorkPoolCreate),
        queues=_queues(beside),
        variables=_many(path, "VARIABLES", getattr(beside, "VARIABLES", ()), Variable, VariableCreate),
        limits=_many(path, "LIMITS", getattr(beside, "LIMITS", ()), GlobalConcurrencyLimitCreate),
        deployments=_many(path, "DEPLOYMENTS", getattr(beside, "DEPLOYMENTS", ()), RunnerDeployment),
    )


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _many(path: str, name: str, listed: object, *kinds: type[Any]) -> tuple[Any, ...]:
    told = f"{VARIABLE}={path}:" if not name else f"{path.partition(':')[0]}.{name}:"
    if isinstance(listed, kinds):
        return (listed,)
    if not isinstance(listed, list | tuple):
        raise BadRule(f"{told} write a list of {_named(kinds)}, and not {_type(listed)}.")
    for number, each in enumerate(listed, start=1):
        if not isinstance(each, kinds):
            raise BadRule(f"{told} number {number} is {_type(each)}, and not a {_named(kinds)}.")
    return tuple(listed)


def _mapping(beside: ModuleType, name: str, kind: type[Any]) -> dict[str, Any]:
    listed = getattr(beside, name, {})
    write = f'{beside.__name__}.{name}: write {{name: {kind.__name__}}}, such as {{"team": SlackWebhook(url=...)}}'
    if not isinstance(listed, Mapping):
        raise BadRule(f"{write}, and not {_type(listed)}.")
    for key, each in listed.items():
        if not isinstance(each, kind):
            raise BadRule(f"{write}; {key!r} is {_type(each)}.")
    return dict(listed)


def _queues(beside: ModuleType) -> dict[str, tuple[WorkQueueCreate, ...]]:
    listed = getattr(beside, "QUEUES", {})
    if not isinstance(listed, Mapping):
        write = "write {pool: [WorkQueueCreate(name=...)]}"
        raise BadRule(f"{beside.__name__}.QUEUES: {write}, and not {_type(listed)}.")
    return {pool: _many(f"{beside.__name__}:", "QUEUES", queues, WorkQueueCreate) for pool, queues in listed.items()}


def _type(value: object) -> str:
    """What a value is, without the value: it may be a secret."""
    return f"a {type(value).__name__}"


def _named(kinds: Sequence[type[Any]]) -> str:
    return " or ".join(kind.__name__ for kind in kinds)
