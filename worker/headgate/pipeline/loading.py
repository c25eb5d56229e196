"""Loading pipelines by the path in the settings: `package.module:name`."""

import hashlib
import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Mapping
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from itertools import combinations
from pathlib import Path

from headgate.errors import BadPipeline
from headgate.pipeline.alerts import Alert, checked
from headgate.pipeline.checks import require
from headgate.pipeline.declaration import Pipeline
from headgate.pipeline.globs import overlap
from headgate.pipeline.start import After
from headgate.words import did_you_mean

VARIABLE = "HEADGATE_PIPELINES"
OURS = Path(__file__).parents[1]
LIBRARIES = tuple(Path(path) for path in {*sysconfig.get_paths().values(), str(Path(traceback.__file__).parent)})


def load_pipelines(path: str) -> tuple[Pipeline, ...]:
    """Load the pipelines that `package.module:name` points at.

    Raises:
        BadPipeline: the path does not exist, its module cannot be imported, or it names something other than pipelines
            that can work side by side.

    """
    loaded = load_object(path, VARIABLE)
    pipelines = (loaded,) if isinstance(loaded, Pipeline) else loaded
    if not isinstance(pipelines, list | tuple) or not all(isinstance(pipeline, Pipeline) for pipeline in pipelines):
        message = f"{VARIABLE}={path}: write a Pipeline or a tuple of them, not {loaded!r}."
        raise BadPipeline(message)
    names = [pipeline.name for pipeline in pipelines]
    require(len(set(names)) == len(names), f"{VARIABLE}={path}: two pipelines of one name in {names}.")
    _check_afters({pipeline.name: pipeline for pipeline in pipelines}, f"{VARIABLE}={path}")
    require(names, f"{VARIABLE}={path}: an empty tuple; declare at least one pipeline.")
    for one, other in combinations(pipelines, 2):
        _refuse_shared_folder(one, other)
    return tuple(pipelines)


def digest_of(path: str) -> tuple[tuple[str, ...], str]:
    """Load pipelines; return their names, and a digest of the source code they are declared in.

    The digest covers all modules of the declarations' package, so an enricher in a neighbouring file counts too.

    Raises:
        BadPipeline: as `load_pipelines`.

    """
    names = tuple(pipeline.name for pipeline in load_pipelines(path))
    package = path.partition(":")[0].partition(".")[0]
    files = sorted(
        {
            str(module.__file__)
            for name, module in list(sys.modules.items())
            if f"{name}.".startswith(f"{package}.") and getattr(module, "__file__", None)
        }
    )
    digest = hashlib.sha256()
    for file in files:
        with suppress(OSError):  # a module in a zip file, or one that was deleted meanwhile
            digest.update(Path(file).name.encode() + b"\0" + Path(file).read_bytes())
    return names, digest.hexdigest()[:12]


def load_alerts(path: str | None) -> tuple[Alert, ...]:
    """Load the alerts of the installation that `package.module:name` points at; without a path, there are none.

    Raises:
        BadPipeline: the path does not exist, or names something other than alerts.

    """
    if path is None:
        return ()
    say = f"HEADGATE_ALERTS_DECLARED={path}"
    loaded = load_object(path, "HEADGATE_ALERTS_DECLARED")
    if not isinstance(loaded, list | tuple):
        raise BadPipeline(f"{say}: write a tuple of alerts, such as (WorkerGone(),), not {loaded!r}.")
    return checked(say, loaded)


def _check_afters(pipelines: Mapping[str, Pipeline], say: str) -> None:
    """Make sure that pipelines named in `After` exist, and that no pipeline waits for itself, even indirectly."""
    after = {name: each.start.pipelines for name, each in pipelines.items() if isinstance(each.start, After)}
    for name, before in after.items():
        unknown = [each for each in before if each not in pipelines]
        require(not unknown, f"{say}: {name} starts After{before}, and there is no pipeline {unknown}.")
    try:
        TopologicalSorter(after).prepare()
    except CycleError as error:
        raise BadPipeline(
            f"{say}: pipelines that start after each other never do: {' -> '.join(error.args[1])}."
        ) from error


def module_path(path: str, variable: str) -> Path:
    """Return where the module of `package.module:name` is, or would be: below the folder that the command runs in."""
    module_name = path.partition(":")[0]
    require(module_name, f"{variable}={path}: write package.module:name.")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    with suppress(ModuleNotFoundError):
        found = importlib.util.find_spec(module_name)
        if found is not None and found.origin is not None:
            return Path(found.origin)
    return Path(here, *module_name.split(".")).with_suffix(".py")


def load_object(path: str, variable: str) -> object:
    """Import what `package.module:name` points at; the folder the command runs in is searched too.

    Raises:
        BadPipeline: the object cannot be imported; the text names the user's own file and line, and the error.

    """
    module_name, _, name = path.partition(":")
    require(module_name and name, f"{variable}={path}: write package.module:name.")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _broken(path, variable, error) from error
        message = f"{variable}={path}: there is no module {error.name!r}; check the path and the folder you are in."
        raise BadPipeline(message) from error
    except (Exception, SystemExit) as error:
        raise _broken(path, variable, error) from error
    try:
        return getattr(module, name)
    except AttributeError as error:
        named = [each for each, value in vars(module).items() if isinstance(value, Pipeline | tuple)]
        hint = did_you_mean(name, [each for each in named if not each.startswith("_")])
        message = f"{variable}={path}: the module has no {name!r}{hint or '.'}"
        raise BadPipeline(message) from error


def _broken(path: str, variable: str, error: BaseException) -> BadPipeline:
    """Describe where in the user's own files the import failed, with the last line of the error."""
    if isinstance(error, SyntaxError):
        where, what = f"{_short(error.filename)}:{error.lineno}", f"{type(error).__name__}: {error.msg}"
    else:
        own = [each for each in traceback.extract_tb(error.__traceback__) if _is_users(each.filename)]
        where = f"{_short(own[-1].filename)}:{own[-1].lineno}" if own else "the module"
        what = str(error) if isinstance(error, BadPipeline) else _last_line(error)
    return BadPipeline(f"{variable}={path}: {where}: {what}")


def _last_line(error: BaseException) -> str:
    from pydantic import ValidationError  # noqa: PLC0415 - only for an error; `import headgate` does without

    if isinstance(error, ValidationError):
        # Its text ends with a link, and shows the value, which may be a secret.
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, (error.title, *first["loc"])))
        return f"{place}: {first['msg'].removeprefix('Value error, ')}"
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]


def _is_users(file: str) -> bool:
    path = Path(file)
    if file.startswith("<"):
        return False
    return not path.is_relative_to(OURS) and not any(path.is_relative_to(each) for each in LIBRARIES)


def _short(file: str | None) -> str:
    path = Path(file or "?")
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _refuse_shared_folder(one: Pipeline, other: Pipeline) -> None:
    """Refuse two pipelines that could take in the same file: it would go to whichever looks first."""
    for mine in one.folders:
        for theirs in other.folders:
            here, there = Path(mine.path), Path(theirs.path)
            same = (
                here == there
                or (mine.recursive and there.is_relative_to(here))
                or (theirs.recursive and here.is_relative_to(there))
            )
            shared = overlap(mine.globs, theirs.globs) if same else None
            require(
                shared is None,
                f"Pipelines {one.name!r} and {other.name!r} both take {shared} from Folder({str(theirs.path)!r}): "
                "each file would go to one of them by chance; give them different folders, or patterns=[...] that "
                "do not match the same names.",
            )
