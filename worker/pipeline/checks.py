"""What the declarations share: a check fails with a text that says what to write instead."""

from collections.abc import Iterable
from typing import get_args

from worker.errors import BadPipeline


def require(holds: object, message: str) -> None:
    """See to it that something holds.

    Raises:
        BadPipeline: it does not; the message is its text.

    """
    if not holds:
        raise BadPipeline(message)


def one_of(kind: str, name: str, value: object, allowed: object) -> None:
    """See to it that a value is one of a `Literal`'s.

    Raises:
        BadPipeline: it is not; the text tells the choices.

    """
    choices = " or ".join(repr(choice) for choice in get_args(allowed))
    require(value in get_args(allowed), f"{kind}({name}={value!r}): write {choices}.")


def codec(kind: str, encoding: str) -> None:
    """See to it that Python knows an encoding.

    Raises:
        BadPipeline: it does not.

    """
    try:
        "".encode(encoding)
    except LookupError as error:
        message = f"{kind}(encoding={encoding!r}): no such encoding; write for example 'utf-8' or 'cp1252'."
        raise BadPipeline(message) from error


def texts(kind: str, name: str, value: Iterable[str]) -> tuple[str, ...]:
    """Make a tuple of a sequence of texts; a text alone is a mistake that Python would not notice.

    Raises:
        BadPipeline: it is a text.

    """
    require(not isinstance(value, str), f"{kind}({name}={value!r}): write a sequence, such as {name}=[{value!r}].")
    return tuple(value)
