"""Rules that people make on our events start deployments of ours, which do what was asked once for each event."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from harness import Services, Stand, open_folder, wait_until
from rules_stand import arrivals, declare, deployment, drop, emit, failures_of, rule, runs_of

pytestmark = pytest.mark.xdist_group("rules")  # they share what takes seconds to start
DEAD_LETTERED = "headgate.rows.dead-lettered"


@pytest.fixture(scope="module")
def installed(services: Services) -> Iterator[Stand]:
    """Pipelines of a user, applied; a listener and a worker are at work."""
    services.prefect()
    with open_folder("headgate-rules-") as folder:
        stand = Stand(services, folder, services.fresh_database())
        try:
            declare(
                stand, untold="", told="", twice="", looked="enrich=(PLACES,)", stopped="", wrong="", alone="", large=""
            )
            stand.run("apply")
            stand.start("listen")
            stand.start("work")
            wait_until((stand.inbox / "large").is_dir)
            yield stand
        finally:
            stand.close()


def open_letters(stand: Stand, pipeline: str) -> int:
    asked = "select count(*) from headgate.dead_letter join headgate.arrival as a using (arrival_id) where "
    (row,) = stand.sql(asked + "pipeline = %s and dead_letter.state = 'open'", pipeline)
    return int(row["count"])


def test_a_rule_without_parameters_replays_what_its_event_is_about_and_does_not_go_round(installed: Stand) -> None:
    """The form of Prefect's newer UI has no field for parameters."""
    made = rule(installed, DEAD_LETTERED, "untold", "replay-dead-letters/replay-dead-letters")
    drop(installed, "untold", 1, -1, -2)
    first, second = arrivals(installed, "untold", 2)
    assert (second["replay_of"], second["rows_dead"]) == (first["arrival_id"], 2)
    # The rows failed again: their event fires the rule once more, and it leaves them.
    replayed, left = runs_of(installed, made, 2)
    assert replayed["state"]["message"].startswith("Replayed 2 dead letters of untold with reason schema, in 1 ")
    assert left["state"]["message"].startswith("Nothing to replay")
    assert "2 failed again after they were replayed once, and stay" in left["state"]["message"]
    assert len(arrivals(installed, "untold", 2)) == 2


def test_parameters_from_the_event_come_typed_or_as_the_text_of_a_form(installed: Stand) -> None:
    made = rule(
        installed,
        DEAD_LETTERED,
        "told",
        "replay-dead-letters/replay-dead-letters",
        {
            "pipeline": "{{ event.payload.pipeline }}",
            "reason": {"__prefect_kind": "jinja", "template": "{{ event.payload.reason }}"},
            "at_most": {"__prefect_kind": "jinja", "template": "{{ event.payload.count }}"},
            "since": " 1h ",
            "event": "{{ event.id | string }}",
        },
    )
    drop(installed, "told", -1, -2, -3)
    (run, *_) = runs_of(installed, made, 2)
    assert run["parameters"]["at_most"] == "3"
    assert run["state"]["message"].startswith("Replayed 3 dead letters of told with reason schema since 1h, in 1 ")


def test_two_answers_to_one_event_do_its_work_once(installed: Stand) -> None:
    """As when an event comes twice: two rules are fired by the same one."""
    two = [rule(installed, DEAD_LETTERED, "twice", "send-digest/send-digest", {"pipeline": "twice"}) for _ in range(2)]
    drop(installed, "twice", -1)
    names = sorted(run["state"]["name"] for each in two for run in runs_of(installed, each))
    assert names == ["Asked before", "Completed"]


def test_one_event_may_ask_for_two_things(installed: Stand) -> None:
    parameters: list[dict[str, object]] = [{"pipeline": "twice"}, {"pipeline": "twice", "since": "7d"}]
    two = [rule(installed, "my.two", "twice", "send-digest/send-digest", given) for given in parameters]
    emit(installed, "my.two", "twice")
    assert [run["state"]["name"] for each in two for run in runs_of(installed, each)] == ["Completed", "Completed"]


def test_look_ups_are_reloaded_and_what_found_nothing_is_replayed(installed: Stand) -> None:
    reload = rule(installed, "my.reference.came", "looked", "reload-look-ups/reload-look-ups")
    replay = rule(
        installed,
        "headgate.look-ups.reloaded",
        "looked",
        "replay-dead-letters/replay-dead-letters",
        {"pipeline": "looked", "reason": "lookup"},
    )
    drop(installed, "looked", 1, 2)
    arrivals(installed, "looked", 1)
    assert open_letters(installed, "looked") == 1
    (installed.folder / "places.csv").write_text("item,place\n1,Here\n2,There\n")
    emit(installed, "my.reference.came", "looked")
    (read,) = runs_of(installed, reload)
    assert read["state"]["message"] == "The look-ups of looked are read: places (2 rows)."
    (sent,) = runs_of(installed, replay)
    assert sent["state"]["message"].startswith("Replayed 1 dead letter of looked with reason lookup")
    arrivals(installed, "looked", 2)
    assert installed.sql("select item, place from looked order by item") == [
        {"item": 1, "place": "Here"},
        {"item": 2, "place": "There"},
    ]


