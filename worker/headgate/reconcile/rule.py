"""An automation as it is compared: the fields that count, and the tag that identifies it on the server."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from prefect.events.schemas.automations import AutomationCore

from headgate.pipeline.reference import Reference, resolved

TAG = "headgate"  # on everything of ours on the server
KEY = "headgate.key:"  # begins the tag that identifies an automation: names are not unique, and can be edited
OFF = "headgate.off"  # a tag: the code switched it off, so the code may switch it on again

Json = dict[str, Any]

COMPARED = set(AutomationCore.model_fields) - {"owner_resource"}  # it comes back empty, and cannot be changed
SETS = ("expect", "after", "for_each")  # the server returns them in any order


def essence(core: AutomationCore | Mapping[str, Any]) -> Json:
    """The fields that count when two automations are compared: all except ids, times and the owner.

    Args:
        core: from code, or as the API returns it.

    """
    model = core if isinstance(core, AutomationCore) else AutomationCore.model_validate(core)
    # A field that a PUT leaves out keeps its old value, and a missing `type` is guessed: every field is written.
    dumped: Json = model.model_dump(mode="json", include=COMPARED)
    dumped["tags"] = sorted(dumped["tags"])
    _order(dumped["trigger"])
    return dumped


def _order(trigger: Json) -> None:
    for name in SETS:
        if name in trigger:
            trigger[name] = sorted(trigger[name])
    for child in trigger.get("triggers", ()):
        _order(child)


def key_of(core: AutomationCore) -> str:
    """The key of an automation within its installation: its tag `headgate.key:...` if it has one, else its name.

    To rename an automation, give it the tag with its old name: it is then updated, not recreated.
    """
    own = [tag.removeprefix(KEY) for tag in core.tags if tag.startswith(KEY)]
    return own[0] if own else core.name


def wanted(core: AutomationCore, pool: str) -> Json:
    """What an automation of ours should be on the server, with names still standing for ids.

    Args:
        core: from code.
        pool: our work pool: two installations that share a server have different ones.

    """
    found = essence(core)
    others = {tag for tag in found["tags"] if not tag.startswith(KEY) and tag != OFF}
    off = set() if core.enabled else {OFF}
    found["tags"] = sorted({*others, *off, TAG, f"{KEY}{pool}/{key_of(core)}"})
    return found


def at_server(rule: Json, ids: Mapping[Reference, UUID]) -> Json:
    """Replace the ids that stand for names with the server's."""
    found: Json = json.loads(resolved(json.dumps(rule), ids))
    return found
