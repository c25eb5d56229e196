"""Blocks that automations need, such as the Slack webhook of a team: saved by their classes, secrets never shown."""

from typing import Any

from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectNotFound

from headgate.reconcile.change import Change, Difference
from headgate.reconcile.step import Step


def name_of(name: str, block: Block) -> str:
    """The name by which `block(...)` refers to a block: the slug of its type, and its name."""
    return f"{block.get_block_type_slug()}/{name}"


async def step_of(client: PrefectClient, name: str, block: Block) -> Step:
    """Compare a block with the server."""
    told = name_of(name, block)
    try:
        await client.read_block_document_by_name(name, block.get_block_type_slug(), include_secrets=False)
    except ObjectNotFound:
        return Step(Change("block", told, "created"), lambda: _save(client, name, block))
    found = await type(block).aload(name, validate=False, client=client)
    differ = tuple(
        Difference(field, _shown(found, field), _shown(block, field))
        for field, value in _values(block).items()
        if _values(found).get(field) != value
    )
    if not differ:
        return Step(Change("block", told, "unchanged"))
    return Step(Change("block", told, "updated", differ), lambda: _save(client, name, block))


async def _save(client: PrefectClient, name: str, block: Block) -> None:
    await block.asave(name, overwrite=True, client=client)


def _values(block: Block) -> dict[str, Any]:
    values: dict[str, Any] = block.model_dump(mode="json", context={"include_secrets": True})
    return values


def _shown(block: Block, field: str) -> str:
    """Format a value for people; asterisks if it holds a secret."""
    plain = block.model_dump(mode="json").get(field)
    return "********" if plain != _values(block).get(field) else str(plain)
