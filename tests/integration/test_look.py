"""What people look at the database with, and where `headgate up` listens."""

import json
import os
import socket
from pathlib import Path

import psycopg
import pytest
from cli_runner import run_here
from harness import Stand, open_folder
from headgate.embedded.home import LOOPBACK, remembered_port
from headgate.errors import BadPipeline, Misuse
from headgate.ledger import Database
from headgate.operations import psql
from headgate.processes.declared import look_at_declarations, make_folders
from headgate.settings import Settings

ORDERS = """import dataframely as dy
from headgate import Folder, Pipeline, Table

class Order(dy.Schema):
    id = dy.Int64(primary_key=True)
    name = dy.String(nullable=True)

orders = Pipeline(name="orders", sources=[Folder("orders")], schema=Order, sink=Table("orders"))
"""


def test_the_newest_rows_of_a_table_are_shown_with_where_they_came_from(database: Database, database_url: str) -> None:
    with open_folder("headgate-rows-") as folder:
        (folder / "orders.py").write_text(ORDERS, encoding="utf-8")
        env = {"HEADGATE_PIPELINES": "orders:orders", "HEADGATE_DATABASE_URL": database_url}
        assert run_here("rows", "orders", folder=folder, env=env).out == "Table orders has no rows yet.\n"
        with database.transaction() as connection:
            connection.execute("create table public.orders (id bigint, name text, _arrival_id bigint, _row bigint)")
            connection.execute(
                "insert into public.orders values (2020, 'a', 1, 1), (2021, null, 2, 1), (2022, '', 2, 2)"
            )
        said = run_here("rows", "orders", "--last", "2", folder=folder, env=env)
        lines = [line.split() for line in said.out.splitlines() if line]
        assert lines[0] == ["id", "name", "arrival", "row"]
        assert lines[2:4] == [["2022", "2", "2"], ["2021", "null", "2", "1"]]
        assert lines[4] == ["The", "newest", "2", "rows", "of", "orders."]
        found = json.loads(run_here("rows", "orders", "--json", folder=folder, env=env).out)
        assert found[0] == {"id": 2022, "name": "", "arrival": 2, "row": 2}
        assert len(found) == 3
        with database.transaction() as connection:
            connection.execute("alter table public.orders rename name to arrival")
        found = json.loads(run_here("rows", "orders", "--json", folder=folder, env=env).out)
        assert found[1] == {"id": 2021, "arrival": None, "_arrival_id": 2, "row": 1}


def test_psql_opens_the_database_without_its_password_on_the_command_line(stand: Stand) -> None:
    done = stand.run("psql", "-Atc", "select current_user, current_database()")
    name = str(psycopg.conninfo.conninfo_to_dict(stand.database_url)["dbname"])
    assert done.stdout == f"headgate|{name}\n"


def test_psql_is_found_on_path_else_where_the_embedded_postgresql_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    brought = psql.find()
    assert brought is not None
    assert os.access(brought, os.X_OK)


def test_a_port_that_was_asked_for_is_taken_or_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            Misuse, match=f"Port {port} .prefect. is in use by another process: stop it, or set another"
        ):
            remembered_port(tmp_path / "prefect.port", port)
    assert remembered_port(tmp_path / "prefect.port", port) == port
    assert remembered_port(tmp_path / "prefect.port") == port, "the next start keeps it"


def test_declarations_are_looked_at_in_a_fork_and_their_folders_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "looked_at.py").write_text(ORDERS, encoding="utf-8")
    found = look_at_declarations(Settings(inbox=tmp_path / "in", pipelines="looked_at:orders"))()
    assert (found.names, found.folders) == (("orders",), (str(tmp_path / "in" / "orders"),))
    assert make_folders(found) == [tmp_path / "in" / "orders"]
    assert (tmp_path / "in" / "orders").is_dir()
    with pytest.raises(BadPipeline, match=r"the module has no 'order'; did you mean orders\?"):
        look_at_declarations(Settings(pipelines="looked_at:order"))()
    (tmp_path / "deadly.py").write_text("import os\nos._exit(3)\n", encoding="utf-8")
    with pytest.raises(BadPipeline, match="the process that imported it died"):
        look_at_declarations(Settings(pipelines="deadly:orders"))()
