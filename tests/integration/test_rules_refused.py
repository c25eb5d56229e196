"""Rules that cannot work, a server that goes away, several applies at once: nothing is half applied or made twice."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from applied_server import RUN, Server
from harness import Stand
from headgate import automation, block, deployment, work_pool
from headgate.errors import BadRule, PrefectUnavailable
from headgate.reconcile.apply import apply
from headgate.reconcile.declared import Declared, Rules
from headgate.reconcile.keep import keep
from prefect.events import actions
from pydantic import SecretStr
from rules import client_of, rule, trigger
from specimens import pipeline


@pytest.fixture
def server(prefect_stand: Stand) -> Iterator[Server]:
    made = Server(prefect_stand)
    yield made
    made.close()


BAD: dict[str, tuple[Any, str]] = {
    "deployment": (
        lambda: [actions.RunDeployment(deployment_id=deployment("ingest/nobody"))],
        "deployment 'ingest/nobody' does not exist on the server",
    ),
    "id": (
        lambda: [actions.RunDeployment(deployment_id=UUID(int=7))],
        f"deployment {UUID(int=7)} does not exist on the server",
    ),
    "block": (
        lambda: [actions.SendNotification(block_document_id=block("slack-webhook/nobody"), body="x")],
        "block 'slack-webhook/nobody' does not exist on the server",
    ),
    "pool": (
        lambda: [actions.PauseWorkPool(work_pool_id=work_pool("nobody"))],
        "work pool 'nobody' does not exist on the server",
    ),
    "automation": (
        lambda: [actions.PauseAutomation(automation_id=automation("nobody"))],
        "automation 'nobody' does not exist on the server",
    ),
    "variable": (
        lambda: [actions.RunDeployment(deployment_id=deployment(RUN), parameters={"a": "{{ variables.nobody }}"})],
        "variable 'nobody' does not exist on the server",
    ),
    "template": (
        lambda: [actions.RunDeployment(deployment_id=deployment(RUN), parameters={"a": "{{ evnt.payload.n }}"})],
        "uses evnt, which no template has",
    ),
    "cloud alone": (lambda: [actions.DeclareIncident()], "Prefect Cloud alone"),
}


@pytest.mark.parametrize("bad", BAD)
async def test_one_that_cannot_work_is_refused_and_nothing_is_half_applied(server: Server, bad: str) -> None:
    made, told = BAD[bad]
    name, good, mine = server.name(), server.name(), pipeline(server.name())
    with pytest.raises(BadRule) as raised:
        await server.apply(rule(good), rule(name, *made()), pipelines=[mine])
    assert str(raised.value).count("\n") == 0
    assert f"Nothing was applied. {name}: " in str(raised.value)
    assert told in str(raised.value)
    assert not server.find(good)
    assert not server.find(f"headgate: {mine.name}")


async def test_what_the_server_itself_would_refuse_is_refused_before_anything_is_written(server: Server) -> None:
    """Its own rule against loops; without the look, what comes before it would be applied already."""
    name, good = server.name(), server.name()
    loop = rule(
        name,
        actions.RunDeployment(source="inferred"),
        trigger=trigger("prefect.flow-run.Running", threshold=99),
    )
    with pytest.raises(BadRule, match="infinite loop"):
        await server.apply(rule(good), loop)
    assert not server.find(good)


LISTS: dict[str, tuple[str, str]] = {
    "a block that is gone": (
        (
            "RULES = [Automation(name={name!r}, trigger=EventTrigger(expect={{'a'}}), "
            "actions=[SendNotification(block_document_id=block('slack-webhook/gone'), body='x')])]"
        ),
        "block 'slack-webhook/gone' does not exist",
    ),
    "a queue of no pool": (
        "QUEUES = {{'nobody': [WorkQueueCreate(name='fast')]}}",
        "work queue 'nobody/fast': work pool 'nobody' does not exist",
    ),
    "a function that is not a flow": (
        (
            "def _daily(): ...\n"
            "daily = flow(name='daily')(_daily)\n"
            "DEPLOYMENTS = [RunnerDeployment.from_flow(daily, 'late', entrypoint_type=EntrypointType.MODULE_PATH)]"
        ),
        "Deployment daily/late: ",
    ),
    "what only the server refuses": ("POOLS = [WorkPoolCreate(name='prefect-mine', type='process')]", "reserved"),
}


@pytest.mark.parametrize("bad", LISTS)
async def test_unattended_a_rule_that_cannot_work_does_not_keep_pipelines_from_running(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    """A block that somebody deleted would else stop what arrives, once the server has lost a deployment."""
    lists, told = LISTS[bad]
    name, mine = server.name(), pipeline(server.name())
    monkeypatch.syspath_prepend(tmp_path)
    module = f"rules_{server.stand.pool[5:]}"
    (tmp_path / f"{module}.py").write_text(
        "from headgate import block\nfrom prefect import flow\nfrom prefect.automations import Automation\n"
        "from prefect.client.schemas.actions import WorkPoolCreate, WorkQueueCreate\n"
        "from prefect.deployments.runner import RunnerDeployment\n"
        "from prefect.events import EventTrigger, SendNotification\n"
        "from prefect.types.entrypoint import EntrypointType\n"
        f"RULES = []\n{lists.format(name=name)}\n",
        encoding="utf-8",
    )
    settings = server.settings.model_copy(update={"rules": f"{module}:RULES"})
    with client_of(settings):
        outcome = await keep(settings, [mine], ["default"])
    assert outcome.refused is not None
    assert told in outcome.refused
    assert server.find(f"headgate: {mine.name}")
    assert not server.find(name)


async def test_two_with_one_key_are_refused(server: Server) -> None:
    name = server.name()
    with pytest.raises(BadRule, match=f"2 automations have the key '{name}'"):
        await server.apply(rule(name), rule(name))
    with pytest.raises(BadRule, match=f"2 automations have the key '{name}'"):
        await server.apply(rule(name), rule("another", tags=[f"headgate.key:{name}"]))
    assert not server.find(name)


async def test_of_two_of_one_name_each_is_checked(server: Server) -> None:
    name = server.name()
    first = rule(name, actions.RunDeployment(deployment_id=deployment("ingest/nobody")))
    second = rule(name, actions.RunDeployment(deployment_id=deployment(RUN)), tags=[f"headgate.key:{name}-2"])
    for rules in ((first, second), (second, first)):
        with pytest.raises(BadRule, match=f"{name}: deployment 'ingest/nobody' does not exist on the server"):
            await server.apply(*rules)
    assert not server.find(name)


async def test_every_reason_has_a_line_of_its_own(server: Server) -> None:
    one, other = server.name(), server.name()
    with pytest.raises(BadRule) as raised:
        await server.apply(
            rule(one, trigger=trigger().model_copy(update={"expect": set()})), rule(other, actions.DeclareIncident())
        )
    told = [line.split(":")[0] for line in str(raised.value).splitlines()]
    assert told == ["Nothing was applied", f"  {one}", f"  {other}"]


@pytest.mark.parametrize("with_ledger", [True, False])
async def test_several_at_once_make_each_once(server: Server, with_ledger: bool) -> None:  # noqa: FBT001 - a parameter
    if with_ledger:
        url = SecretStr(server.stand.database_url)
        server.settings = server.settings.model_copy(update={"database_url": url})
    rules = [rule(server.name()) for _ in range(4)]
    declared = Declared.of(server.settings, (), Rules(automations=tuple(rules)))
    with client_of(server.settings):
        await asyncio.gather(*(apply(server.settings, declared) for _ in range(4)))
    assert [len(server.find(each.name)) for each in rules] == [1] * len(rules)
    assert await server.changes(*rules) == []


async def test_a_copy_that_another_apply_made_is_removed_and_an_edited_one_is_left_alone(server: Server) -> None:
    name = server.name()
    await server.apply(rule(name))
    kept = server.one(name)
    ours = ("name", "description", "enabled", "tags", "trigger", "actions")
    copy = {field: kept[field] for field in ours}
    server.stand.api("POST", "/automations/", copy)
    server.stand.api("POST", "/automations/", copy | {"actions": [{"type": "cancel-flow-run"}]})
    removed = [change for change in await server.changes(rule(name)) if change.action == "removed"]
    assert [change.name for change in removed] == [name]
    left = server.find(name)
    assert len(left) == 2
    assert kept["id"] in [each["id"] for each in left]


class Gate:
    """Stands before the server, and goes away when it has let some automations through."""

    def __init__(self, url: str, *, after: int) -> None:
        address = url.split("/")[2]
        self._host, port = address.split(":")
        self._port, self._left = int(port), after
        self._open: list[asyncio.StreamWriter] = []
        self._passing: list[asyncio.Future[None]] = []

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/api"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for each in self._open:
            each.transport.abort()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, self._port)
        self._open += [writer, back]
        self._passing += [asyncio.ensure_future(self._pass(*pair)) for pair in ((reader, back), (there, writer))]

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            if data.startswith(b"POST /api/automations/ "):
                self._left -= 1
            if self._left < 0:
                self._server.close()
                for each in self._open:
                    each.transport.abort()
                return
            target.write(data)
        target.close()


async def test_a_server_that_goes_away_meanwhile_is_said_and_the_next_time_does_the_rest(server: Server) -> None:
    rules = [rule(server.name()) for _ in range(4)]
    own = server.settings
    await server.apply()
    async with Gate(str(own.api_url), after=2) as url:
        server.settings = own.model_copy(update={"api_url": url})
        with pytest.raises(PrefectUnavailable, match="2 of 4 changes were made; apply again"):
            await server.apply(*rules)
    server.settings = own
    assert [len(server.find(each.name)) for each in rules] == [1, 1, 0, 0]
    assert [change.action for change in await server.changes(*rules)] == ["created", "created"]
    assert await server.changes(*rules) == []


async def test_on_a_server_that_is_not_ours_what_may_be_lost_is_said(server: Server) -> None:
    """Without the answer that our own gives, nobody knows."""
    name = server.name()
    await server.apply(rule(name))
    assert (await server.apply(rule(name, description="new"), dry_run=True)).may_be_lost is None
    own = server.settings
    async with Foreign(str(own.api_url)) as url:
        server.settings = own.model_copy(update={"api_url": url})
        told = (await server.apply(rule(name, description="new"), dry_run=True)).may_be_lost
        assert told is not None
        assert name in told
        assert (await server.apply(rule(name), dry_run=True)).may_be_lost is None


class Foreign(Gate):
    """The same server, without what it says of itself."""

    def __init__(self, url: str) -> None:
        super().__init__(url, after=10_000)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data.replace(b"GET /api/headgate ", b"GET /api/nothing. "))
        target.close()
