"""docs/settings.md has a line for each setting, as the code says it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from headgate.settings import Settings
from pydantic_settings import BaseSettings

PAGE = Path(__file__).parents[2] / "docs/settings.md"


def lines(group: type[BaseSettings]) -> Iterator[str]:
    for name, field in group.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseSettings):
            yield from lines(kind)
        else:
            variable = field.validation_alias or f"{group.model_config['env_prefix']}{name.upper()}"
            default = "" if field.default is None else f"`{field.default}`"
            yield f"| `{variable}` | {default} | {field.description} |"


@pytest.mark.parametrize("line", list(lines(Settings)))
def test_a_setting_stands_on_the_page_as_the_code_says_it(line: str) -> None:
    """The line that is missing is the one to write there."""
    assert line in PAGE.read_text(encoding="utf-8").splitlines()
