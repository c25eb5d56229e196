"""An automation as it is compared: what counts of it, and the tag that it is known by on the server."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from prefect.events.schemas.automations import AutomationCore

from headgate.pipeline.reference import Reference, resolved

TAG = "headgate"  # of all that is ours on the server
KEY = "headgate.key:"  # begins the tag that an automation is known by: names are not unique, and can be edited
OFF = "headgate.off"  # a tag: it was the code that switched it off, so the code may switch it on again

Json = dict[str, Any]

COMPARED = set(AutomationCore.model_fields) - {"owner_resource"}  # which comes back empty, and cannot be changed
SETS = ("expect", "after", "for_each")  # they come back in any order


def essence(core: AutomationCore | Mapping[str, Any]) -> Json:
    """What counts when two automations are compared: all but ids, times and the owner.

    Args:
        core: from code, or as the API has it.

    """
    model = core if isinstance(core, AutomationCore) else AutomationCore.model_validate(core)
    # What is left out of a PUT keeps its old value, and a class that is left out is guessed: everything is said.
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
    """What an automation is known by within its installation: its tag `headgate.key:...` if it has one, else its name.

    Give an automation that you rename the tag with its old name: it is then changed, and not made anew.
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
    """The same with the server's ids."""
    found: Json = json.loads(resolved(json.dumps(rule), ids))
    return found
