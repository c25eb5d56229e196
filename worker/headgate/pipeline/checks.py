"""Checks that the declarations share; a failed check says what to write instead."""

from collections.abc import Iterable
from typing import get_args

from headgate.errors import BadPipeline


def require(holds: object, message: str) -> None:
    """Make sure that something holds.

    Raises:
        BadPipeline: it does not; the message is the error's text.

    """
    if not holds:
        raise BadPipeline(message)


def whole(value: object) -> bool:
    """Return whether a value is a whole number of at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def one_of(kind: str, name: str, value: object, allowed: object) -> None:
    """Make sure that a value is one of those that a `Literal` allows.

    Raises:
        BadPipeline: it is not; the text lists the choices.

    """
    choices = " or ".join(repr(choice) for choice in get_args(allowed))
    require(value in get_args(allowed), f"{kind}({name}={value!r}): write {choices}.")


def codec(kind: str, encoding: str) -> None:
    """Make sure that Python knows an encoding.

    Raises:
        BadPipeline: it does not.

    """
    try:
        "".encode(encoding)
    except LookupError as error:
        message = f"{kind}(encoding={encoding!r}): no such encoding; write for example 'utf-8' or 'cp1252'."
        raise BadPipeline(message) from error


def texts(kind: str, name: str, value: Iterable[str]) -> tuple[str, ...]:
    """Return a sequence of texts as a tuple; a single text is a mistake that Python would not notice.

    Raises:
        BadPipeline: the value is a single text.

    """
    require(not isinstance(value, str), f"{kind}({name}={value!r}): write a sequence, such as {name}=[{value!r}].")
    return tuple(value)
