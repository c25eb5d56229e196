"""Test cases of rules: events in, expected firings out, by Prefect's own evaluation and without a server."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from headgate.errors import BadFixture, HeadgateError
from headgate.pipeline import load_object
from headgate.pipeline.reference import deployment
from headgate.rules.engine import Engine
from headgate.rules.firings import Firing, Room
from headgate.rules.rendering import schema_of
from headgate.rules.shape import Json
from headgate.rules.sources import event_of, read, rules_of, span
from headgate.rules.verdicts import Result

START = datetime(2026, 1, 1, 12, tzinfo=UTC)  # of every case, so that results do not depend on the day
FILE = {"automations", "variables", "deployments", "cases"}
CASE = {"name", "events", "expect", "wait", "starts"}
EXPECTED = {"automation", "runs", "parameters", "at", "labels", "action", "says", "fails"}


def run_files(files: Sequence[Path], ours: Callable[[], object] | None = None) -> list[Result]:
    """Run the cases of files, in their order.

    Args:
        files: of cases.
        ours: returns the automations for files that do not name any.

    Raises:
        BadFixture: a file cannot be read, or holds no cases.
        WrongPrefect: this version of Prefect lacks parts that the engine uses.

    """
    written = [(path, _checked(path)) for path in files]  # all are read before any is run
    for path, found in written:
        if "automations" not in found:
            if ours is None:
                raise BadFixture(f"{path}: say which `automations`: a file, package.module:NAME, or themselves.")
            found["automations"] = ours()
    with Engine() as running:
        return [result for path, found in written for result in _run(running, path, found)]


def _checked(path: Path) -> dict[str, Any]:
    found = read(path)
    if not isinstance(found, Mapping) or not isinstance(found.get("cases"), list):
        raise BadFixture(f"{path}: a file of cases has `automations` and a list of `cases`.")
    _known(found, FILE, str(path))
    for field, what in (("variables", "values"), ("deployments", "flows")):
        if not isinstance(found.get(field) or {}, Mapping):
            raise BadFixture(f"{path}: `{field}` holds {what} by name.")
    for number, case in enumerate(found["cases"], start=1):
        place = f"{path}, case {number}"
        if not isinstance(case, Mapping) or not isinstance(case.get("events"), list):
            raise BadFixture(f"{place}: a case has a list of `events`, and what to `expect` of them.")
        _known(case, CASE, place)
        if "expect" not in case:
            raise BadFixture(f"{place}: say what to `expect`; [] if nothing should fire.")
        if not isinstance(case["expect"] or [], list):
            raise BadFixture(f"{place}: `expect` is a list, even of one.")
        for each in case["expect"] or ():
            if not isinstance(each, Mapping) or "automation" not in each:
                raise BadFixture(f"{place}: each that is expected names its `automation`.")
            _known(each, EXPECTED, f"{place}, expect")
    return dict(found)


def _known(written: Mapping[str, Any], fields: set[str], place: str) -> None:
    if unknown := written.keys() - fields:
        raise BadFixture(
            f"{place}: {', '.join(map(str, sorted(unknown)))} is not known; there are {', '.join(sorted(fields))}."
        )


def _run(running: Engine, path: Path, found: Mapping[str, Any]) -> Iterator[Result]:
    try:
        rules = rules_of(found["automations"], path.parent)
        room = Room(running, rules, _schemas(found.get("deployments") or {}), found.get("variables") or {})
    except HeadgateError as error:
        raise BadFixture(f"{path}: {error}") from error
    for number, case in enumerate(found["cases"], start=1):
        name = str(case.get("name") or f"case {number}")
        try:
            differences = tuple(_case(room, case))
        except BadFixture as error:
            raise BadFixture(f"{path}, {name}: {error}") from error
        yield Result(str(path), name, not differences, differences)


def _schemas(deployments: Mapping[str, str]) -> dict[str, Json]:
    """The parameter schemas of deployments, from their flows, by the ids that stand for the deployments."""
    return {str(deployment(str(name))): schema_of(_flow(str(path))) for name, path in deployments.items()}


def _flow(path: str) -> Callable[..., Any]:
    found = load_object(path, "deployments")
    if not callable(found):
        raise BadFixture(f"deployments: {path} is not a flow.")
    return found


def _case(room: Room, case: Mapping[str, Any]) -> Iterator[str]:
    room.begin(START)
    at = START
    for written in case["events"]:
        fields = dict(written) if isinstance(written, Mapping) else written
        repeat, after, moment = 1, timedelta(0), None
        if isinstance(fields, dict):
            repeat = _times(fields.pop("repeat", 1))
            after = span(fields.pop("after", 0))
            moment = fields.pop("at", None)
        for _ in range(repeat):
            at = at + after if moment is None else START + span(moment)
            room.send(event_of(fields, at))
    if "wait" in case:
        room.wait(at + span(case["wait"]))
    yield from differences(room, [dict(each) for each in case["expect"] or ()])


def _times(written: object) -> int:
    if not str(written).isdecimal() or not (times := int(str(written))):
        raise BadFixture(f"repeat: write how often, such as 2, and not {written!r}.")
    return times


def differences(room: Room, expected: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say where firings differ from the expected ones; those of one automation are paired in order."""
    left = list(room.fired)
    for each in expected:
        found = next((firing for firing in left if firing.automation == each["automation"]), None)
        if found is None:
            yield _indented(f"did not fire: {each['automation']}", room.why_not(each["automation"]))
            continue
        left.remove(found)
        if wrong := list(_compare(found, each)):
            yield _indented(f"fired otherwise: {found}", wrong)
    for firing in left:
        yield f"fired, and was not expected: {firing}"


