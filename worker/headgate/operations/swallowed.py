"""Actions of automations that our own Prefect server has given up: it writes a file, and no event tells of it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from headgate.settings import Settings


@dataclass(frozen=True, slots=True)
class Swallowed:
    """An action that was tried some times, and given up."""

    file: Path
    at: datetime
    automation: str  # its name; "?" if the file does not tell
    action: str  # such as "send-notification"


def swallowed(settings: Settings) -> list[Swallowed]:
    """Find what the server of `headgate up` has given up, oldest first; on a server elsewhere nobody can look.

    A notification block that raises, as a Custom Webhook whose receiver answers 500, ends there.
    """
    found = []
    for file in (settings.home / "prefect" / "dlq").glob("*"):
        try:
            at = datetime.fromtimestamp(file.stat().st_mtime, UTC)
            told = _told(file.read_bytes())
        except OSError:  # somebody removes it now
            continue
        found.append(Swallowed(file, at, *told))
    return sorted(found, key=lambda each: each.at)


def sentence(found: list[Swallowed]) -> str:
    """Tell of them in one sentence, and what to do."""
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
