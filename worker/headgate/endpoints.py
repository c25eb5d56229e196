"""The addresses that a running `headgate up` leaves in its home for other commands."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ValidationError

from headgate.errors import BadSettings

ENDPOINTS = "endpoints.json"


class Endpoints(BaseModel):
    """The addresses that a running `headgate up` leaves in its home for other commands; readable by the owner alone."""

    database_url: str
    api_url: str
    kafka_bootstrap: str | None = None
    pipelines: str | None = None  # the pipelines it runs, as `package.module:name`
    inbox: Path | None = None

    @classmethod
    def read(cls, home: Path) -> Self | None:
        """Read the addresses; return None if there are none.

        Raises:
            BadSettings: the file is damaged.

        """
        try:
            return cls.model_validate_json((home / ENDPOINTS).read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            # Raised without its cause, which quotes the file's text with the password.
            raise BadSettings(f"{home / ENDPOINTS}: damaged; remove it, and start `headgate up` again.") from None

    def write(self, home: Path) -> None:
        """Write the addresses, readable by the owner alone: they hold the database's password."""
        path = home / ENDPOINTS
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(self.model_dump_json(), encoding="utf-8")
        fresh.replace(path)

    @staticmethod
    def remove(home: Path) -> None:
        """Remove the addresses: nothing answers there any more."""
        (home / ENDPOINTS).unlink(missing_ok=True)
