"""A condition on what arrives; arrivals that do not meet it are skipped, counted, and kept as if they were done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property

from headgate.pipeline.checks import require
from headgate.pipeline.durations import Size, size

Globs = str | Sequence[str]


@dataclass(frozen=True, kw_only=True)
class When:
    """A condition that arrivals have to meet; all parts that are given have to hold.

    Globs are shell globs. If there are several, at least one has to match; none that begins with "!" may match.

    Args:
        name: globs on a file's name, case-insensitive.
        topic: globs on the topic that messages came from.
        header: globs by header name, on its last value as UTF-8 text. A message without the header matches no glob.
        larger_than: size of a file, or of a message's value, such as "1KB".
        smaller_than: the same.

    """

    name: Globs | None = None
    topic: Globs | None = None
    header: Mapping[str, Globs] = field(default_factory=dict, hash=False)
    larger_than: Size | None = None
    smaller_than: Size | None = None

    def __post_init__(self) -> None:
        require(
            isinstance(self.header, Mapping),
            f"When(header={self.header!r}): write header={{'type': 'order'}}, a glob for each name.",
        )
        headers = {f"header {name}": globs for name, globs in self.header.items()}
        given = {"name": self.name, "topic": self.topic, **headers}
        for what, globs in given.items():
            require(
                globs is None or (_globs(globs) and all(isinstance(each, str) and each for each in _globs(globs))),
                f"When({what}={globs!r}): write a glob such as '*.csv', or a sequence of them.",
            )
        require(
            self.of_files or self.of_messages,
            "When(): write what has to hold, such as When(name='*.csv') or When(header={'type': 'order'}).",
        )
        low, high = self.bounds
        require(
            low is None or high is None or low + 1 < high,
            f"When(larger_than={self.larger_than!r}, smaller_than={self.smaller_than!r}): nothing has such a size.",
        )

    @cached_property
    def bounds(self) -> tuple[int | None, int | None]:
        """The size's bounds in bytes: more than the first, and less than the second."""
        low, high = self.larger_than, self.smaller_than
        return (
            None if low is None else size(f"When(larger_than={low!r})", low),
            None if high is None else size(f"When(smaller_than={high!r})", high),
        )

    @property
    def of_files(self) -> bool:
        """Whether it has a condition on files."""
        return self.name is not None or self.sized

    @property
    def of_messages(self) -> bool:
        """Whether it has a condition on messages."""
        return self.topic is not None or bool(self.header) or self.sized

    @property
    def sized(self) -> bool:
        """Whether it has a condition on size."""
        return self.larger_than is not None or self.smaller_than is not None

    def refuses_file(self, name: str, bytes_: int) -> str | None:
        """Return one sentence on why a file does not meet the condition, or None if it does.

        Args:
            name: the file's name without its folder.
            bytes_: its size.

        """
        if self.name is not None and not _meets(name.lower(), [each.lower() for each in _globs(self.name)]):
            return f"its name is not {_or(self.name)}"
        return self._refuses_size(bytes_)

    def _refuses_size(self, bytes_: int) -> str | None:
        low, high = self.bounds
        if low is not None and bytes_ <= low:
            return f"it has {bytes_} bytes, and not more than {self.larger_than}"
        if high is not None and bytes_ >= high:
            return f"it has {bytes_} bytes, and not less than {self.smaller_than}"
        return None

    def refuses_topic(self, topic: str) -> str | None:
        """Return one sentence on why no message of a topic can meet the condition, or None if one may."""
        if self.topic is not None and not _meets(topic, _globs(self.topic)):
            return f"its topic is not {_or(self.topic)}"
        return None

    def takes_header(self, name: str, value: bytes | None) -> bool:
        """Return whether a header's value meets the condition; a value of None means the message lacks it."""
        text = None if value is None else value.decode(errors="backslashreplace")
        return _meets(text, _globs(self.header[name]))

    @property
    def words(self) -> str:
        """The condition, for people."""
        return ", ".join(
            [
                *([] if self.name is None else [f"the name is {_or(self.name)}"]),
                *([] if self.topic is None else [f"the topic is {_or(self.topic)}"]),
                *(f"header {name} is {_or(globs)}" for name, globs in self.header.items()),
                *([] if self.larger_than is None else [f"larger than {self.larger_than}"]),
                *([] if self.smaller_than is None else [f"smaller than {self.smaller_than}"]),
            ]
        )


def _globs(given: Globs) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _meets(value: str | None, globs: Sequence[str]) -> bool:
    """Return whether a glob matches, and none that begins with "!"; None meets only globs that all begin with "!"."""
    wanted = [each for each in globs if not each.startswith("!")]
    barred = [each[1:] for each in globs if each.startswith("!")]
    if value is None:
        return not wanted
    return (not wanted or any(fnmatchcase(value, each) for each in wanted)) and not any(
        fnmatchcase(value, each) for each in barred
    )


def _or(given: Globs) -> str:
    return " or ".join(repr(each) if not each.startswith("!") else f"other than {each[1:]!r}" for each in _globs(given))
