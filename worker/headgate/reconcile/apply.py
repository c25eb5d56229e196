"""Make the Prefect server match the code. Applying twice changes nothing; nothing is deleted and recreated."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import UUID

import structlog
from prefect.client.orchestration import PrefectClient

from headgate.errors import PrefectUnavailable
from headgate.reconcile import alarm, automations, blocks, deploying, objects
from headgate.reconcile.automations import Automations
from headgate.reconcile.change import Change
from headgate.reconcile.declared import Declared
from headgate.reconcile.directory import Directory
from headgate.reconcile.foreign import what_may_be_lost
from headgate.reconcile.lock import alone
from headgate.reconcile.rule import TAG, key_of
from headgate.reconcile.server import find_all, opened
from headgate.reconcile.step import Step
from headgate.reconcile.triggers import is_doorbell
from headgate.reconcile.validate import check_keys, check_names, refuse, refused
from headgate.settings import Settings

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done, or would be."""

    changes: tuple[Change, ...]  # to each thing, unchanged ones included
    left: tuple[Change, ...] = ()  # ours on the server that the code no longer declares; only `--prune` removes them
    others: tuple[str, ...] = ()  # automations that people made: never touched
    may_be_lost: str | None = None  # events that these changes may lose on this server
    refused: str | None = None  # why the rules were left out; see `keep`

    @property
    def pending(self) -> tuple[Change, ...]:
        """The changes that make the server match the code."""
        return tuple(change for change in self.changes if change.action != "unchanged")


async def apply(settings: Settings, declared: Declared, *, dry_run: bool = False, prune: bool = False) -> Outcome:
    """Make everything of ours on the server match the code; everything is checked before the first write.

    Args:
        settings: name the work pool and the server.
        declared: what should be there.
        dry_run: only say what would change.
        prune: also remove what is ours and the code no longer declares.

    Raises:
        BadRule: something in the code cannot work; nothing was changed.
        PrefectUnavailable: the server does not answer. Changes made until then stay; applying again makes the rest.
        PrefectRefused: the server refuses something.

    """
    settings.require_api()
    check_keys(declared)
    made = 0
    steps: list[Step] = []
    try:
        async with AsyncExitStack() as stack:
            if not dry_run:
                await stack.enter_async_context(alone(settings))
            client = await stack.enter_async_context(opened(settings))
            there = await automations.read(client)
            directory = Directory(client, there)
            wrong = await check_names(client, declared, directory)
            rules = Automations(client, settings.worker.pool, there, directory)
            found = rules.identify(declared.automations)
            first = await _first(client, settings, declared)
            last = []
            for core in declared.automations:
                steps = await rules.steps_of(core, found[key_of(core)])
                # Automations that need no write were checked when they were written.
                wrong += refused([core]) if steps[0].write and not is_doorbell(core.name, core.tags) else []
                last += steps
            refuse(wrong)
            left = [*rules.left(declared.homes), *await _deployments_left(client, settings, declared)]
            steps = [*first, *last, *(left if prune else ())]
            lost = await what_may_be_lost(client, [step.change for step in last])
            doubles: list[Change] = []
            if not dry_run:
                for step in first:
                    made += await _write(step)
                refuse(await check_names(client, declared, directory))  # what was created just now has an id
                for step in steps[len(first) :]:
                    made += await _write(step)
                await rules.finish()
                doubles = await rules.remove_doubles(declared.automations) if _made(last) else []
                await alarm.tell(client, rules.disabled)
    except PrefectUnavailable as error:
        pending = sum(step.write is not None for step in steps)
        if made:
            raise PrefectUnavailable(f"{error} {made} of {pending} changes were made; apply again.") from error
        raise
    changes = (*(step.change for step in steps), *doubles)
    for change in changes:
        if change.action != "unchanged" and not dry_run:
            log.info(
                "applied",
                action="apply",
                kind=change.kind,
                name=change.name,
                change=change.action,
                fields=[each.field for each in change.differences],
            )
    return Outcome(changes, tuple(step.change for step in left if not prune), tuple(rules.others()), lost)


async def _first(client: PrefectClient, settings: Settings, declared: Declared) -> list[Step]:
    """The steps for everything that automations can name, in the order of creation."""
    steps = [await objects.step_of(client, thing) for thing in declared.things]
    steps += [await blocks.step_of(client, name, block) for name, block in declared.blocks.items()]
    there = await deploying.read(client, [spec.full_name for spec in declared.deployments])
    steps += [
        deploying.step_of(client, spec, settings.worker.pool, there.get(spec.full_name))
        for spec in declared.deployments
    ]
    return steps


async def _deployments_left(client: PrefectClient, settings: Settings, declared: Declared) -> list[Step]:
    """The steps that remove deployments of ours, in our work pool, that the code no longer declares."""
    asked = {
        "deployments": {"tags": {"all_": [TAG]}},
        "work_pools": {"name": {"any_": [settings.worker.pool]}},
    }
    found = await find_all(client, "/deployments/filter", asked)
    flows = {flow["id"]: flow["name"] for flow in await find_all(client, "/flows/filter", asked)} if found else {}
    wanted = {spec.full_name for spec in declared.deployments}
    steps = []
    for each in found:
        name = f"{flows[each['flow_id']]}/{each['name']}"
        if name not in wanted and ("@" not in name or name.rpartition("@")[2] in declared.homes):
            notes = ("It is not in the code any more. Its runs stay; what waits in the ledger for it stays too.",)
            steps.append(Step(Change("deployment", name, "removed", notes=notes), _delete(client, UUID(each["id"]))))
    return steps


def _delete(client: PrefectClient, deployment_id: UUID) -> Callable[[], Awaitable[None]]:
    async def delete() -> None:
        await client.delete_deployment(deployment_id)

    return delete


async def _write(step: Step) -> int:
    if step.write is None:
        return 0
    await step.write()
    return 1


def _made(steps: Sequence[Step]) -> bool:
    return any(step.change.action == "created" for step in steps)