def test_a_rule_that_passes_on_its_event_alone_need_not_name_the_pipeline(installed: Stand) -> None:
    given = {"event": "{{ event.id | string }}"}
    made = rule(installed, "my.reference.alone", "looked", "reload-look-ups/reload-look-ups", given)
    emit(installed, "my.reference.alone", "looked")
    (run,) = runs_of(installed, made)
    assert run["state"]["message"].startswith("The look-ups of looked are read: places (")


def test_a_source_that_a_rule_paused_takes_nothing_in_until_it_is_resumed(installed: Stand) -> None:
    made = rule(installed, DEAD_LETTERED, "stopped", "pause-source/pause-source")
    drop(installed, "stopped", -1)
    (run,) = runs_of(installed, made)
    assert run["state"]["message"] == "Paused stopped of stopped."
    paused = installed.run("sources", "--pipeline", "stopped", "--json").stdout
    assert DEAD_LETTERED in paused
    found = {each["check"]: each for each in json.loads(installed.run("doctor", "--json", check=False).stdout)}
    assert found["sources"]["verdict"] == "warning"
    assert found["sources"]["detail"].startswith("paused: stopped of stopped, by the rule 'a rule of stopped")
    again = installed.run("sources", "pause", "stopped", "stopped", "--reason", "to be sure").stdout
    assert "stopped of stopped was paused already." in again
    assert [each["source"] for each in json.loads(installed.run("status", "--json").stdout)["paused"]] == ["stopped"]
    drop(installed, "stopped", 5)
    # Its neighbour is taken in meanwhile, long after the listener has looked for paused sources.
    drop(installed, "alone", 1)
    arrivals(installed, "alone", 1)
    assert len([path for path in (installed.inbox / "stopped").iterdir() if not path.name.startswith(".")]) == 1
    assert len(arrivals(installed, "stopped", 1)) == 1
    installed.run("sources", "resume", "stopped")
    arrivals(installed, "stopped", 2)
    assert installed.sql("select item from stopped") == [{"item": 5}]


@pytest.mark.parametrize(
    ("deployed", "parameters", "why"),
    [
        ("replay-dead-letters/replay-dead-letters", {"reason": "no-such-reason"}, "for field 'reason'.*no-such-reason"),
        ("replay-dead-letters/replay-dead-letters", {"at_most": "x5"}, "for field 'at_most'.*'x5'"),
        ("replay-dead-letters/replay-dead-letters", {"since": "yesterday"}, "for field 'since'.*'yesterday'"),
        ("ingest/wrong", {"limit": "many"}, "for field 'limit'.*'many'"),
        ("ingest/wrong", {"limit": -1}, "for field 'limit'.*-1"),
        ("ingest/wrong", {"ring": "nonsense"}, "for field 'ring'.*'nonsense'"),
    ],
)
def test_nonsense_is_refused_with_the_field_and_the_reason(
    installed: Stand, deployed: str, parameters: dict[str, object], why: str
) -> None:
    event = f"my.nonsense.{datetime.now(UTC).timestamp()}"
    made = rule(installed, event, "wrong", deployed, parameters)
    emit(installed, event, "wrong")
    (reason,) = failures_of(installed, made)
    assert re.search(why, reason), reason


@pytest.mark.parametrize(
    ("deployed", "parameters", "why"),
    [
        ("ingest/wrong", {"pipeline": "nonsense"}, "There is no pipeline 'nonsense'"),
        ("replay-dead-letters/replay-dead-letters", {"pipeline": "nonsense"}, "There is no pipeline 'nonsense'"),
        ("pause-source/pause-source", {"pipeline": "wrong", "source": "wrung"}, "has no source 'wrung'; it has wrong"),
    ],
)
def test_what_does_not_exist_fails_the_run_and_says_what_there_is(
    installed: Stand, deployed: str, parameters: dict[str, object], why: str
) -> None:
    event = f"my.unknown.{datetime.now(UTC).timestamp()}"
    made = rule(installed, event, "wrong", deployed, parameters)
    emit(installed, event, "wrong")
    (run,) = runs_of(installed, made)
    assert run["state_type"] == "FAILED"
    assert why in run["state"]["message"]


def test_a_run_by_hand_that_names_no_pipeline_says_what_to_fill_in(installed: Stand) -> None:
    found = deployment(installed, "replay-dead-letters/replay-dead-letters")
    run = installed.api("POST", f"/deployments/{found}/create_flow_run", {"parameters": {}}).json()["id"]
    ended = wait_until(
        lambda: (each := installed.api("GET", f"/flow_runs/{run}").json())["state_type"] == "FAILED" and each
    )
    assert f"`pipeline` is empty, and flow run {run} names none; fill it in." in ended["state"]["message"]


def test_an_event_with_a_megabyte_of_payload_is_answered_like_any_other(installed: Stand) -> None:
    made = rule(installed, "my.large", "large", "send-digest/send-digest")
    emit(installed, "my.large", "large", {"text": "x" * 1024**2})
    (run,) = runs_of(installed, made)
    assert run["state_name"] == "Completed"
