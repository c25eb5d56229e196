"""`headgate init`: begins a project."""

from pathlib import Path

from headgate.cli.output import console


def init(folder: Path = Path()) -> None:
    """Make an example project: a pipeline, a rule, settings, a sample file, and a README with three commands.

    A file that exists already stays as it is.

    Args:
        folder: where; made if it does not exist.

    """
    from headgate.project import make_project

    for each in make_project(folder):
        console().print(f"{'made' if each.new else 'kept'}  {each.path}", soft_wrap=True, markup=False, highlight=False)
    go = "" if folder.absolute() == Path.cwd() else f"cd {folder} && "
    console().print(f"Next: {go}headgate up", soft_wrap=True, markup=False, highlight=False)
