"""What a check of `headgate doctor` found."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import httpx

from headgate.errors import HeadgateError


class Verdict(StrEnum):
    """How serious it is."""

    OK = "ok"
    WARNING = "warning"  # needs a look; everything goes on
    FAILED = "failed"  # something has stopped, or will


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's answer."""

    check: str
    verdict: Verdict
    detail: str  # what was found, and what to do if it is not in order


Answer = tuple[Verdict, str]


def checked(check: str, ask: Callable[[], Answer]) -> Finding:
    """Run a check; one that cannot be run is a finding, not an error."""
    try:
        return Finding(check, *ask())
    except (HeadgateError, httpx.HTTPError, OSError) as error:
        return Finding(check, Verdict.FAILED, str(error))