def _compare(found: Firing, expected: Mapping[str, Any]) -> Iterator[str]:
    if "at" in expected and not _about(after := found.at - START, wanted := span(expected["at"])):
        yield f"it fired {after.total_seconds():.3g} s after the start, expected {wanted.total_seconds():g} s"
    if "labels" in expected:
        yield from unequal("labels", expected["labels"], dict(found.labels))
    act = found.act(expected.get("runs"), expected.get("action"))
    if act is None:
        asked = expected.get("runs") or expected.get("action")
        yield f"it does {', '.join(found.does) or 'nothing'}, expected {asked}"
        return
    if act.problem is not None and "fails" not in expected:
        yield f"its action would fail: {act.problem}"
    if "fails" in expected and str(expected["fails"]) not in (act.problem or ""):
        yield f"its action {'fails: ' + act.problem if act.problem else 'works'}, expected {expected['fails']!r}"
    if "parameters" in expected:
        yield from unequal("parameters", expected["parameters"] or {}, dict(act.parameters or {}))
    if "says" in expected and str(expected["says"]) not in " ".join(act.texts.values()):
        yield f"it says {' '.join(act.texts.values())!r}, expected {expected['says']!r} in it"


def _about(one: timedelta, other: timedelta) -> bool:
    """Whether two times are within 1 ms: the engine adds microseconds. Proactive triggers fire on its 5 s ticks."""
    return abs(one - other) < timedelta(milliseconds=1)


def unequal(place: str, expected: object, found: object) -> Iterator[str]:
    """Say where two values differ, types too: 1, 1.0, True and "1" are four values."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for name in sorted({*expected, *found}, key=str):
            if name not in found:
                yield f"{place}.{name} is missing, expected {expected[name]!r}"
            elif name not in expected:
                yield f"{place}.{name} is {found[name]!r}, not expected"
            else:
                yield from unequal(f"{place}.{name}", expected[name], found[name])
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for number, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from unequal(f"{place}[{number}]", one, other)
    elif type(expected) is not type(found) or expected != found:
        yield f"{place} is {_typed(found)}, expected {_typed(expected)}"


def _indented(line: str, below: Sequence[str]) -> str:
    return "\n".join([line, *(f"    {each}" for each in below)])


def _typed(value: object) -> str:
    return f"{value!r} ({type(value).__name__})"
