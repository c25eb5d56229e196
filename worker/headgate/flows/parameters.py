"""Types of flow parameters that accept what rules and forms send: typed values, text, or an empty text for a blank.

The Prefect server validates a value against the schema before it creates a run, and names the field and the reason if
it refuses. The flow then parses text into the parameter's type.
"""

from typing import Annotated
from uuid import UUID

from pydantic import BeforeValidator, Field, WithJsonSchema

from headgate.model import Reason


def _blank(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _schema(*ways: dict[str, object]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [*ways, {"type": "null"}]})


Blank = BeforeValidator(_blank)
SPAN = r"^\s*(\d+(\.\d+)?\s*(ms|s|m|h|d)|\d{4}-\d\d-\d\d([T ]\S+)?)?\s*$"

RING_ID = r"^\s*([0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})?\s*$"

Text = Annotated[str | None, Blank, _schema({"type": "string", "maxLength": 4000})]
Whole = Annotated[
    Annotated[int, Field(ge=1)] | None,
    Blank,
    _schema({"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^\s*([1-9][0-9]{0,17})?\s*$"}),
]
Ring = Annotated[UUID | None, Blank, _schema({"type": "string", "pattern": RING_ID})]
Since = Annotated[str | None, Blank, _schema({"type": "string", "pattern": SPAN})]
Why = Annotated[str | None, Blank, _schema({"type": "string", "enum": ["", *sorted(Reason)]})]
