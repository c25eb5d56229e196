"""An automation that was made in the UI, as Python for `automations/rules.py`: the next `apply` takes it over."""

import ast
import json
import tokenize
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tokenize import TokenInfo

from prefect.events.schemas.automations import AutomationCore

from headgate.errors import BadRule, NotFound
from headgate.pipeline.reference import named
from headgate.reconcile import automations
from headgate.reconcile.directory import Directory
from headgate.reconcile.python import STEP, Python
from headgate.reconcile.rule import KEY, Json, essence
from headgate.reconcile.server import opened
from headgate.settings import Settings


@dataclass(frozen=True, slots=True)
class Adopted:
    """The Python of an automation."""

    imports: tuple[str, ...]  # lines
    code: str  # an expression, indented as a member of a list

    @property
    def module(self) -> str:
        """A module with just this automation."""
        return "\n".join((*self.imports, "", f"RULES = [\n{STEP}{self.code},\n]", ""))


async def adopt(settings: Settings, name: str) -> Adopted:
    """Write an automation of the server as Python, without changing it.

    Args:
        settings: name the server.
        name: of the automation, or its id.

    Raises:
        NotFound: no automation, or more than one, has that name.
        BadRule: it is in the code already.
        PrefectUnavailable: the server does not answer.

    """
    async with opened(settings) as client:
        there = await automations.read(client)
        found = _one(there, name)
        directory = Directory(client, there)
        rule = essence(found)
        await directory.name(rule)
    return written(rule, directory)


def written(rule: Json, directory: Directory) -> Adopted:
    """Write an automation as Python.

    Args:
        rule: the automation as `essence` returns it.
        directory: knows the names of the ids in it.

    """
    python = Python()
    code = python.automation(AutomationCore.model_validate_json(named(json.dumps(rule), directory.ids)), depth=1)
    return Adopted(tuple(python.imports), code)


def append(path: Path, adopted: Adopted) -> None:
    """Append an automation to the list RULES of a module, and add its imports; create the module if it is missing.

    Raises:
        BadRule: the module has no list or tuple RULES that can be extended.

    """
    if not path.exists():
        path.write_text(f'"""Automations in code."""\n\n{adopted.module}', encoding="utf-8")
        return
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    value = next((node.value for node in tree.body if _assigns(node, "RULES")), None)  # type: ignore[attr-defined]  # _assigns looks
    if not isinstance(value, ast.List | ast.Tuple) or (bracket := _closing_bracket(text, value)) is None:
        raise BadRule(f"{path}: write RULES = [] there first, or add this by hand:\n\n{adopted.module}")
    head, tail = _cut(text, bracket.start)
    if value.elts:
        head = _with_comma(head, text, bracket)
    made = _with_imports(f"{head.rstrip()}\n{STEP}{adopted.code},\n{tail}", adopted.imports)
    ast.parse(made)
    path.write_text(made, encoding="utf-8")


def _closing_bracket(text: str, listed: ast.List | ast.Tuple) -> TokenInfo | None:
    """The bracket that ends a list or tuple; a tuple may have none."""
    first = listed.elts[0] if listed.elts else None
    if first is not None and (first.lineno, first.col_offset) == (listed.lineno, listed.col_offset):
        return None  # a tuple without brackets begins with its first element
    line = text.split("\n")[(listed.end_lineno or 0) - 1]
    # Columns count bytes in `ast`, and characters in `tokenize`.
    end = (listed.end_lineno, len(line.encode()[: listed.end_col_offset].decode()))
    return next((each for each in _tokens(text) if each.end == end and each.string in {")", "]"}), None)


def _with_comma(head: str, text: str, bracket: TokenInfo) -> str:
    """Add a comma behind the last element where it lacks one, before comments that follow it."""
    written = [each for each in _tokens(text) if each.end <= bracket.start and each.string.strip()]
    last = [each for each in written if each.type != tokenize.COMMENT][-1]
    before, behind = _cut(head, last.end)
    return head if last.string == "," else f"{before},{behind}"


def _tokens(text: str) -> list[TokenInfo]:
    return list(tokenize.generate_tokens(StringIO(text).readline))


def _cut(text: str, place: tuple[int, int]) -> tuple[str, str]:
    """Cut a text at a line, counted from 1, and a column."""
    lines = text.split("\n")
    at = sum(len(line) + 1 for line in lines[: place[0] - 1]) + place[1]
    return text[:at], text[at:]


def _with_imports(text: str, imports: tuple[str, ...]) -> str:
    """Add the imports that a module lacks, below the existing ones or below its docstring."""
    tree = ast.parse(text)
    have = {(node.module, alias.name) for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    missing = []
    for line in imports:
        (node,) = ast.parse(line).body
        if isinstance(node, ast.ImportFrom):
            names = sorted(alias.name for alias in node.names if (node.module, alias.name) not in have)
            missing += [f"from {node.module} import {', '.join(names)}\n"] if names else []
    above = [
        node.end_lineno or 0
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom) or (isinstance(node, ast.Expr) and node is tree.body[0])
    ]
    lines = text.splitlines(keepends=True)
    place = max(above, default=0)
    return "".join([*lines[:place], *missing, *lines[place:]])


def _assigns(node: ast.stmt, name: str) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def _one(there: list[Json], name: str) -> Json:
    found = [each for each in there if name in {each["name"], each["id"]}]
    if not found:
        known = ", ".join(sorted({each["name"] for each in there if not _is_keyed(each)})) or "none"
        raise NotFound(f"There is no automation {name!r} on the server; people made: {known}.")
    if len(found) > 1:
        ids = ", ".join(each["id"] for each in found)
        raise NotFound(f"{len(found)} automations on the server are called {name!r}; say which by its id: {ids}.")
    if _is_keyed(found[0]):
        raise BadRule(f"{name!r} is in the code already: `headgate automations plan` says what differs.")
    return found[0]


def _is_keyed(found: Json) -> bool:
    return any(tag.startswith(KEY) for tag in found["tags"])
