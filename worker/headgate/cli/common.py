"""The options that every command takes."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Parameter

if TYPE_CHECKING:  # imported when a command runs: `--help` needs none of them
    from headgate.app import App
    from headgate.settings import Settings


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Common:
    """The options that every command takes."""

    app: str | None = None
    "The declared pipelines, as package.module:name; HEADGATE_PIPELINES if left out."
    home: Path | None = None
    "The folder of all that Headgate keeps; HEADGATE_HOME or .headgate if left out."
    inbox: Path | None = None
    "The folder that relative paths of watched folders start from; HEADGATE_INBOX or inbox if left out."

    def settings(self, *, discover: bool = True) -> "Settings":
        """Load the settings and set up logging; `discover`: use the addresses that a running `headgate up` left."""
        from headgate import telemetry
        from headgate.settings import Settings

        given = {"pipelines": self.app, "home": self.home, "inbox": self.inbox}
        settings = Settings.load(
            discover=discover, **{name: value for name, value in given.items() if value is not None}
        )
        telemetry.configure(level=settings.log_level, as_json=settings.log_json)
        return settings


def require_pipeline(opened: "App", name: str | None) -> None:
    """Check that a requested pipeline exists: it is declared, or the ledger knows it from before.

    Raises:
        NotFound: it does not; the text names those that do.

    """
    from headgate.errors import NotFound
    from headgate.ledger.summary import knows_pipeline
    from headgate.words import did_you_mean

    declared = [each.name for each in opened.pipelines]
    if name is None or name in declared or knows_pipeline(opened.database, name):
        return
    hint = did_you_mean(name, declared)
    raise NotFound(
        f"There is no pipeline {name!r}{hint or '.'} Declared in {opened.settings.pipelines}: {', '.join(declared)}."
    )
