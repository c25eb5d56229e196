"""Actions of automations that our own Prefect server gave up: it writes a file, and emits no event."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from headgate.settings import Settings


@dataclass(frozen=True, slots=True)
class Swallowed:
    """An action that was given up after several attempts."""

    file: Path
    at: datetime
    automation: str  # its name; "?" if the file does not tell
    action: str  # such as "send-notification"


def swallowed(settings: Settings) -> list[Swallowed]:
    """Find what the server of `headgate up` gave up, oldest first; the files of another server cannot be read.

    A notification block that raises ends there, such as a Custom Webhook whose receiver answers 500.
    """
    found = []
    for file in (settings.home / "prefect" / "dlq").glob("*"):
        try:
            at = datetime.fromtimestamp(file.stat().st_mtime, UTC)
            told = _told(file.read_bytes())
        except OSError:  # somebody removed it meanwhile
            continue
        found.append(Swallowed(file, at, *told))
    return sorted(found, key=lambda each: each.at)


def sentence(found: list[Swallowed]) -> str:
    """Describe them in one sentence, and say what to do."""
    names = sorted({f"{each.action} of {each.automation!r}" for each in found})
    return (
        f"{len(found)} actions of automations failed and no event tells of it: {', '.join(names)}; "
        f"mend the block or the action, then remove the files in {found[0].file.parent}."
    )


def _told(content: bytes) -> tuple[str, str]:
    try:
        data = orjson.loads(orjson.loads(content)["data"])
        return str(data["automation"]["name"]), str(data["action"]["type"])
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return "?", "an action"
