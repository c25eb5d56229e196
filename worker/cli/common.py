"""What every command takes."""

from dataclasses import dataclass
from pathlib import Path

from cyclopts import Parameter

from worker import telemetry
from worker.settings import Settings


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Common:
    """What every command takes."""

    pipelines: str | None = None
    "The pipelines, as package.module:name; HEADGATE_PIPELINES if left out."
    home: Path | None = None
    "The folder of all that Headgate keeps; HEADGATE_HOME or .headgate if left out."
    inbox: Path | None = None
    "The folder that watched folders stand below; HEADGATE_INBOX or inbox if left out."

    def settings(self, *, discover: bool = True) -> Settings:
        """The settings, with logging set up by them; whether to use the addresses that a running `up` left."""
        given = {name: getattr(self, name) for name in ("pipelines", "home", "inbox")}
        settings = Settings.load(
            discover=discover, **{name: value for name, value in given.items() if value is not None}
        )
        telemetry.configure(level=settings.log_level, as_json=settings.log_json)
        return settings
