"""What new users are told of their mistakes: the message and the exit code, as docs/errors.md has them."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from cli_runner import Said, run_here
from harness import Services, open_folder, wait_until
from headgate.embedded.prefect_server import PrefectServer
from headgate.ledger import Database
from mistakes import MISTAKES, Mistake
from psycopg.conninfo import conninfo_to_dict

# They share what takes seconds to start, and are written in their order.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("mistakes")]

PAGE = Path(__file__).parents[2] / "docs/errors.md"
HEAD = """# What you are told

Each mistake below is made by a test, and this page is what Headgate said: `make errors` writes it anew. The exit code
is 2 where something has to be changed first, and 1 where the answer is no. What follows `headgate: ` is one line on
standard error; `headgate why` answers on standard output.
"""


class World:
    """A database, a Prefect server with a password and one without, and a folder with declarations."""

    def __init__(self, services: Services, folder: Path, guarded: str) -> None:
        self.folder = folder
        self.guarded = guarded
        self.ui = services.prefect().ui_url
        self.database_url = services.fresh_database()
        with Database(self.database_url) as database:
            database.migrate()
        self.fresh_url = services.fresh_database()
        kept_out = services.fresh_database()
        self.stranger = f"stranger_{uuid4().hex[:8]}"
        self.databases = {
            name: str(conninfo_to_dict(url)["dbname"])
            for name, url in (("ledger", self.database_url), ("fresh", self.fresh_url), ("kept out", kept_out))
        }
        services.administer(
            f"create role {self.stranger} login password 'right'",
            f"grant connect on database {self.databases['ledger']} to {self.stranger}",
            f"grant connect on database {self.databases['fresh']} to {self.stranger}",
            f"revoke connect on database {self.databases['kept out']} from public",
        )
        inbox = folder / "inbox" / "orders"
        inbox.mkdir(parents=True)
        for name in ("notes.docx", ".orders.csv", "orders.csv.part", "open.csv", "whole.csv", "good.csv"):
            (inbox / name).write_text("id\n1\n", encoding="utf-8")

    def url(self, said: str) -> str | None:
        """The address that a placeholder means; None: the variable is not set."""
        whole = conninfo_to_dict(self.database_url)
        base = f"{whole['host']}:{whole['port']}"
        user = f"{whole['user']}:{whole['password']}"
        return {
            "{unset}": None,
            "{wrong password}": f"postgresql://{whole['user']}:wrong@{base}/{whole['dbname']}",
            "{missing database}": f"postgresql://{user}@{base}/nowhere",
            "{missing user}": f"postgresql://nobody:x@{base}/{whole['dbname']}",
            "{stranger, kept out}": f"postgresql://{self.stranger}:right@{base}/{self.databases['kept out']}",
            "{stranger, fresh}": f"postgresql://{self.stranger}:right@{base}/{self.databases['fresh']}",
            "{stranger}": f"postgresql://{self.stranger}:right@{base}/{self.databases['ledger']}",
            "{ui}": self.ui,
            "{guarded}": self.guarded,
        }.get(said, said)

    def run(self, mistake: Mistake) -> Said:
        """Make a mistake."""
        (self.folder / "orders.py").write_text(mistake.orders, encoding="utf-8")
        (self.folder / ".env").write_text(mistake.dotenv, encoding="utf-8")
        given = {
            "HEADGATE_PIPELINES": "orders:orders",
            "HEADGATE_DATABASE_URL": self.database_url,
            "PREFECT_API_URL": "http://127.0.0.1:9/api",
            **mistake.env,
        }
        env = {name: url for name, value in given.items() if (url := self.url(value)) is not None}
        with (self.folder / "inbox" / "orders" / "open.csv").open("a", encoding="utf-8"):
            return run_here(*shlex.split(mistake.command)[1:], folder=self.folder, env=env)

    def plain(self, text: str) -> str:
        """Leave out what is different each time."""
        for name in self.databases.values():
            text = text.replace(name, "orders")
        text = text.replace(self.stranger, "stranger")
        text = text.replace(f"{self.folder}/", "").replace(str(self.folder), ".")
        text = re.sub(r"127\.0\.0\.1:(?!9\b)\d+/api", "127.0.0.1:4200/api", text)
        text = re.sub(r"127\.0\.0\.1:(?!9\b|4200)\d+/orders", "127.0.0.1:5432/orders", text)
        text = re.sub(r"127\.0\.0\.1:(?!9\b|4200|5432)\d+", "127.0.0.1:5432", text)
        return re.sub(r"process \d+ \([^)]*\)", "process 4711 (python)", text)


@pytest.fixture(scope="module")
def guarded(services: Services) -> Iterator[str]:
    """The API of a Prefect server of its own that asks for a password, on the database of the shared one."""
    with open_folder("headgate-guarded-") as folder:
        server = PrefectServer(home=folder, database_url=services.prefect().database_url)
        server.prepare()
        child = server.child()
        env = {**(child.env or {}), "PREFECT_SERVER_API_AUTH_STRING": "admin:right"}
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(child.argv, env=env, cwd=child.cwd, stdout=log, stderr=log)
        try:
            wait_until(server.ready)
            yield server.api_url
        finally:
            process.kill()
            process.wait(30)


@pytest.fixture(scope="module")
def world(services: Services, guarded: str) -> Iterator[World]:
    with open_folder("headgate-mistakes-") as folder:
        yield World(services, folder, guarded)


def page(told: dict[str, list[str]]) -> str:
    """Make the page of its rows, group by group."""
    parts = [HEAD]
    for group, rows in told.items():
        parts.append(
            f"\n## {group}\n\n| mistake | command | exit code | what is said |\n|---|---|---|---|\n"
            + "\n".join(rows)
            + "\n"
        )
    return "".join(parts)


def row(mistake: Mistake, code: int, text: str) -> str:
    """Make a row of the table."""
    cell = text.replace("|", "\\|").replace("\n", "<br>")
    return f"| {mistake.title} | `{mistake.command}` | {code} | {cell} |"


def message(mistake: Mistake, said: Said) -> str:
    """What a person reads of it."""
    lines = [line.strip(" │╭╮╰╯─") for line in (said.out if mistake.group == "Files" else said.err).splitlines()]
    return " ".join(line.removeprefix("headgate: ") for line in lines if line and line != "Error")


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: f"{mistake.group}: {mistake.title}")
def test_a_mistake_is_told_as_the_page_says(world: World, mistake: Mistake, request: pytest.FixtureRequest) -> None:
    said = world.run(mistake)
    assert "Traceback" not in said.err + said.out
    assert "s3cr3t" not in said.err + said.out
    assert said.code == mistake.code, (said.out, said.err)
    if mistake.group not in {"Files", "Commands"}:
        assert said.err.startswith("headgate: "), said.err
        assert said.err.count("\n") == 1, said.err
    line = row(mistake, said.code, world.plain(message(mistake, said)))
    if request.config.getoption("--write-errors"):
        WRITTEN.setdefault(mistake.group, []).append(line)
        return
    assert line in PAGE.read_text(encoding="utf-8").splitlines()


WRITTEN: dict[str, list[str]] = {}


def test_the_page_has_these_mistakes_and_no_others(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--write-errors"):
        PAGE.write_text(page(WRITTEN), encoding="utf-8")
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    rows = [line for line in lines if not line.startswith(("| mistake", "|---"))]
    assert len(rows) == len(MISTAKES) >= 40
    assert PAGE.read_text(encoding="utf-8").startswith(HEAD)
