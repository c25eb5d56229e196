"""Test pipelines and rules with pytest: feed a file, a message or an event, and check the outcome.

    def test_a_bad_row_is_sent_again(gate):
        gate.rules("automations.rules:RULES")
        outcome = gate.drop(flights, "day.csv", b"...")
        assert outcome.rows == [...]
        assert [letter.reason for letter in outcome.dead_letters] == ["schema"]
        assert outcome.fired_by("send again").parameters == {"pipeline": "flights", "at_most": 1}

The fixture `gate` comes with the package, without an import. See docs/how-to/test-rules-and-pipelines.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate.testing.gate import Gate
    from headgate.testing.outcome import Outcome

__all__ = ["Gate", "Outcome"]


def __getattr__(name: str) -> object:
    """Import a name on its first use: pytest imports this package in every run, and Prefect's server takes seconds."""
    if name in __all__:
        return getattr(import_module(f"headgate.testing.{name.lower()}"), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
